"""Speed of a model on this machine, and capacity of a server for live streams."""
