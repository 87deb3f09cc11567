"""Predictor and joint of an external package.

Their graphs are cut differently from those of a bundle: the joint takes frames as the encoder
computes them and the output of the predictor, without projections of its own. Where the two are
one graph (parakeet-rs), the "prediction" is the input that the graph needs to compute it again:
the last token and the LSTM state before it, in one vector.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arrays import Floats
from wheatear.errors import BundleError
from wheatear.model.manifest import DecoderShape
from wheatear.model.onnx_session import Session, TensorInfo
from wheatear.model.size_limits import check_size


class _Graph:
    """A graph that runs on rows: in one call where every row gets the same bits as in a call of
    its own, else one after the other."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        session = Session(path, 1)
        self.inputs, self.outputs, self.run = session.inputs, session.outputs, session.run
        self.batched = False

    def of_rank(
        self, tensors: Sequence[TensorInfo], rank: int, count: int, what: str
    ) -> list[TensorInfo]:
        """Returns the tensors of a rank. Raises BundleError unless there are `count` of them."""
        found = [t for t in tensors if len(t.shape) == rank]
        if len(found) != count:
            raise BundleError(
                f"{self.name} is no {what} that is known here: {len(found)} of its tensors have "
                f"{rank} axes, not {count}"
            )
        return found


class TwoGraphs:
    """A predictor and a joint; safe to use from many threads."""

    frames_per_call = 1

    def __init__(self, predictor: Path, joint: Path, width: int, max_symbols: int) -> None:
        """Opens the graphs for frames [rows, width] of the encoder."""
        self._predictor, self._joint = _Graph(predictor), _Graph(joint)
        p, j = self._predictor, self._joint
        self._token = p.of_rank([i for i in p.inputs if i.integer], 2, 1, "predictor")[0]
        self._count = next((i for i in p.inputs if i.integer and len(i.shape) == 1), None)
        self._states = p.of_rank(p.inputs, 3, 2, "predictor")
        self._output, *self._states_next = p.of_rank(p.outputs, 3, 3, "predictor")
        layers, hidden = _state_shape(self._states[0], p.name)
        self._frame, self._predicted = _frame_first(j.of_rank(j.inputs, 3, 2, "joint"))
        self._logits = j.of_rank(j.outputs, 4, 1, "joint")[0]
        self._width = width
        # The blank is not known before the joint has run.
        self.shape = DecoderShape(layers, hidden, hidden, 0, max_symbols)
        first, *_ = self.predict(*_start(layers, hidden))
        blank = self.logits(np.zeros((1, width), np.float32), first).shape[1] - 1
        self.shape = replace(self.shape, blank=blank)
        p.batched = _same_bits(self._rows_of_predictor, p)
        j.batched = _same_bits(self._rows_of_joint, j)

    def predict(
        self, token: NDArray[np.int64], h: Floats, c: Floats
    ) -> tuple[Floats, Floats, Floats]:
        def rows(of: slice) -> list[Floats]:
            inputs: dict[str, NDArray[Any]] = {
                self._token.name: token[of, None].astype(self._token.dtype),
                self._states[0].name: h[:, of].astype(self._states[0].dtype),
                self._states[1].name: c[:, of].astype(self._states[1].dtype),
            }
            if self._count is not None:
                inputs[self._count.name] = np.ones(len(token[of]), self._count.dtype)
            names = [self._output.name, *(s.name for s in self._states_next)]
            output, h_next, c_next = self._predictor.run(names, inputs)
            return [
                _vectors(output, self.shape.hidden),
                h_next.swapaxes(0, 1),
                c_next.swapaxes(0, 1),
            ]

        prediction, h_next, c_next = _by_rows(rows, len(token), self._predictor.batched)
        return prediction, h_next.swapaxes(0, 1), c_next.swapaxes(0, 1)

    def logits(self, joint_input: Floats, prediction: Floats) -> Floats:
        def rows(of: slice) -> list[Floats]:
            inputs = {
                self._frame.name: _as_vectors(joint_input[of], self._frame),
                self._predicted.name: _as_vectors(prediction[of], self._predicted),
            }
            (logits,) = self._joint.run([self._logits.name], inputs)
            return [logits.reshape(len(joint_input[of]), -1).astype(np.float32)]

        return _by_rows(rows, len(joint_input), self._joint.batched)[0]

    def _rows_of_predictor(self, rng: np.random.Generator) -> list[Floats]:
        h, c = rng.normal(size=(2, self.shape.layers, 3, self.shape.hidden)).astype(np.float32)
        tokens = rng.integers(0, self.shape.blank, 3)
        prediction, h, c = self.predict(tokens, h, c)
        return [prediction, h, c]

    def _rows_of_joint(self, rng: np.random.Generator) -> list[Floats]:
        frames = rng.normal(size=(3, self._width)).astype(np.float32)
        return [self.logits(frames, rng.normal(size=(3, self.shape.hidden)).astype(np.float32))]


class OneGraph:
    """Predictor and joint in one graph; safe to use from many threads."""

    frames_per_call = 1

    def __init__(self, path: Path, width: int, max_symbols: int) -> None:
        """Opens the graph for frames [rows, width] of the encoder."""
        self._graph = g = _Graph(path)
        self._token = g.of_rank([i for i in g.inputs if i.integer], 2, 1, "decoder")[0]
        self._count = next((i for i in g.inputs if i.integer and len(i.shape) == 1), None)
        self._frame, *self._states = _frame_first(g.of_rank(g.inputs, 3, 3, "decoder"))
        self._states_next = g.of_rank(g.outputs, 3, 2, "decoder")
        self._logits = g.of_rank(g.outputs, 4, 1, "decoder")[0]
        layers, hidden = _state_shape(self._states[0], g.name)
        self._width = width
        logits, *_ = self._run(np.zeros((1, width), np.float32), *_start(layers, hidden))
        prediction = 1 + 2 * layers * hidden
        self.shape = DecoderShape(layers, hidden, prediction, logits.shape[1] - 1, max_symbols)
        g.batched = _same_bits(self._rows, g)

    def predict(
        self, token: NDArray[np.int64], h: Floats, c: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Runs the graph on a frame of zeros; the result of its joint is not used."""
        count = len(token)
        states = [state.swapaxes(0, 1).reshape(count, -1) for state in (h, c)]
        prediction = np.concatenate([token[:, None].astype(np.float32), *states], axis=1)
        frames = np.zeros((count, self._width), np.float32)
        _logits, h_next, c_next = self._run(frames, token, h, c)
        return prediction, h_next, c_next

    def logits(self, joint_input: Floats, prediction: Floats) -> Floats:
        count, size = len(joint_input), self.shape.layers * self.shape.hidden
        h, c = (
            prediction[:, start : start + size]
            .reshape(count, self.shape.layers, self.shape.hidden)
            .swapaxes(0, 1)
            for start in (1, 1 + size)
        )
        return self._run(joint_input, prediction[:, 0].astype(np.int64), h, c)[0]

    def _run(
        self, frames: Floats, token: NDArray[np.int64], h: Floats, c: Floats
    ) -> tuple[Floats, Floats, Floats]:
        def rows(of: slice) -> list[Floats]:
            inputs: dict[str, NDArray[Any]] = {
                self._frame.name: _as_vectors(frames[of], self._frame),
                self._token.name: token[of, None].astype(self._token.dtype),
                self._states[0].name: h[:, of].astype(self._states[0].dtype),
                self._states[1].name: c[:, of].astype(self._states[1].dtype),
            }
            if self._count is not None:
                inputs[self._count.name] = np.ones(len(token[of]), self._count.dtype)
            names = [self._logits.name, *(s.name for s in self._states_next)]
            logits, h_next, c_next = self._graph.run(names, inputs)
            logits = logits.reshape(len(token[of]), -1).astype(np.float32)
            return [logits, h_next.swapaxes(0, 1), c_next.swapaxes(0, 1)]

        logits, h_next, c_next = _by_rows(rows, len(token), self._graph.batched)
        return logits, h_next.swapaxes(0, 1), c_next.swapaxes(0, 1)

    def _rows(self, rng: np.random.Generator) -> list[Floats]:
        frames = rng.normal(size=(3, self._width)).astype(np.float32)
        h, c = rng.normal(size=(2, self.shape.layers, 3, self.shape.hidden)).astype(np.float32)
        return list(self._run(frames, rng.integers(0, self.shape.blank, 3), h, c))


# -- rows ----------------------------------------------------------------------------------------


def _by_rows(run: Callable[[slice], list[Floats]], count: int, batched: bool) -> list[Floats]:
    """Results of `run` for all rows, rows first, by one call or by one call a row."""
    if batched or count == 1:
        return run(slice(0, count))
    parts = [run(slice(n, n + 1)) for n in range(count)]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _same_bits(run: Callable[[np.random.Generator], list[Floats]], graph: _Graph) -> bool:
    """True if three rows get the same bits in one call as one by one."""
    single = run(np.random.default_rng(0))
    graph.batched = True
    try:
        both = run(np.random.default_rng(0))
    except BundleError:  # made for one row
        return False
    finally:
        graph.batched = False
    return all(map(np.array_equal, single, both))


def _start(layers: int, hidden: int) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Token 0 and the state before it, to try a graph."""
    zeros = np.zeros((layers, 1, hidden), np.float32)
    return np.zeros(1, np.int64), zeros, zeros


def _as_vectors(rows: Floats, tensor: TensorInfo) -> NDArray[Any]:
    """[N, width] as [N, 1, width] or [N, width, 1]."""
    axis = 2 if tensor.shape[1] == rows.shape[1] else 1
    return np.expand_dims(rows, axis).astype(tensor.dtype)


def _vectors(output: NDArray[Any], width: int) -> Floats:
    """[N, U, width] or [N, width, U] as [N, width], of the last token."""
    rows = output[:, -1] if output.shape[2] == width else output[:, :, -1]
    return rows.astype(np.float32)


def _state_shape(state: TensorInfo, name: str) -> tuple[int, int]:
    layers, _batch, hidden = state.shape
    if layers is None or hidden is None:
        raise BundleError(f"{name} does not declare the size of its state: {list(state.shape)}")
    try:
        return check_size("decoder.layers", layers), check_size("decoder.hidden", hidden)
    except ValueError as error:
        raise BundleError(f"{name} is refused: {error}") from error


def _frame_first(tensors: Sequence[TensorInfo]) -> list[TensorInfo]:
    """Sorts the input for frames of the encoder before the others."""
    return sorted(tensors, key=lambda tensor: "enc" not in tensor.name)
