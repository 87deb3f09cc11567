"""Recognizer: the public face of the package.

`recognizer` loads models and transcribes, `stream` is one transcription, `engine` runs the pipeline
from samples to tokens for many streams, `loading` opens models, and `channels` merges speakers.
"""
