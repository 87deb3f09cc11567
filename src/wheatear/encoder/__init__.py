"""From log-mel frames to encoder frames, cache-aware."""
