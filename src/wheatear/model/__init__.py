"""A model on disk: its manifest, vocabulary, languages and graphs, and downloads of models."""
