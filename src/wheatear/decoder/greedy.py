"""Greedy RNN-T search over many streams at once.

The predictor runs only after a token; between tokens its output is kept and the joint is asked
about several frames ahead in one product, because most frames are blank. The tokens are those of
the plain loop: frame by frame, at most `max_symbols` tokens in a frame. Both are computed by
`native_decoder` where wheatear-native is installed, and else by `graph_decoder`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arrays import Floats
from wheatear.decoder.boosting import Listening, PhraseTree
from wheatear.decoder.native_networks import NativeDecoder
from wheatear.decoder.onnx_networks import GraphDecoder
from wheatear.model.bundle import Bundle
from wheatear.model.manifest import ConfidenceMeasure, DecoderShape
from wheatear.model.native_library import if_native


class Found(NamedTuple):
    """A token that the search emitted."""

    token: int
    frame: int
    """Encoder frame, counted from the start of the stream."""
    confidence: float
    """How sure the search is of it, 0 to 1, by the bundle's measure."""


def certainty(logits: Floats, token: int, measure: ConfidenceMeasure) -> float:
    """How sure an output is by the logits of all, the blank included: its probability, or one
    minus their entropy's share of the largest there can be.

    Source: Laptev and Ginsburg 2022 (arXiv 2212.08703), entropy with linear normalisation.
    """
    if measure == "probability":
        return float(1 / np.exp(logits - logits[token]).sum(dtype=np.float64))
    shares = np.exp((logits - logits.max()).astype(np.float64))
    shares /= shares.sum()
    entropy = -float((shares * np.log(shares + 1e-300)).sum())
    return min(1.0, max(0.0, 1 - entropy / math.log(len(shares))))


@dataclass
class DecoderState:
    """What one stream's search remembers."""

    prediction: Floats
    """[joint] the predictor's output after the last token"""
    h: Floats
    """[layers, hidden]"""
    c: Floats
    """[layers, hidden]"""
    frames: int = 0
    """Encoder frames searched so far."""
    listening: Listening | None = None
    """The phrases that are favoured, and how far one has come."""

    @property
    def settled(self) -> int:
        """Frames whose tokens have all been told."""
        return self.frames

    def listen_for(self, phrases: PhraseTree | None) -> None:
        """Favours other phrases from now on."""
        self.listening = None if phrases is None else Listening(phrases)


@dataclass
class _Search:
    """One stream's way through the frames of one call."""

    projected: Floats
    state: DecoderState
    frame: int = 0
    symbols: int = 0
    """Tokens emitted in `frame` so far."""
    found: list[Found] = field(default_factory=list)


class Networks(Protocol):
    """A predictor and a joint, whoever computes them (see `Decoder.predict` and `logits`)."""

    def predict(
        self, token: NDArray[np.int64], h: Floats, c: Floats
    ) -> tuple[Floats, Floats, Floats]: ...

    def logits(self, projected: Floats, prediction: Floats) -> Floats: ...


class Decoder:
    """Runs a bundle's predictor and joint; shared by all streams and safe to use from threads."""

    ahead = 4
    """Frames that the joint is asked about at once; a token wastes the answers after it."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.shape: DecoderShape = bundle.manifest.decoder
        self.measure: ConfidenceMeasure = bundle.manifest.confidence_measure
        native = if_native(
            bundle, lambda native, path: NativeDecoder(native, bundle, threads, path)
        )
        self._networks: Networks = native or GraphDecoder(bundle)
        self._first = self.begin()

    def begin(self) -> tuple[Floats, Floats, Floats]:
        """What `predict` says of the start token, a blank."""
        zeros = np.zeros((self.shape.layers, 1, self.shape.hidden), np.float32)
        return self.predict(np.array([self.shape.blank], np.int64), zeros, zeros)

    def start(self, phrases: PhraseTree | None = None) -> DecoderState:
        """The state before the first frame: the predictor has seen the start token, a blank."""
        prediction, h, c = self._first
        listening = None if phrases is None else Listening(phrases)
        return DecoderState(prediction[0], h[:, 0], c[:, 0], listening=listening)

    def step(
        self, states: Sequence[DecoderState], projected: Sequence[Floats]
    ) -> list[list[Found]]:
        """Searches the next frames [frames, joint] of each stream; their new tokens."""
        searches = [_Search(p, s) for p, s in zip(projected, states, strict=True)]
        live = [search for search in searches if len(search.projected)]
        while live:
            best = self._best(live)
            emitted = [s for s, rows in zip(live, best, strict=True) if self._follow(s, *rows)]
            if emitted:
                self._advance_predictor(emitted)
            live = [search for search in live if search.frame < len(search.projected)]
        for search in searches:
            search.state.frames += len(search.projected)
        return [search.found for search in searches]

    def _best(self, live: Sequence[_Search]) -> list[tuple[NDArray[np.int64], Floats]]:
        """The joint's best outputs for the next frames of each search, and all its logits."""
        rows = [search.projected[search.frame : search.frame + self.ahead] for search in live]
        counts = [len(r) for r in rows]
        prediction = np.repeat([search.state.prediction for search in live], counts, axis=0)
        tokens, logits = self.best(np.concatenate(rows), prediction)
        ends = np.cumsum(counts)[:-1]
        return list(zip(np.split(tokens, ends), np.split(logits, ends), strict=True))

    def _follow(self, search: _Search, tokens: NDArray[np.int64], logits: Floats) -> bool:
        """Walks over blanks to the next token; True if there is one in `tokens`."""
        if (listening := search.state.listening) is not None:
            tokens = listening.heard(tokens, logits, self.shape.blank)
        at = np.flatnonzero(tokens != self.shape.blank)
        blanks = int(at[0]) if len(at) else len(tokens)
        if blanks:
            search.frame += blanks
            search.symbols = 0
        if not len(at):
            return False
        token, row = int(tokens[blanks]), logits[blanks]
        sure = certainty(row, token, self.measure)
        search.found.append(Found(token, search.state.frames + search.frame, sure))
        search.symbols += 1
        if search.symbols == self.shape.max_symbols:
            search.frame += 1
            search.symbols = 0
        return True

    def _advance_predictor(self, emitted: Sequence[_Search]) -> None:
        states = [search.state for search in emitted]
        prediction, h, c = self.predict(
            np.array([search.found[-1].token for search in emitted], np.int64),
            np.stack([state.h for state in states], axis=1),
            np.stack([state.c for state in states], axis=1),
        )
        for n, state in enumerate(states):
            # Copies: views would keep the whole batch alive.
            state.prediction = prediction[n].copy()
            state.h, state.c = h[:, n].copy(), c[:, n].copy()

    def predict(
        self, token: NDArray[np.int64], h: Floats, c: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Prediction [rows, joint] and LSTM state [layers, rows, hidden] after tokens [rows]."""
        return self._networks.predict(token, h, c)

    def best(self, projected: Floats, prediction: Floats) -> tuple[NDArray[np.int64], Floats]:
        """The best output [rows] for frames and predictions, and the logits of all."""
        logits = self.logits(projected, prediction)
        return logits.argmax(axis=1), logits

    def logits(self, projected: Floats, prediction: Floats) -> Floats:
        """The joint's answer [rows, outputs], the blank last, to frames and predictions."""
        return self._networks.logits(projected, prediction)
