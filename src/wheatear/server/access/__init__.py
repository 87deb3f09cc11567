"""Access control: connections, keys, rate limits."""
