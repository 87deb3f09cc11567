"""Helpers that know nothing of speech: files, terminal text, argument checks, telemetry
switches."""
