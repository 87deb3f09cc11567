"""Beam RNN-T search over many streams at once, with boosting and a language model.

In each frame every hypothesis emits a blank or tokens. The scores of equal texts are added, and the
best texts stay in the beam. Tokens that all hypotheses share are settled and emitted; they never
change, so partials only grow, as in greedy search. After two seconds without agreement the best
hypothesis is committed.

Source: Graves 2012 (arXiv 1211.3711); pruning by a margin as in NeMo's and k2's searches.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np

from wheatear.common.arguments import check_number, shown
from wheatear.common.arrays import Floats
from wheatear.decoder.boosting import BoostingTree, Nodes
from wheatear.decoder.language_model import TokenModel
from wheatear.decoder.networks import Networks, predict_start
from wheatear.decoder.search import Emission, token_confidence
from wheatear.errors import OptionError
from wheatear.model.manifest import ConfidenceMeasure

_FRAMES_AHEAD = 8  # frames of one call of the joint, as long as all of them are blank
_CERTAIN_BLANK = math.log(0.995)  # probability of the blank above which no token is tried
_MAX_UNSETTLED_FRAMES = 25
_TOKEN_MODEL_METHODS = ("start", "score")


@dataclass(frozen=True, slots=True)
class BeamRules:
    """Width and scores of a beam search. Raises OptionError."""

    width: int = 4
    """Number of hypotheses that are kept from frame to frame."""
    margin: float = 6.0
    """Log-probability by which a hypothesis may be behind the best one."""
    model: TokenModel | None = None
    """Language model over the tokens."""
    model_weight: float = 0.3
    """Weight of the language model's log-probabilities."""

    def __post_init__(self) -> None:
        check_number("width of the beam", self.width, 1, 64, whole=True)
        check_number("margin of the beam", self.margin, 1e-3, 1e6)
        check_number("model_weight of the beam", self.model_weight, 0, 10)
        model = self.model
        if model is not None and not all(
            callable(getattr(model, name, 0)) for name in _TOKEN_MODEL_METHODS
        ):
            raise OptionError(
                f"model of the beam is {shown(model)}; give an object with start and score, such "
                f"as wheatear.decoder.language_model.read_arpa returns"
            )


@dataclass(slots=True, eq=False)
class _Hypothesis:
    """One text that the audio may contain."""

    score: float
    emissions: tuple[Emission, ...]
    """Emissions that are not settled."""
    prediction: Floats
    h: Floats
    c: Floats
    nodes: Nodes = ()
    """Nodes of the boosting tree."""
    model_state: Hashable = None
    """State of the language model."""

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(emission.token for emission in self.emissions)


@dataclass(slots=True, eq=False)
class BeamState:
    """The state of one stream's beam search."""

    search: "BeamSearch"
    rules: BeamRules
    tree: BoostingTree | None
    beam: list[_Hypothesis]
    """The best first."""
    frames: int = 0

    @property
    def settled(self) -> int:
        """Number of frames before the first token that is not settled."""
        unsettled = [b.emissions[0].frame for b in self.beam if b.emissions]
        return min(unsettled, default=self.frames)

    def set_boosting(self, tree: BoostingTree | None) -> None:
        """Replaces the boosted phrases. Call `commit` first."""
        self.tree = tree
        for hypothesis in self.beam:
            hypothesis.nodes = ()

    def limit_unsettled(self, frame: int) -> None:
        """Drops hypotheses that differ from the best in old tokens; called once a frame."""
        if len(self.beam) == 1:
            return
        best, until = self.beam[0].tokens, frame - _MAX_UNSETTLED_FRAMES
        old = [sum(emission.frame <= until for emission in b.emissions) for b in self.beam]
        agreed = [(b, n) for b, n in zip(self.beam, old, strict=True) if b.tokens[:n] == best[:n]]
        most = max(n for _, n in agreed)
        self.beam = [b for b, _ in agreed if b.tokens[:most] == best[:most]]

    def commit_agreed(self) -> list[Emission]:
        """Returns the open emissions that all hypotheses share, which are then settled."""
        best = self.beam[0].tokens
        same = min(_common_length(best, other.tokens) for other in self.beam)
        agreed = list(self.beam[0].emissions[:same])
        for hypothesis in self.beam:
            hypothesis.emissions = hypothesis.emissions[same:]
        return agreed

    def commit(self) -> list[Emission]:
        """Drops all hypotheses but the best and returns its open emissions."""
        self.beam = self.beam[:1]
        return self.commit_agreed()


@dataclass(slots=True, eq=False)
class _Pass:
    """Position of one stream in the frames of one step."""

    state: BeamState
    joint_input: Floats
    frame: int = 0
    active: list[tuple[_Hypothesis, Floats]] = field(default_factory=list)
    """Hypotheses that may emit in the current frame, with log-probabilities of all outputs."""
    extended: list[_Hypothesis] = field(default_factory=list)
    """Hypotheses that have just emitted a token."""
    finished: dict[tuple[int, ...], _Hypothesis] = field(default_factory=dict)
    """Hypotheses that have emitted the blank of the current frame, by their tokens."""


class BeamSearch:
    """Searches beams of hypotheses; safe to use from many threads."""

    unchanged_by_blanks = False

    def __init__(self, networks: Networks, measure: ConfidenceMeasure) -> None:
        self._networks = networks
        self._blank = networks.shape.blank
        self._measure: ConfidenceMeasure = measure
        self._first = predict_start(networks)

    def start(self, rules: BeamRules, tree: BoostingTree | None) -> BeamState:
        """Returns the state before the first frame."""
        prediction, h, c = self._first
        model_state = None if rules.model is None else rules.model.start()
        only = _Hypothesis(0.0, (), prediction[0], h[:, 0], c[:, 0], model_state=model_state)
        return BeamState(self, rules, tree, [only])

    def step(
        self, states: Sequence[BeamState], joint_inputs: Sequence[Floats]
    ) -> list[list[Emission]]:
        """Searches the next frames [frames, joint] of each stream; returns settled emissions."""
        passes = [_Pass(state, rows) for state, rows in zip(states, joint_inputs, strict=True)]
        active = [p for p in passes if len(p.joint_input)]
        while active:
            self._skip_blanks(active)
            self._search_frame([p for p in active if p.active])
            active = [p for p in active if p.frame < len(p.joint_input)]
        for p in passes:
            p.state.frames += len(p.joint_input)
        return [p.state.commit_agreed() for p in passes]

    def _skip_blanks(self, passes: Sequence[_Pass]) -> None:
        """Advances each stream to the next frame in which a hypothesis may emit a token."""
        blocks = [p.joint_input[p.frame : p.frame + _FRAMES_AHEAD] for p in passes]
        sizes = [len(p.state.beam) for p in passes]
        predictions = [np.stack([b.prediction for b in p.state.beam]) for p in passes]
        logs = self._log_probabilities(
            [np.repeat(block, size, axis=0) for block, size in zip(blocks, sizes, strict=True)],
            [np.tile(p, (len(block), 1)) for p, block in zip(predictions, blocks, strict=True)],
        )
        for p, size, rows in zip(passes, sizes, logs, strict=True):
            state = p.state
            for frame in rows.reshape(-1, size, rows.shape[1]):
                if frame[:, self._blank].min() < _CERTAIN_BLANK:
                    p.active = list(zip(state.beam, frame, strict=True))
                    break
                for hypothesis, row in zip(state.beam, frame, strict=True):
                    hypothesis.score += float(row[self._blank])
                p.frame += 1
                state.limit_unsettled(state.frames + p.frame)
                if len(state.beam) < size:  # the rows belong to the former beam
                    break

    def _search_frame(self, passes: Sequence[_Pass]) -> None:
        """Extends the hypotheses of each stream by the tokens of one frame."""
        busy, max_symbols = list(passes), self._networks.shape.max_symbols
        for p in passes:
            p.finished = {}
        for emitted in range(max_symbols + 1):
            for p in busy:
                self._finish(p)
                p.extended = self._extend(p) if emitted < max_symbols else []
            busy = [p for p in busy if p.extended]
            if not busy:
                break
            self._advance_predictor([b for p in busy for b in p.extended])
            logs = self._log_probabilities(
                [np.repeat(p.joint_input[p.frame][None], len(p.extended), axis=0) for p in busy],
                [np.stack([b.prediction for b in p.extended]) for p in busy],
            )
            for p, rows in zip(busy, logs, strict=True):
                p.active = list(zip(p.extended, rows, strict=True))
        for p in passes:
            self._prune(p)

    def _prune(self, p: _Pass) -> None:
        """Keeps the best hypotheses at the end of a frame."""
        state = p.state
        ranked = sorted(p.finished.values(), key=lambda b: -b.score)[: state.rules.width]
        top = ranked[0].score
        state.beam = [b for b in ranked if b.score >= top - state.rules.margin]
        for hypothesis in state.beam:
            hypothesis.score -= top  # or scores would lose their last digits within hours
        p.frame += 1
        p.active = []
        state.limit_unsettled(state.frames + p.frame)

    def _finish(self, p: _Pass) -> None:
        """Ends the frame for the active hypotheses, with a blank; equal texts are added up."""
        for hypothesis, row in p.active:
            score = hypothesis.score + float(row[self._blank])
            key = hypothesis.tokens
            same = p.finished.get(key)
            total = score if same is None else _log_add(score, same.score)
            if same is None or same.score < score:
                same = replace(hypothesis)
                p.finished[key] = same
            same.score = total

    def _extend(self, p: _Pass) -> list[_Hypothesis]:
        """Returns the best hypotheses with one token more."""
        state, rules = p.state, p.state.rules
        floor = max(b.score for b in p.finished.values()) - rules.margin
        candidates: list[tuple[float, _Hypothesis, int, Floats]] = []
        for hypothesis, row in p.active:
            logs = row
            if state.tree is not None:
                logs = state.tree.boost(hypothesis.nodes, row, self._blank)
            tokens = self._likeliest(logs, rules.width)
            for token, log in zip(
                tokens, _token_scores(hypothesis, rules, tokens, logs), strict=True
            ):
                if (score := hypothesis.score + log) >= floor:
                    candidates.append((score, hypothesis, token, row))
        candidates.sort(key=lambda item: -item[0])
        frame = state.frames + p.frame
        return [
            _extended(
                state, hypothesis, score,
                Emission(token, frame, token_confidence(row, token, self._measure)),
            )
            for score, hypothesis, token, row in candidates[: rules.width]
        ]  # fmt: skip

    def _likeliest(self, logs: Floats, width: int) -> list[int]:
        """Returns tokens that may be among the best; a language model changes little."""
        without_blank = logs.copy()
        without_blank[self._blank] = -np.inf
        count = min(2 * width, len(logs) - 1)
        return np.argpartition(without_blank, -count)[-count:].tolist()

    def _advance_predictor(self, extended: Sequence[_Hypothesis]) -> None:
        prediction, h, c = self._networks.predict(
            np.array([b.emissions[-1].token for b in extended], np.int64),
            np.stack([b.h for b in extended], axis=1),
            np.stack([b.c for b in extended], axis=1),
        )
        for n, hypothesis in enumerate(extended):
            hypothesis.prediction = prediction[n].copy()
            hypothesis.h, hypothesis.c = h[:, n].copy(), c[:, n].copy()

    def _log_probabilities(
        self, joint_inputs: Sequence[Floats], predictions: Sequence[Floats]
    ) -> list[Floats]:
        """Returns log-probabilities of all outputs, for the rows of each stream."""
        counts = [len(rows) for rows in joint_inputs]
        logits = self._networks.logits(np.concatenate(joint_inputs), np.concatenate(predictions))
        logits = logits - logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True, dtype=np.float64)).astype(
            np.float32
        )
        return np.split(logits, np.cumsum(counts)[:-1])


def _token_scores(
    hypothesis: _Hypothesis, rules: BeamRules, tokens: list[int], logs: Floats
) -> list[float]:
    """Log-probabilities of tokens, reweighted by the language model.

    The tokens that it knows keep their total probability.
    """
    scores = [float(logs[token]) for token in tokens]
    if rules.model is None:
        return scores
    model_logs = [rules.model.score(hypothesis.model_state, token)[0] for token in tokens]
    known = [n for n, log in enumerate(model_logs) if log is not None]
    if not known:
        return scores
    shifted = [scores[n] + rules.model_weight * (model_logs[n] or 0.0) for n in known]
    lost = _log_sum(scores[n] for n in known) - _log_sum(shifted)
    for n, log in zip(known, shifted, strict=True):
        scores[n] = log + lost
    return scores


def _extended(
    state: BeamState, before: _Hypothesis, score: float, emission: Emission
) -> _Hypothesis:
    """Returns a hypothesis with one emission more; the predictor has yet to run."""
    nodes = state.tree.follow(before.nodes, emission.token) if state.tree else ()
    model, model_state = state.rules.model, before.model_state
    if model is not None:
        model_state = model.score(model_state, emission.token)[1]
    emissions = (*before.emissions, emission)
    return _Hypothesis(score, emissions, before.prediction, before.h, before.c, nodes, model_state)


def _log_sum(logs: Iterable[float]) -> float:
    """Logarithm of a sum of exponentials."""
    return reduce(_log_add, logs)


def _log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))"""
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))


def _common_length(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Number of tokens that two texts share at their beginning."""
    differ = (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(differ, min(len(a), len(b)))
