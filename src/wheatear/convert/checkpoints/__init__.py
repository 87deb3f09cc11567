"""Readers of four checkpoint containers."""
