"""Recognizers behind one interface, so that they are measured alike."""
