"""Recognizers behind one interface, so that all are measured alike."""
