"""From tokens to words, segments, turns, events and files of text."""
