"""Published tables of error rates."""
