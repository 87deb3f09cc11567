"""A model on disk: its manifest, vocabulary, languages and sessions, and where it comes from."""
