"""Decoder: from frames of the encoder to tokens.

`networks` opens the predictor and the joint of a bundle; `greedy` and `beam` search with them.
`boosting` boosts phrases, and `language_model` scores tokens for beam search.
"""
