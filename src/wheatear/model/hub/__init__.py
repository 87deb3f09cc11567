"""Downloads models: a name, a hub id or a URL to a model folder."""
