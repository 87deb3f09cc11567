"""Language models over the tokens of a recognizer, for beam search.

Like boosting, a language model reweights tokens against each other and leaves the blank unchanged.
Every token costs score, so otherwise the empty text would win.

Any object with `start` and `score` is a language model. `read_arpa` reads an n-gram model over the
pieces of a vocabulary, as KenLM, SRILM or `wheatear.train.ngram` write it.

Source: the ARPA format as SRILM documents it (ngram-format(5)): base-10 logarithms, backing off.
"""

import math
from collections.abc import Hashable
from pathlib import Path
from typing import Protocol

from wheatear.common.text_files import read_text
from wheatear.errors import BundleError
from wheatear.model.vocabulary import Vocabulary

_LOG_10 = math.log(10)
_UNSEEN_LOG = -100 * _LOG_10
_BEGIN = -1  # stands for <s>


class TokenModel(Protocol):
    """A language model over the tokens of a recognizer; shared by streams, without state."""

    def start(self) -> Hashable:
        """Returns the state before the first token."""
        ...

    def score(self, state: Hashable, token: int) -> tuple[float | None, Hashable]:
        """Returns the natural log-probability of a token and the state after it.

        The log-probability is None for a token unknown to the model, such as a language tag.
        """
        ...


class Ngrams:
    """N-gram model with back-off; unknown tokens are skipped."""

    def __init__(self, tables: list[dict[tuple[int, ...], tuple[float, float]]]) -> None:
        """Takes a table per length: tokens -> (log-probability, log of back-off weight)."""
        self._tables = tables
        self._known = {tokens[0] for tokens in tables[0]}

    def start(self) -> tuple[int, ...]:
        return (_BEGIN,) if len(self._tables) > 1 else ()

    def score(self, state: Hashable, token: int) -> tuple[float | None, tuple[int, ...]]:
        assert isinstance(state, tuple)  # noqa: S101
        if token not in self._known:
            return None, state
        cost, context = 0.0, state
        while True:
            table = self._tables[len(context)]
            if (found := table.get((*context, token))) is not None:
                break
            if not context:
                return cost + _UNSEEN_LOG, ()
            cost += self._tables[len(context) - 1].get(context, (0.0, 0.0))[1]
            context = context[1:]
        longest = len(self._tables) - 1
        after = (*state, token)[-longest:] if longest else ()
        # No longer than the model's histories, so that equal states are equal histories.
        while after and after not in self._tables[len(after) - 1]:
            after = after[1:]
        return cost + found[0], after


def read_arpa(path: Path, vocabulary: Vocabulary) -> Ngrams:
    """Reads an ARPA file whose words are the pieces of a bundle (`▁the`).

    Raises BundleError for any other file, and if it shares no piece with the vocabulary.
    """
    ids = {piece: token for token, piece in enumerate(vocabulary.pieces)} | {"<s>": _BEGIN}
    tables: list[dict[tuple[int, ...], tuple[float, float]]] = []
    try:
        for line in read_text(path).split("\n"):
            if line.startswith("\\") and line.endswith("-grams:"):
                tables.append({})
            elif tables and line.strip() and not line.startswith("\\"):
                size = len(tables)
                fields = line.split()
                words = fields[1 : 1 + size]
                backoff = float(fields[1 + size]) if len(fields) > 1 + size else 0.0
                if all(word in ids for word in words):
                    key = tuple(ids[word] for word in words)
                    tables[-1][key] = float(fields[0]) * _LOG_10, backoff * _LOG_10
    except (OSError, ValueError, IndexError) as error:
        raise BundleError(f"{path} cannot be read as an ARPA language model: {error}") from error
    if not tables or not any(key != (_BEGIN,) for key in tables[0]):
        raise BundleError(
            f"{path} is no ARPA language model over the pieces of this model: it shares none of "
            "them (python -m wheatear.train.ngram makes one)"
        )
    return Ngrams(tables)
