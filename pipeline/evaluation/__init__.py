"""Transfer evaluation: protocols, features, reports."""
