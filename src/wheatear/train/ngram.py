"""N-gram language model over a model's pieces, for beam search.

    python -m wheatear.train.ngram TEXTS --out lm.arpa [--model BUNDLE] [--order 3]

TEXTS has a sentence on each line, written as the model writes text.  Counts are smoothed by the
method of Witten and Bell 1991: the tokens that follow a history are mixed with the distribution of
the shorter history, whose weight is the number of different tokens seen.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from wheatear.common.text_files import read_text
from wheatear.errors import CorpusError, WheatearError
from wheatear.model.bundle import open_bundle
from wheatear.model.store import find_bundle
from wheatear.train.data.tokenizer import Tokenizer

_BEGIN, _END = "<s>", "</s>"


def arpa(sentences: Iterable[list[str]], order: int) -> str:
    """Returns the model of sentences, given as pieces, in the ARPA format."""
    counts: list[dict[tuple[str, ...], Counter[str]]] = [
        defaultdict(Counter) for _ in range(order)
    ]  # by length of the history
    for sentence in sentences:
        tokens = [_BEGIN, *sentence, _END]
        for at in range(1, len(tokens)):
            for size in range(min(order, at + 1)):
                counts[size][tuple(tokens[at - size : at])][tokens[at]] += 1
    if not counts[0]:
        raise CorpusError("no sentence to make a language model of")
    probabilities: dict[tuple[str, ...], dict[str, float]] = {}
    backoff: dict[tuple[str, ...], float] = {}
    uniform = 1 / len(counts[0][()])
    for size in range(order):
        for history, following in counts[size].items():
            different, total = len(following), following.total()
            backoff[history] = different / (different + total)
            shorter = probabilities[history[1:]] if history else {}
            probabilities[history] = {
                token: (n + different * shorter.get(token, uniform)) / (different + total)
                for token, n in following.items()
            }
    return "".join(_arpa_lines(counts, probabilities, backoff))


def _arpa_lines(
    counts: list[dict[tuple[str, ...], Counter[str]]],
    probabilities: dict[tuple[str, ...], dict[str, float]],
    backoff: dict[tuple[str, ...], float],
) -> Iterable[str]:
    order = len(counts)
    sizes = [sum(map(len, table.values())) for table in counts]
    sizes[0] += 1  # the beginning
    yield "\\data\\\n"
    yield from (f"ngram {size}={n}\n" for size, n in enumerate(sizes, 1))
    for size in range(order):
        yield f"\n\\{size + 1}-grams:\n"
        if size == 0:
            yield f"-99 {_BEGIN} {math.log10(backoff.get((_BEGIN,), 1.0)):.5f}\n"
        for history in sorted(counts[size]):
            for token, probability in sorted(probabilities[history].items()):
                tokens = (*history, token)
                yield f"{math.log10(probability):.5f} {' '.join(tokens)}"
                yield f" {math.log10(backoff[tokens]):.5f}\n" if tokens in backoff else "\n"
    yield "\n\\end\\\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="N-gram language model over a model's pieces.")
    parser.add_argument("texts", type=Path, help="a sentence on each line")
    parser.add_argument("--model", help="bundle; by default the shipped model")
    parser.add_argument("--order", type=int, default=3, help="maximum tokens of an n-gram")
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args(argv)
    if not 1 <= a.order <= 10:
        raise CorpusError(f"an order of {a.order}; give 1 to 10")
    known = open_bundle(find_bundle(a.model)).pieces
    tokenizer = Tokenizer.from_pieces(list(zip(known.pieces, known.scores, strict=True)))
    try:
        lines = read_text(a.texts).splitlines()
    except (OSError, ValueError) as error:
        raise CorpusError(f"{a.texts} cannot be read as UTF-8 text: {error}") from error
    sentences = (
        [tokenizer.piece(token) for token in tokenizer.ids(line)] for line in lines if line.strip()
    )
    a.out.write_text(arpa(sentences, a.order), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except WheatearError as error:
        sys.exit(f"error: {error}")
