"""The batched search, looking ahead over blanks, finds what the plain loop finds."""

import numpy as np
from checkpoints import ORACLE
from hypothesis import given, settings
from hypothesis import strategies as st

from wheatear.convert import reference
from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.decoder.greedy import GreedySearch


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 20), min_size=1, max_size=4),
)
def test_any_batch_and_any_cut_equals_the_plain_loop(engine, recognizer_of, seed, lengths, cuts):
    model = recognizer_of("tiny-multi").model
    search = GreedySearch(model.networks, "probability")
    rng = np.random.default_rng(seed)
    frames = [rng.normal(0, 2, (n, model.manifest.encoder.width)) for n in lengths]
    frames = [f.astype(np.float32) for f in frames]
    with open_checkpoint(ORACLE / "tiny-multi.nemo") as checkpoint:
        arch = read_architecture(checkpoint)
        expected = [reference.search(arch, checkpoint.weights, f) for f in frames]
        weight = checkpoint.weights.read("joint.enc.weight")
        bias = checkpoint.weights.read("joint.enc.bias")
    projected = [f @ weight.T + bias for f in frames]
    states = [search.start() for _ in frames]
    found = [[] for _ in frames]
    position = 0
    while position < max(lengths):
        size = cuts[position % len(cuts)]
        parts = [p[position : position + size] for p in projected]
        for tokens, new in zip(found, search.step(states, parts), strict=True):
            tokens += new
        position += size
    assert [[token for token, _, _ in tokens] for tokens in found] == expected
    for tokens, length in zip(found, lengths, strict=True):
        at = [frame for _, frame, _ in tokens]
        assert at == sorted(at)
        assert all(0 <= frame < length for frame in at)
        assert all(at.count(frame) <= 10 for frame in at)
