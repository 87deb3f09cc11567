"""Tokens to text: words, segments, turns, the events of a stream, and files of transcripts."""
