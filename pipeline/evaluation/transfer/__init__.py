"""One transfer evaluation, from its options to its report."""
