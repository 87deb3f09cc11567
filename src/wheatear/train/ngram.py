"""An n-gram language model over a bundle's pieces, for beam search to weigh in.

    python -m wheatear.train.ngram TEXTS --out lm.arpa [--model BUNDLE] [--order 3]

TEXTS has a sentence on each line, written as the model shall write it.  Counts are smoothed as
Witten and Bell 1991 have it: what was seen after a history is mixed with the shorter history's
distribution, which has as much weight as there were different tokens.
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
    """The model of sentences in pieces, as an ARPA file."""
    counts: list[dict[tuple[str, ...], Counter[str]]] = [
        defaultdict(Counter) for _ in range(order)
    ]  # by length of the history
    for sentence in sentences:
        row = [_BEGIN, *sentence, _END]
        for at in range(1, len(row)):
            for size in range(min(order, at + 1)):
                counts[size][tuple(row[at - size : at])][row[at]] += 1
    if not counts[0]:
        raise CorpusError("there is no sentence to make a language model of")
    shares: dict[tuple[str, ...], dict[str, float]] = {}
    kept: dict[tuple[str, ...], float] = {}
    uniform = 1 / len(counts[0][()])
    for size in range(order):
        for history, after in counts[size].items():
            kinds, total = len(after), after.total()
            kept[history] = kinds / (kinds + total)
            shorter = shares[history[1:]] if history else {}
            shares[history] = {
                token: (n + kinds * shorter.get(token, uniform)) / (kinds + total)
                for token, n in after.items()
            }
    return "".join(_lines(counts, shares, kept))


def _lines(
    counts: list[dict[tuple[str, ...], Counter[str]]],
    shares: dict[tuple[str, ...], dict[str, float]],
    kept: dict[tuple[str, ...], float],
) -> Iterable[str]:
    order = len(counts)
    sizes = [sum(map(len, table.values())) for table in counts]
    sizes[0] += 1  # the beginning
    yield "\\data\\\n"
    yield from (f"ngram {size}={n}\n" for size, n in enumerate(sizes, 1))
    for size in range(order):
        yield f"\n\\{size + 1}-grams:\n"
        if size == 0:
            yield f"-99 {_BEGIN} {math.log10(kept.get((_BEGIN,), 1.0)):.5f}\n"
        for history in sorted(counts[size]):
            for token, share in sorted(shares[history].items()):
                row = (*history, token)
                yield f"{math.log10(share):.5f} {' '.join(row)}"
                yield f" {math.log10(kept[row]):.5f}\n" if row in kept else "\n"
    yield "\n\\end\\\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="An n-gram model over a bundle's pieces.")
    parser.add_argument("texts", type=Path, help="a sentence on each line")
    parser.add_argument("--model", help="bundle; the one that comes with Wheatear if left out")
    parser.add_argument("--order", type=int, default=3, help="tokens that are looked at together")
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args(argv)
    if not 1 <= a.order <= 10:
        raise CorpusError(f"an order of {a.order}; give 1 to 10")
    known = open_bundle(find_bundle(a.model)).vocabulary
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
