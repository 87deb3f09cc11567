"""Beam RNN-T search over many streams at once, with phrases and a language model.

Frame by frame, every hypothesis says nothing or tokens more; equal texts are added up, the best
go on.  What all hypotheses agree on is settled and told; it can never be taken back, so partials
only grow, as in greedy search.  What they have argued over for two seconds the best decides.

Source: Graves 2012 (arXiv 1211.3711); pruning by a margin as in NeMo's and k2's searches.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arguments import check_number, shown
from wheatear.common.arrays import Floats
from wheatear.decoder.boosting import Nodes, PhraseTree
from wheatear.decoder.greedy import Decoder, Found, certainty
from wheatear.decoder.language_model import TokenModel
from wheatear.errors import OptionError

_AHEAD = 8  # frames asked about at once, as long as nobody wants to speak
_SILENT = math.log(0.995)  # probability of the blank above which no token is tried
_ARGUE = 25  # frames until the best decides


_MODEL = ("start", "score")  # the methods of a TokenModel


@dataclass(frozen=True, slots=True)
class BeamRules:
    """The width of the search.  Raises OptionError."""

    width: int = 4
    """Hypotheses that go on from frame to frame."""
    margin: float = 6.0
    """Of log-probability that a hypothesis may be behind the best."""
    model: TokenModel | None = None
    """A language model."""
    model_weight: float = 0.3

    def __post_init__(self) -> None:
        check_number("width of the beam", self.width, 1, 64, whole=True)
        check_number("margin of the beam", self.margin, 1e-3, 1e6)
        check_number("model_weight of the beam", self.model_weight, 0, 10)
        model = self.model
        if model is not None and not all(callable(getattr(model, n, 0)) for n in _MODEL):
            raise OptionError(
                f"model of the beam is {shown(model)}; give an object with start and score, such "
                f"as wheatear.decoder.language_model.read_arpa returns"
            )


@dataclass(slots=True, eq=False)
class _Hypothesis:
    """One reading of what has been said."""

    score: float
    said: tuple[Found, ...]
    """The tokens that are not settled."""
    prediction: Floats
    h: Floats
    c: Floats
    nodes: Nodes = ()
    """Where it is in the phrases."""
    language: Hashable = None
    """Where it is in the language model."""

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(found.token for found in self.said)


@dataclass(eq=False)
class BeamState:
    """What one stream's search remembers."""

    rules: BeamRules
    phrases: PhraseTree | None
    beam: list[_Hypothesis]
    """The best first."""
    frames: int = 0
    """Encoder frames searched so far."""

    @property
    def settled(self) -> int:
        """Frames whose tokens have all been told."""
        waiting = [hypothesis.said[0].frame for hypothesis in self.beam if hypothesis.said]
        return min(waiting, default=self.frames)

    def listen_for(self, phrases: PhraseTree | None) -> None:
        """Favours other phrases from now on; what is argued over must have been settled."""
        self.phrases = phrases
        for hypothesis in self.beam:
            hypothesis.nodes = ()

    def decide(self, frame: int) -> None:
        """Lets the best decide what has been argued over for long; called once a frame."""
        if len(self.beam) == 1:
            return
        best, until = self.beam[0].tokens, frame - _ARGUE
        late = [sum(found.frame <= until for found in b.said) for b in self.beam]
        agreed = [(b, n) for b, n in zip(self.beam, late, strict=True) if b.tokens[:n] == best[:n]]
        most = max(n for _, n in agreed)
        self.beam = [b for b, _ in agreed if b.tokens[:most] == best[:most]]

    def settle(self) -> list[Found]:
        """The tokens that all hypotheses have and that have not been told."""
        best = self.beam[0].tokens
        same = min(_agreement(best, other.tokens) for other in self.beam)
        told = list(self.beam[0].said[:same])
        for hypothesis in self.beam:
            hypothesis.said = hypothesis.said[same:]
        return told

    def settle_all(self) -> list[Found]:
        """The tokens of the best that have not been told; the other hypotheses go."""
        self.beam = self.beam[:1]
        return self.settle()


@dataclass(eq=False)
class _Search:
    """One stream's way through the frames of one call."""

    state: BeamState
    projected: Floats
    at: int = 0
    going: list[tuple[_Hypothesis, Floats]] = field(default_factory=list)
    """Hypotheses in the current frame that may say more, with their log-probabilities."""
    grown: list[_Hypothesis] = field(default_factory=list)
    """Those that have just said a token more."""
    ended: dict[tuple[int, ...], _Hypothesis] = field(default_factory=dict)
    """Those that are through with the frame."""


class BeamSearch:
    """Runs a decoder's predictor and joint over beams; shared by all streams."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._blank = decoder.shape.blank

    def start(self, rules: BeamRules, phrases: PhraseTree | None) -> BeamState:
        """The state before the first frame."""
        first = self._decoder.start()
        language = None if rules.model is None else rules.model.start()
        only = _Hypothesis(0.0, (), first.prediction, first.h, first.c, language=language)
        return BeamState(rules, phrases, [only])

    def step(self, states: Sequence[BeamState], projected: Sequence[Floats]) -> list[list[Found]]:
        """Searches the next frames [frames, joint] of each stream; the tokens that this settles."""
        searches = [_Search(s, p) for s, p in zip(states, projected, strict=True)]
        live = [search for search in searches if len(search.projected)]
        while live:
            self._through_silence(live)
            self._through_frame([search for search in live if search.going])
            live = [search for search in live if search.at < len(search.projected)]
        for search in searches:
            search.state.frames += len(search.projected)
        return [search.state.settle() for search in searches]

    def _through_silence(self, live: Sequence[_Search]) -> None:
        """Walks each search to the next frame in which a hypothesis may say something."""
        blocks = [s.projected[s.at : s.at + _AHEAD] for s in live]
        sizes = [len(s.state.beam) for s in live]
        predictions = [np.stack([b.prediction for b in s.state.beam]) for s in live]
        logs = self._ask(
            [np.repeat(block, size, axis=0) for block, size in zip(blocks, sizes, strict=True)],
            [np.tile(p, (len(block), 1)) for p, block in zip(predictions, blocks, strict=True)],
        )
        for search, size, rows in zip(live, sizes, logs, strict=True):
            state = search.state
            for frame in rows.reshape(-1, size, rows.shape[1]):
                if frame[:, self._blank].min() < _SILENT:
                    search.going = list(zip(state.beam, frame, strict=True))
                    break
                for hypothesis, row in zip(state.beam, frame, strict=True):
                    hypothesis.score += float(row[self._blank])
                search.at += 1
                state.decide(state.frames + search.at)
                if len(state.beam) < size:  # the rows are no longer theirs
                    break

    def _through_frame(self, live: Sequence[_Search]) -> None:
        """Lets the hypotheses of each search say what they may in one frame."""
        busy, most = list(live), self._decoder.shape.max_symbols
        for search in live:
            search.ended = {}
        for said in range(most + 1):
            for search in busy:
                self._end(search)
                search.grown = self._grow(search) if said < most else []
            busy = [search for search in busy if search.grown]
            if not busy:
                break
            self._advance_predictor([b for search in busy for b in search.grown])
            logs = self._ask(
                [np.repeat(s.projected[s.at][None], len(s.grown), axis=0) for s in busy],
                [np.stack([b.prediction for b in s.grown]) for s in busy],
            )
            for search, rows in zip(busy, logs, strict=True):
                search.going = list(zip(search.grown, rows, strict=True))
        for search in live:
            self._close(search)

    def _close(self, search: _Search) -> None:
        """The frame is over: the best of what has been said go on."""
        state = search.state
        ranked = sorted(search.ended.values(), key=lambda b: -b.score)[: state.rules.width]
        top = ranked[0].score
        state.beam = [b for b in ranked if b.score >= top - state.rules.margin]
        for hypothesis in state.beam:
            hypothesis.score -= top  # or after hours scores would have lost their last digits
        search.at += 1
        search.going = []
        state.decide(state.frames + search.at)

    def _end(self, search: _Search) -> None:
        """The hypotheses that say nothing more in this frame."""
        for hypothesis, row in search.going:
            score = hypothesis.score + float(row[self._blank])
            key = hypothesis.tokens
            same = search.ended.get(key)
            total = score if same is None else _add(score, same.score)
            if same is None or same.score < score:
                same = replace(hypothesis)
                search.ended[key] = same
            same.score = total

    def _grow(self, search: _Search) -> list[_Hypothesis]:
        """The best hypotheses with a token more."""
        state, rules = search.state, search.state.rules
        floor = max(b.score for b in search.ended.values()) - rules.margin
        found: list[tuple[float, _Hypothesis, int, Floats]] = []
        for hypothesis, row in search.going:
            logs = row
            if state.phrases is not None:
                logs = state.phrases.favour(hypothesis.nodes, row, self._blank)
            tokens = self._candidates(logs, rules.width)
            for token, log in zip(
                tokens, self._weighed(hypothesis, rules, tokens, logs), strict=True
            ):
                if (score := hypothesis.score + log) >= floor:
                    found.append((score, hypothesis, token, row))
        found.sort(key=lambda item: -item[0])
        frame = state.frames + search.at
        return [
            self._with(
                state, hypothesis, token, score,
                Found(token, frame, certainty(row, token, self._decoder.measure)),
            )
            for score, hypothesis, token, row in found[: rules.width]
        ]  # fmt: skip

    def _candidates(self, logs: Floats, width: int) -> list[int]:
        """The tokens that may be among the best; a language model changes little."""
        spoken = logs.copy()
        spoken[self._blank] = -np.inf
        count = min(2 * width, len(logs) - 1)
        return np.argpartition(spoken, -count)[-count:].tolist()

    def _weighed(
        self, hypothesis: _Hypothesis, rules: BeamRules, tokens: list[int], logs: Floats
    ) -> list[float]:
        """Log-probabilities of the candidates with the language model in mind.

        What it knows shares the probability that it had.
        """
        found = [float(logs[token]) for token in tokens]
        if rules.model is None:
            return found
        likely = [rules.model.score(hypothesis.language, token)[0] for token in tokens]
        known = [n for n, log in enumerate(likely) if log is not None]
        if not known:
            return found
        moved = [found[n] + rules.model_weight * (likely[n] or 0.0) for n in known]
        lost = _sum(found[n] for n in known) - _sum(moved)
        for n, log in zip(known, moved, strict=True):
            found[n] = log + lost
        return found

    def _with(
        self, state: BeamState, before: _Hypothesis, token: int, score: float, found: Found
    ) -> _Hypothesis:
        nodes = state.phrases.follow(before.nodes, token) if state.phrases else ()
        model, language = state.rules.model, before.language
        if model is not None:
            language = model.score(language, token)[1]
        return _Hypothesis(
            score, (*before.said, found), before.prediction, before.h, before.c, nodes, language
        )

    def _advance_predictor(self, new: Sequence[_Hypothesis]) -> None:
        prediction, h, c = self._decoder.predict(
            np.array([b.said[-1].token for b in new], np.int64),
            np.stack([b.h for b in new], axis=1),
            np.stack([b.c for b in new], axis=1),
        )
        for n, hypothesis in enumerate(new):
            hypothesis.prediction = prediction[n].copy()
            hypothesis.h, hypothesis.c = h[:, n].copy(), c[:, n].copy()

    def _ask(
        self, projected: Sequence[Floats], predictions: Sequence[Floats]
    ) -> list[NDArray[np.float32]]:
        """Log-probabilities of all outputs, for the rows of each stream."""
        counts = [len(rows) for rows in projected]
        logits = self._decoder.logits(np.concatenate(projected), np.concatenate(predictions))
        logits = logits - logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True, dtype=np.float64)).astype(
            np.float32
        )
        return np.split(logits, np.cumsum(counts)[:-1])


def _sum(logs: Iterable[float]) -> float:
    """Logarithm of a sum of exponentials."""
    return reduce(_add, logs)


def _agreement(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """How many tokens two texts begin with in common."""
    differ = (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(differ, min(len(a), len(b)))


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))"""
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))
