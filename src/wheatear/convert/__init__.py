"""Converts a checkpoint into a bundle, without torch or NeMo."""
