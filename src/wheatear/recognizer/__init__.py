"""The public face: models that transcribe files and open streams."""
