"""Language models of a beam: probabilities of the file, and their effect on a search."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from piece_lists import PIECES

import wheatear
from wheatear import BeamRules, BundleError
from wheatear.audio.reader import sample_speech
from wheatear.decoder.language_model import read_arpa

ARPA = r"""
\data\
ngram 1=5
ngram 2=3
ngram 3=1

\1-grams:
-99 <s> -0.5
-1.0 </s>
-0.5 ▁ban -0.25
-0.75 ana -0.125
-1.5 elsewhere

\2-grams:
-0.2 <s> ▁ban -0.3
-0.1 ▁ban ana -0.2
-0.4 ana ana

\3-grams:
-0.05 <s> ▁ban ana

\end\
"""


class Pieces:
    pieces = PIECES


def score(model, *pieces: str) -> list[float | None]:
    state, found = model.start(), []
    for piece in pieces:
        log, state = model.score(state, PIECES.index(piece))
        found.append(None if log is None else round(log / math.log(10), 4))
    return found


def test_probabilities_back_off(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(ARPA, encoding="utf-8")
    model = read_arpa(path, Pieces())  # type: ignore[arg-type]
    assert score(model, "▁ban", "ana") == [-0.2, -0.05]
    # (▁ban, ana) -> ana: no 3-gram, its back-off, then the 2-gram.
    assert score(model, "▁ban", "ana", "ana", "▁ban") == [-0.2, -0.05, -0.6, -0.625]
    assert score(model, "ana") == [-1.25]
    # What the model does not know is passed over.
    assert score(model, "▁ban", "<en>", "ana") == [-0.2, None, -0.05]


@pytest.mark.parametrize("text", ["", "hello", "\\1-grams:\nx y z\n", "\\1-grams:\n-1 strange\n"])
def test_files_that_are_no_model(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(text)
    with pytest.raises(BundleError, match=r"lm\.arpa"):
        read_arpa(path, Pieces())  # type: ignore[arg-type]
    with pytest.raises(BundleError, match="cannot be read"):
        read_arpa(tmp_path / "none", Pieces())  # type: ignore[arg-type]


class Hates:
    """A language without one token."""

    def __init__(self, token: int) -> None:
        self.token = token

    def start(self) -> None:
        return None

    def score(self, _state: object, token: int) -> tuple[float, None]:
        return (-50.0 if token == self.token else 0.0), None


def test_a_search_weighs_the_model_in() -> None:
    recognizer = wheatear.load(threads=1)
    options = {"language": "en-US", "latency_ms": 560}
    plain = recognizer.transcribe(sample_speech(), beam=BeamRules(4), **options)
    first = plain.tokens[0].id
    swayed = recognizer.transcribe(
        sample_speech(), beam=BeamRules(4, model=Hates(first), model_weight=1.0), **options
    )
    ignored = recognizer.transcribe(
        sample_speech(), beam=BeamRules(4, model=Hates(first), model_weight=0.0), **options
    )
    assert first not in [token.id for token in swayed.tokens]
    assert ignored.tokens == plain.tokens
