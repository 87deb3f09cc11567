"""Helpers without speech: array types, argument checks, files, terminal text, telemetry."""
