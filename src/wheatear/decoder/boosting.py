"""Contextual biasing: phrases, such as names and terms, that a search boosts.

Shallow fusion with a prefix tree. The tree is over letters. Pieces of the vocabulary are mapped to
it on demand, so that a phrase matches in any segmentation into pieces. A piece that continues a
phrase gains the worth of its letters, multiplied by `weight`: against other pieces, and within a
phrase against the blank too. A phrase never begins in place of a blank, or a poor model would emit
phrases all the time.

Source: prefix-tree contextual biasing as in NeMo's boosting tree (blank is left to the model).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arguments import check_kind, check_number, shown
from wheatear.common.arrays import Floats
from wheatear.errors import PhraseError
from wheatear.model.locales import is_spaceless
from wheatear.model.vocabulary import Vocabulary

_LETTER_GAIN = 0.45  # log-odds that a letter gains, from the tenth on
_RAMP_LETTERS = 10  # letters until the gain is full: a short beginning matches by chance
_MAX_LETTERS = 200  # of a phrase
_MAX_PHRASES = 5000
_MAX_KNOWN_GAINS = 10_000  # positions whose gains are kept
_ROOT = 0
Gains = tuple[NDArray[np.int64], Floats]
"""Tokens and what each of them gains."""
Nodes = tuple[int, ...]
"""Nodes that the last tokens lead to; the root is always one of them and not listed."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase to boost. Raises PhraseError."""

    text: str
    """Spelling in finals."""
    weight: float = 1.0
    """Strength of the boost: 0 is none, 1 is usual, 3 is very strong."""
    aliases: tuple[str, ...] = ()
    """Other spellings, boosted too; a final has `text` in their place."""

    def __post_init__(self) -> None:
        check_kind("a phrase", self.text, str, "a string", PhraseError)
        name = f"aliases of {self.text[:30]!r}"
        check_kind(name, self.aliases, (tuple, list), "a tuple of strings", PhraseError)
        for alias in self.aliases:
            check_kind(name, alias, str, "strings", PhraseError)
        object.__setattr__(self, "aliases", tuple(self.aliases))  # it must have a hash
        for spelling in self.spellings:
            if not any(map(str.isalnum, spelling)) or len(spelling) > _MAX_LETTERS:
                raise PhraseError(
                    f"a phrase is {spelling[:30]!r}; it needs a letter or a digit, and at most "
                    f"{_MAX_LETTERS} letters"
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
    """Sum of the gains from the root."""
    letter: str = ""
    to: int = 0
    """The first letter that follows, and its node. Most have no other: a dict would be large."""
    others: dict[str, int] | None = None
    tokens: dict[int, int] | None = None
    """Token -> node that it leads to; filled when first needed."""

    def step(self, letter: str) -> int | None:
        """Returns the node of a letter that follows; None if it does not."""
        if letter == self.letter:
            return self.to
        return None if self.others is None else self.others.get(letter)

    def add(self, letter: str, to: int) -> None:
        """Adds a letter that follows, and its node."""
        if not self.letter:
            self.letter, self.to = letter, to
        elif self.others is None:
            self.others = {letter: to}
        else:
            self.others[letter] = to

    @property
    def followers(self) -> Iterator[tuple[str, int]]:
        """The letters that follow, and their nodes."""
        if self.letter:
            yield self.letter, self.to
        yield from (self.others or {}).items()


def as_phrases(given: Any) -> tuple[Phrase, ...]:
    """Converts an iterable of strings and `Phrase`s. Raises PhraseError for anything else."""
    if isinstance(given, str | bytes | Phrase | Mapping) or not isinstance(given, Iterable):
        example = repr(given[:30]) if isinstance(given, str) else "'Nguyen'"
        raise PhraseError(
            f"phrases is {shown(given)}; give a list of strings or Phrase, such as [{example}]"
        )
    phrases = tuple(given)
    for phrase in phrases:
        check_kind("one of the phrases", phrase, (str, Phrase), "a string or Phrase", PhraseError)
    return tuple(Phrase(phrase) if isinstance(phrase, str) else phrase for phrase in phrases)


class BoostingTree:
    """Prefix tree of phrases over the pieces of a model; its only changes are cached results.

    Raises PhraseError for a phrase that the pieces cannot spell.
    """

    def __init__(self, vocabulary: Vocabulary, phrases: Sequence[Phrase]) -> None:
        if len(phrases) > _MAX_PHRASES:
            raise PhraseError(f"{len(phrases)} phrases; at most {_MAX_PHRASES} can be boosted")
        self._pieces = vocabulary.by_text
        self._vocabulary = vocabulary
        self._longest = vocabulary.longest
        self._nodes = [_Node()]
        self._known: dict[Nodes, Gains] = {}
        for phrase in phrases:
            for spelling in phrase.spellings:
                self._check(spelling)
                for path in _paths(spelling):
                    self._add(path, phrase.weight)

    def bonuses(self, nodes: Nodes) -> Gains:
        """Returns the tokens that begin or continue a phrase, and the gain of each."""
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
            if len(self._known) > _MAX_KNOWN_GAINS:
                self._known.clear()
            self._known[nodes] = known
        return known

    def follow(self, nodes: Nodes, token: int) -> Nodes:
        """Returns the nodes after a token."""
        text = self._vocabulary.text(token)
        if text == "":  # a language tag
            return nodes
        to = (self._tokens(node).get(token) for node in (_ROOT, *nodes))
        return tuple(sorted({node for node in to if node is not None}))

    def boost(self, nodes: Nodes, row: Floats, blank: int) -> Floats:
        """Returns log-probabilities [outputs] with the gains of the phrases.

        The blank keeps its probability; the tokens share the rest. Tokens that continue a
        phrase may in addition take probability from the blank.
        """
        tokens, gains = self.bonuses(nodes)
        shifted = row.copy()
        shifted[tokens] += gains
        shifted[blank] = -np.inf
        top = shifted.max()
        total = top + np.log(np.exp(shifted - top).sum(dtype=np.float64))
        not_blank = np.log(-np.expm1(np.minimum(row[blank], np.float32(-1e-6)), dtype=np.float64))
        shifted += np.float32(not_blank - total)
        shifted[blank] = row[blank]
        if nodes:
            tokens, gains = self._gains(nodes)
            shifted[tokens] = np.maximum(shifted[tokens], row[tokens] + gains)
        return shifted

    def _add(self, path: str, weight: float) -> None:
        at, letters = _ROOT, 0
        for letter in path:
            before = self._nodes[at]
            if (to := before.step(letter)) is None:
                before.add(letter, to := len(self._nodes))
                self._nodes.append(_Node())
            at = to
            worth = 0.0
            if letter != " ":
                letters += 1
                worth = weight * _LETTER_GAIN * min(1.0, letters / _RAMP_LETTERS)
            node = self._nodes[at]
            # On top of the node before, which another phrase may have made worth more.
            node.potential = max(node.potential, before.potential + worth)

    def _tokens(self, node: int) -> dict[int, int]:
        if (known := self._nodes[node].tokens) is None:
            known = self._nodes[node].tokens = dict(self._pieces_along(node, ""))
        return known

    def _pieces_along(self, node: int, before: str) -> Iterator[tuple[int, int]]:
        """Yields the tokens that fit the letters after a node, and the nodes where they end."""
        for letter, to in self._nodes[node].followers:
            text = before + letter
            for token in self._pieces.get(text, ()):
                yield token, to
            if len(text) < self._longest:
                yield from self._pieces_along(to, text)

    def _check(self, spelling: str) -> None:
        """Raises PhraseError if no row of pieces spells it."""
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


class BoostState:
    """Position of one greedy stream in its phrases."""

    def __init__(self, tree: BoostingTree) -> None:
        self._tree = tree
        self._nodes: Nodes = ()

    def choose(self, tokens: NDArray[np.int64], logits: Floats, blank: int) -> NDArray[np.int64]:
        """Returns the best outputs [frames] with the gains, down to the first token."""
        found = tokens.copy()
        for frame, (best, row) in enumerate(zip(tokens, logits, strict=True)):
            if best == blank and not self._nodes:
                continue
            logs = row - row.max()
            logs -= np.float32(np.log(np.exp(logs).sum(dtype=np.float64)))
            boosted = self._tree.boost(self._nodes, logs, blank)
            if best != blank:
                boosted[blank] = -np.inf
            found[frame] = token = int(boosted.argmax())
            if token != blank:
                self._nodes = self._tree.follow(self._nodes, token)
                break
        return found


def _paths(spelling: str) -> list[str]:
    """Spellings as they occur in text: after a space, capitalized, in scripts without spaces."""
    spellings = dict.fromkeys((spelling, spelling[0].upper() + spelling[1:]))
    paths = [f" {s}" for s in spellings]
    return [*paths, *spellings] if is_spaceless(spelling[0]) else paths
