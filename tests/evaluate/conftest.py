"""Corpora, a made-up clock, and a run of made-up engines."""

from evaluation_runs import clock, corpus, results, speech, summary

__all__ = ["clock", "corpus", "results", "speech", "summary"]
