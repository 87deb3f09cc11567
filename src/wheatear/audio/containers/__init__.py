"""Containers parsed without FFmpeg: their frames, pages, chunks and tags."""
