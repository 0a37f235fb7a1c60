"""Update rules, in float32, by variable."""
