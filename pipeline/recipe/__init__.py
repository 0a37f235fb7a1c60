"""What a run is told: its options, whole, and the checks of them."""
