"""Studies of rounding weights."""
