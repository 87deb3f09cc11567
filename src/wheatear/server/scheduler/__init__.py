"""Scheduler of streams on one recognizer, with admission control.  Imports no web framework."""
