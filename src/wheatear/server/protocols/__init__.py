"""Protocols of clients: OpenAI's, Deepgram's, Wyoming, /ws, and subtitles for the page."""
