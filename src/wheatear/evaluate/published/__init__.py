"""Tables that others published, as data."""
