"""Greedy RNN-T search over many streams at once.

The predictor runs only after a token. Between tokens its output is kept, and one call of the joint
covers several frames, because most frames are blank. The tokens are those of the plain loop in
`wheatear.convert.reference`: frame by frame, at most `max_symbols` tokens in a frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arrays import Floats
from wheatear.decoder.boosting import BoostingTree, BoostState
from wheatear.decoder.networks import Networks, predict_start
from wheatear.decoder.search import Emission, token_confidence
from wheatear.model.manifest import ConfidenceMeasure


@dataclass(slots=True, eq=False)
class GreedyState:
    """The state of one stream's greedy search."""

    search: "GreedySearch"
    prediction: Floats
    """Output [joint] of the predictor after the last token."""
    h: Floats
    """[layers, hidden]"""
    c: Floats
    """[layers, hidden]"""
    frames: int = 0
    boosting: BoostState | None = None

    @property
    def settled(self) -> int:
        """All frames: emissions of a greedy search never change."""
        return self.frames

    def set_boosting(self, tree: BoostingTree | None) -> None:
        """Boosts other phrases from now on."""
        self.boosting = None if tree is None else BoostState(tree)

    def commit(self) -> list[Emission]:
        """Returns no emissions: none are open."""
        return []


@dataclass(slots=True, eq=False)
class _Pass:
    """Position of one stream in the frames of one step."""

    joint_input: Floats
    state: GreedyState
    frame: int = 0
    symbols: int = 0
    """Tokens already emitted in `frame`."""
    emissions: list[Emission] = field(default_factory=list)


class GreedySearch:
    """Emits the best output of each frame; safe to use from many threads."""

    unchanged_by_blanks = True

    def __init__(self, networks: Networks, measure: ConfidenceMeasure) -> None:
        self._networks = networks
        self._shape = networks.shape
        self._measure: ConfidenceMeasure = measure
        self._first = predict_start(networks)

    def start(self, tree: BoostingTree | None = None) -> GreedyState:
        """Returns the state before the first frame."""
        prediction, h, c = self._first
        state = GreedyState(self, prediction[0], h[:, 0], c[:, 0])
        state.set_boosting(tree)
        return state

    def step(
        self, states: Sequence[GreedyState], joint_inputs: Sequence[Floats]
    ) -> list[list[Emission]]:
        """Searches the next frames [frames, joint] of each stream and returns its emissions."""
        passes = [_Pass(rows, state) for rows, state in zip(joint_inputs, states, strict=True)]
        active = [p for p in passes if len(p.joint_input)]
        while active:
            outputs = self._best_outputs_ahead(active)
            emitting = [
                p for p, best in zip(active, outputs, strict=True) if self._emit_next(p, *best)
            ]
            if emitting:
                self._advance_predictor(emitting)
            active = [p for p in active if p.frame < len(p.joint_input)]
        for p in passes:
            p.state.frames += len(p.joint_input)
        return [p.emissions for p in passes]

    def best_outputs(
        self, joint_input: Floats, prediction: Floats
    ) -> tuple[NDArray[np.int64], Floats]:
        """Returns the best output [rows] for frames and predictions, and all logits."""
        logits = self._networks.logits(joint_input, prediction)
        return logits.argmax(axis=1), logits

    def _best_outputs_ahead(
        self, active: Sequence[_Pass]
    ) -> list[tuple[NDArray[np.int64], Floats]]:
        """Returns best outputs and logits of the next frames of each stream."""
        ahead = self._networks.frames_per_call
        rows = [p.joint_input[p.frame : p.frame + ahead] for p in active]
        counts = [len(r) for r in rows]
        prediction = np.repeat([p.state.prediction for p in active], counts, axis=0)
        tokens, logits = self.best_outputs(np.concatenate(rows), prediction)
        ends = np.cumsum(counts)[:-1]
        return list(zip(np.split(tokens, ends), np.split(logits, ends), strict=True))

    def _emit_next(self, p: _Pass, tokens: NDArray[np.int64], logits: Floats) -> bool:
        """Passes over blanks and emits the next token; False if `tokens` are all blank."""
        if (boosting := p.state.boosting) is not None:
            tokens = boosting.choose(tokens, logits, self._shape.blank)
        at = np.flatnonzero(tokens != self._shape.blank)
        blanks = int(at[0]) if len(at) else len(tokens)
        if blanks:
            p.frame += blanks
            p.symbols = 0
        if not len(at):
            return False
        token, row = int(tokens[blanks]), logits[blanks]
        confidence = token_confidence(row, token, self._measure)
        p.emissions.append(Emission(token, p.state.frames + p.frame, confidence))
        p.symbols += 1
        if p.symbols == self._shape.max_symbols:
            p.frame += 1
            p.symbols = 0
        return True

    def _advance_predictor(self, emitting: Sequence[_Pass]) -> None:
        states = [p.state for p in emitting]
        prediction, h, c = self._networks.predict(
            np.array([p.emissions[-1].token for p in emitting], np.int64),
            np.stack([state.h for state in states], axis=1),
            np.stack([state.c for state in states], axis=1),
        )
        for n, state in enumerate(states):
            # Copies: views would keep the whole batch alive.
            state.prediction = prediction[n].copy()
            state.h, state.c = h[:, n].copy(), c[:, n].copy()
