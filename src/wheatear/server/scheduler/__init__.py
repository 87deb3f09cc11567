"""Schedules streams on one recognizer, and admits new ones while the machine has room."""
