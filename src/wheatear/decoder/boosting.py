"""Phrases that a stream shall listen for: names and terms that the model would spell its own way.

Shallow fusion with a prefix tree.  The tree is over letters, and the pieces of the vocabulary are
laid along it as they are needed, so that a phrase is found however the search happens to cut it
into pieces.  A piece that leads on along a phrase gains `weight` times what its letters are worth:
against other pieces, and once a phrase has begun, against the blank too.  A phrase never begins
where the model would say nothing, or a poor model would say phrases all the time.

Source: prefix-tree contextual biasing as in NeMo's boosting tree (blank is left to the model).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arguments import check_kind, check_number, shown
from wheatear.errors import PhraseError
from wheatear.model.locales import is_spaceless
from wheatear.model.vocabulary import Vocabulary

_LETTER = 0.45  # of log-odds that a letter gains, from the tenth on
_RAMP = 10  # letters until a phrase gains in full: a mere beginning says little
_LONGEST = 200  # letters
_MOST = 5000  # phrases
_ROOT = 0
Gains = tuple[NDArray[np.int64], NDArray[np.float32]]
Nodes = tuple[int, ...]
"""Places in the tree that what was said last leads to; the root is always one and not named."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase to listen for.  Raises PhraseError."""

    text: str
    """As it shall be written."""
    weight: float = 1.0
    """How much it is favoured: 0 not at all, 1 usual, 3 very much."""
    aliases: tuple[str, ...] = ()
    """Other spellings, favoured too; a final has `text` in their place."""

    def __post_init__(self) -> None:
        check_kind("a phrase", self.text, str, "a string", PhraseError)
        name = f"aliases of {self.text[:30]!r}"
        check_kind(name, self.aliases, (tuple, list), "a tuple of strings", PhraseError)
        for alias in self.aliases:
            check_kind(name, alias, str, "strings", PhraseError)
        object.__setattr__(self, "aliases", tuple(self.aliases))  # it must have a hash
        for spelling in self.spellings:
            if not any(map(str.isalnum, spelling)) or len(spelling) > _LONGEST:
                raise PhraseError(
                    f"a phrase is {spelling[:30]!r}; it needs a letter or a digit, and at most "
                    f"{_LONGEST} letters"
                )
        check_number(f"the weight of {self.text[:30]!r}", self.weight, 0, 10, error=PhraseError)

    @property
    def spellings(self) -> tuple[str, ...]:
        """The text and its aliases, with single spaces."""
        return tuple(" ".join(spelling.split()) for spelling in (self.text, *self.aliases))


@dataclass(slots=True)
class _Node:
    """A letter of one or several phrases."""

    potential: float = 0.0
    """What has been gained on the way here."""
    letter: str = ""
    to: int = 0
    """The first letter that follows, and its node.  Most have no other: a dict would be large."""
    others: dict[str, int] | None = None
    tokens: dict[int, int] | None = None
    """Token -> node that it leads to; worked out when first asked for."""

    def step(self, letter: str) -> int | None:
        """The node of a letter that follows, if it does."""
        if letter == self.letter:
            return self.to
        return None if self.others is None else self.others.get(letter)

    def put(self, letter: str, to: int) -> None:
        """Has a letter follow."""
        if not self.letter:
            self.letter, self.to = letter, to
        elif self.others is None:
            self.others = {letter: to}
        else:
            self.others[letter] = to

    @property
    def next(self) -> Iterator[tuple[str, int]]:
        """The letters that follow, and their nodes."""
        if self.letter:
            yield self.letter, self.to
        yield from (self.others or {}).items()


def as_phrases(given: Any) -> tuple[Phrase, ...]:
    """The phrases that a caller hands over.  Raises PhraseError for what is no list of them."""
    if isinstance(given, str | bytes | Phrase | Mapping) or not isinstance(given, Iterable):
        example = repr(given[:30]) if isinstance(given, str) else "'Nguyen'"
        raise PhraseError(
            f"phrases is {shown(given)}; give a list of strings or Phrase, such as [{example}]"
        )
    phrases = tuple(given)
    for phrase in phrases:
        check_kind("one of the phrases", phrase, (str, Phrase), "a string or Phrase", PhraseError)
    return tuple(Phrase(phrase) if isinstance(phrase, str) else phrase for phrase in phrases)


class PhraseTree:
    """The phrases of a stream over the pieces of a model.  Immutable but for what it remembers.

    Raises PhraseError for a phrase that the pieces cannot write.
    """

    def __init__(self, vocabulary: Vocabulary, phrases: Sequence[Phrase]) -> None:
        if len(phrases) > _MOST:
            raise PhraseError(f"{len(phrases)} phrases; at most {_MOST} can be listened for")
        self._pieces = vocabulary.by_text
        self._texts = vocabulary
        self._longest = vocabulary.longest
        self._nodes = [_Node()]
        self._known: dict[Nodes, Gains] = {}
        for phrase in phrases:
            for spelling in phrase.spellings:
                self._check(spelling)
                for path in _paths(spelling):
                    self._put(path, phrase.weight)

    def bonuses(self, nodes: Nodes) -> Gains:
        """Tokens that begin a phrase or lead on from here, and what each of them gains."""
        return self._gains((_ROOT, *nodes))

    def _gains(self, nodes: Nodes) -> Gains:
        if (known := self._known.get(nodes)) is None:
            best: dict[int, float] = {}
            for node in nodes:
                here = self._nodes[node].potential
                for token, to in self._tokens(node).items():
                    gain = self._nodes[to].potential - here
                    best[token] = max(best.get(token, 0.0), gain)
            known = np.array(list(best), np.int64), np.array(list(best.values()), np.float32)
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[nodes] = known
        return known

    def follow(self, nodes: Nodes, token: int) -> Nodes:
        """Where a token leads."""
        text = self._texts.text(token)
        if text == "":  # a language tag
            return nodes
        to = (self._tokens(node).get(token) for node in (_ROOT, *nodes))
        return tuple(sorted({node for node in to if node is not None}))

    def favour(self, nodes: Nodes, row: NDArray[np.float32], blank: int) -> NDArray[np.float32]:
        """Log-probabilities [outputs] with the phrases in mind.

        The probability that something is said is shared out anew; what leads on along a phrase that
        has begun may besides take from the blank.
        """
        tokens, gains = self.bonuses(nodes)
        shifted = row.copy()
        shifted[tokens] += gains
        shifted[blank] = -np.inf
        top = shifted.max()
        total = top + np.log(np.exp(shifted - top).sum(dtype=np.float64))
        speaks = np.log(-np.expm1(np.minimum(row[blank], np.float32(-1e-6)), dtype=np.float64))
        shifted += np.float32(speaks - total)
        shifted[blank] = row[blank]
        if nodes:
            tokens, gains = self._gains(nodes)
            shifted[tokens] = np.maximum(shifted[tokens], row[tokens] + gains)
        return shifted

    def _put(self, path: str, weight: float) -> None:
        at, letters = _ROOT, 0
        for letter in path:
            before = self._nodes[at]
            if (to := before.step(letter)) is None:
                before.put(letter, to := len(self._nodes))
                self._nodes.append(_Node())
            at = to
            worth = 0.0
            if letter != " ":
                letters += 1
                worth = weight * _LETTER * min(1.0, letters / _RAMP)
            node = self._nodes[at]
            # On top of what leads here, which another phrase may have made worth more.
            node.potential = max(node.potential, before.potential + worth)

    def _tokens(self, node: int) -> dict[int, int]:
        if (known := self._nodes[node].tokens) is None:
            known = self._nodes[node].tokens = dict(self._lay(node, ""))
        return known

    def _lay(self, node: int, before: str) -> Iterator[tuple[int, int]]:
        """Pieces that fit the letters after a node, and where they end."""
        for letter, to in self._nodes[node].next:
            text = before + letter
            for token in self._pieces.get(text, ()):
                yield token, to
            if len(text) < self._longest:
                yield from self._lay(to, text)

    def _check(self, spelling: str) -> None:
        """Whether some row of pieces writes it."""
        reached = 0
        for path in _paths(spelling):
            if all(map(self._pieces.__contains__, path)):
                return  # letter by letter
            ends = {0}
            for at in range(len(path)):
                if at in ends:
                    ends |= {
                        end
                        for end in range(at + 1, min(len(path), at + self._longest) + 1)
                        if path[at:end] in self._pieces
                    }
            if len(path) in ends:
                return
            reached = max(reached, max(ends) - path.startswith(" "))
        raise PhraseError(
            f"this model cannot write {spelling[reached : reached + 1]!r} of the phrase "
            f"{spelling!r}: no piece of its vocabulary has it"
        )


class Listening:
    """How far one greedy stream has come in its phrases."""

    def __init__(self, tree: PhraseTree) -> None:
        self._tree = tree
        self._nodes: Nodes = ()

    def heard(
        self, tokens: NDArray[np.int64], logits: NDArray[np.float32], blank: int
    ) -> NDArray[np.int64]:
        """The best outputs [frames] with the phrases in mind, as far as the first token."""
        found = tokens.copy()
        for frame, (best, row) in enumerate(zip(tokens, logits, strict=True)):
            if best == blank and not self._nodes:
                continue
            logs = row - row.max()
            logs -= np.float32(np.log(np.exp(logs).sum(dtype=np.float64)))
            shifted = self._tree.favour(self._nodes, logs, blank)
            if best != blank:
                shifted[blank] = -np.inf
            found[frame] = token = int(shifted.argmax())
            if token != blank:
                self._nodes = self._tree.follow(self._nodes, token)
                break
        return found


def _paths(spelling: str) -> list[str]:
    """How a spelling may stand in a text: after a space, capitalised, inside a spaceless script."""
    spellings = dict.fromkeys((spelling, spelling[0].upper() + spelling[1:]))
    paths = [f" {s}" for s in spellings]
    return [*paths, *spellings] if is_spaceless(spelling[0]) else paths
