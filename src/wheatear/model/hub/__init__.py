"""Downloads of models: from a name, a hub id or a URL to a model folder."""
