"""Profiles of the encoder by operator."""
