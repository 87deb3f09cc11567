"""A training run: configuration, loop, validation, report."""
