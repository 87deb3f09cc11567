"""Recognizer: the public face of the package.

`recognizer` is the public class, and `stream` one transcription. `engine` runs the pipeline from
samples to tokens for many streams. `loading` opens models, and `channels` merges speakers.
"""
