"""A client session: a connection, its stream, its files."""
