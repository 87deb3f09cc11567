"""Audio containers that are read without FFmpeg: their frames, pages and chunks."""
