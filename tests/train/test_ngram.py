"""N-gram models: probabilities, and their use in a search."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wheatear
from wheatear import BeamRules
from wheatear.audio.reader import sample_speech
from wheatear.decoder.language_model import Ngrams, read_arpa
from wheatear.errors import CorpusError
from wheatear.train import ngram

PIECES = ["a", "b", "c", "</s>"]


class Pieces:
    pieces = PIECES


def read(folder: Path, text: str) -> Ngrams:
    path = folder / "lm.arpa"
    path.write_text(text)
    return read_arpa(path, Pieces())  # type: ignore[arg-type]


def share(model: Ngrams, *tokens: str) -> float:
    """Probability of the last token after the others, from the beginning."""
    state, log = model.start(), 0.0
    for token in tokens:
        log, state = model.score(state, PIECES.index(token))
    return math.exp(log or 0.0)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=5), min_size=1, max_size=8),
    st.integers(1, 4),
)
def test_probabilities_after_a_history_sum_to_one(
    tmp_path_factory: pytest.TempPathFactory, sentences: list[list[str]], order: int
) -> None:
    model = read(tmp_path_factory.mktemp("lm"), ngram.arpa(sentences, order))
    known = {token for sentence in sentences for token in sentence} | {"</s>"}
    for history in itertools.product(sorted(known - {"</s>"}), repeat=2):
        total = sum(share(model, *history, token) for token in known)
        assert total == pytest.approx(1, abs=2e-3)


def test_frequent_continuation_is_likely(tmp_path: Path) -> None:
    model = read(tmp_path, ngram.arpa([list("abc")] * 9 + [list("acb")], 3))
    assert share(model, "a", "b") > 5 * share(model, "a", "c")
    assert share(model, "a", "b", "c") > 0.8
    counts = Counter("abc" * 9 + "acb")
    unigrams = read(tmp_path, ngram.arpa([list("abc")] * 9 + [list("acb")], 1))
    assert share(unigrams, "a") == pytest.approx((counts["a"] + 1) / 44, abs=1e-4)


def test_model_of_texts_is_used_by_a_search(tmp_path: Path) -> None:
    texts, out = tmp_path / "texts.txt", tmp_path / "lm.arpa"
    texts.write_text("I'm sorry, but I was unable to locate the person you are calling.\n" * 3)
    ngram.main([str(texts), "--out", str(out), "--order", "4"])
    recognizer = wheatear.load(threads=1)
    model = read_arpa(out, recognizer.model.vocabulary)
    queried = {"language": "en-US", "latency_ms": 1120}
    emitted = recognizer.transcribe(
        sample_speech(), beam=BeamRules(8, model=model, model_weight=1.0), **queried
    )
    plain = recognizer.transcribe(sample_speech(), beam=BeamRules(8), **queried)
    wanted = texts.read_text().splitlines()[0].lower().split()
    right = [len(set(wanted) & set(t.text.lower().split())) for t in (emitted, plain)]
    assert right[0] >= right[1]
    with pytest.raises(CorpusError, match="order"):
        ngram.main([str(texts), "--out", str(out), "--order", "0"])
    texts.write_text("\n")
    with pytest.raises(CorpusError, match="no sentence"):
        ngram.main([str(texts), "--out", str(out)])
