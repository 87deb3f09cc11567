"""From bytes to 16 kHz samples to log-mel frames."""
