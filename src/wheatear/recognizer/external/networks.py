"""Predictor and joint of an external package.

The split into graphs differs from a bundle: the joint's inputs are encoder frames and predictor
output before their projections. Where the two are
one graph (parakeet-rs), the "prediction" is the input that the graph needs to compute it again:
the last token and the LSTM state before it, in one vector.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arrays import Floats
from wheatear.errors import BundleError
from wheatear.model.manifest import DecoderShape
from wheatear.model.onnx_session import Session, TensorInfo
from wheatear.model.size_limits import check_size


class Graph:
    """A graph that runs on rows.

    One call takes all rows if each row then has the same bits as in a separate call.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        session = Session(path, 1)
        self.inputs, self.outputs, self.run = session.inputs, session.outputs, session.run
        self.batched = False
        """True if one call takes all rows."""

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


class LstmGraph(Graph):
    """A graph that advances an LSTM by one token: a predictor, or predictor and joint in one."""

    def __init__(self, path: Path, what: str, frames: int) -> None:
        """Opens a graph that has `frames` inputs for frames of the encoder."""
        super().__init__(path)
        self.token = self.of_rank([i for i in self.inputs if i.integer], 2, 1, what)[0]
        self._count = next((i for i in self.inputs if i.integer and len(i.shape) == 1), None)
        inputs = self.of_rank(self.inputs, 3, 2 + frames, what)
        if frames:
            inputs = _frame_first(inputs)
        self.frames, self._states = inputs[:frames], inputs[frames:]
        self._states_next = self.of_rank(self.outputs, 3, 3 - frames, what)[1 - frames :]
        self.layers, self.hidden = _state_shape(self._states[0], self.name)

    def step(
        self,
        output: TensorInfo,
        token: NDArray[np.int64],
        h: Floats,
        c: Floats,
        frames: Floats | None = None,
    ) -> tuple[NDArray[Any], Floats, Floats]:
        """Returns an output of the graph and the LSTM state after tokens [rows]."""
        names = [output.name, *(state.name for state in self._states_next)]

        def rows(of: slice) -> list[NDArray[Any]]:
            inputs: dict[str, NDArray[Any]] = {
                self.token.name: token[of, None].astype(self.token.dtype),
                self._states[0].name: h[:, of].astype(self._states[0].dtype),
                self._states[1].name: c[:, of].astype(self._states[1].dtype),
            }
            if self._count is not None:
                inputs[self._count.name] = np.ones(len(token[of]), self._count.dtype)
            if frames is not None:
                inputs[self.frames[0].name] = _as_vectors(frames[of], self.frames[0])
            result, h_next, c_next = self.run(names, inputs)
            return [result, h_next.swapaxes(0, 1), c_next.swapaxes(0, 1)]

        result, h_next, c_next = _by_rows(rows, len(token), self.batched)
        return result, h_next.swapaxes(0, 1), c_next.swapaxes(0, 1)

    def random_rows(
        self, rng: np.random.Generator, blank: int
    ) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Returns three tokens and LSTM states."""
        h, c = rng.normal(size=(2, self.layers, 3, self.hidden)).astype(np.float32)
        return rng.integers(0, blank, 3), h, c


class TwoGraphs:
    """A predictor and a joint; safe to use from many threads."""

    frames_per_call = 1

    def __init__(self, predictor: Path, joint: Path, width: int, max_symbols: int) -> None:
        """Opens the graphs for frames [rows, width] of the encoder."""
        self.predictor, self.joint = p, j = LstmGraph(predictor, "predictor", 0), Graph(joint)
        self._output = p.of_rank(p.outputs, 3, 3, "predictor")[0]
        self._frame, self._predicted = _frame_first(j.of_rank(j.inputs, 3, 2, "joint"))
        self._logits = j.of_rank(j.outputs, 4, 1, "joint")[0]
        prediction, *_ = self.predict(*_start(p.layers, p.hidden))
        blank = self.logits(np.zeros((1, width), np.float32), prediction).shape[1] - 1
        self.shape = DecoderShape(p.layers, p.hidden, p.hidden, blank, max_symbols)

        def joint_rows(rng: np.random.Generator) -> list[Floats]:
            frames = rng.normal(size=(3, width)).astype(np.float32)
            return [self.logits(frames, rng.normal(size=(3, p.hidden)).astype(np.float32))]

        p.batched = _same_bits(lambda rng: [*self.predict(*p.random_rows(rng, blank))], p)
        j.batched = _same_bits(joint_rows, j)

    def predict(
        self, token: NDArray[np.int64], h: Floats, c: Floats
    ) -> tuple[Floats, Floats, Floats]:
        output, h_next, c_next = self.predictor.step(self._output, token, h, c)
        return _vectors(output, self.predictor.hidden), h_next, c_next

    def logits(self, joint_input: Floats, prediction: Floats) -> Floats:
        def rows(of: slice) -> list[Floats]:
            inputs = {
                self._frame.name: _as_vectors(joint_input[of], self._frame),
                self._predicted.name: _as_vectors(prediction[of], self._predicted),
            }
            (logits,) = self.joint.run([self._logits.name], inputs)
            return [logits.reshape(len(joint_input[of]), -1).astype(np.float32)]

        return _by_rows(rows, len(joint_input), self.joint.batched)[0]


class OneGraph:
    """Predictor and joint in one graph; safe to use from many threads."""

    frames_per_call = 1

    def __init__(self, path: Path, width: int, max_symbols: int) -> None:
        """Opens the graph for frames [rows, width] of the encoder."""
        self.graph = g = LstmGraph(path, "decoder", 1)
        self._logits = g.of_rank(g.outputs, 4, 1, "decoder")[0]
        self._width = width
        logits, *_ = self._step(np.zeros((1, width), np.float32), *_start(g.layers, g.hidden))
        blank = logits.shape[1] - 1
        self.shape = DecoderShape(
            g.layers, g.hidden, 1 + 2 * g.layers * g.hidden, blank, max_symbols
        )

        def rows(rng: np.random.Generator) -> list[Floats]:
            frames = rng.normal(size=(3, width)).astype(np.float32)
            return [*self._step(frames, *g.random_rows(rng, blank))]

        g.batched = _same_bits(rows, g)

    def predict(
        self, token: NDArray[np.int64], h: Floats, c: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Runs the graph on a frame of zeros; the result of its joint is not used."""
        count = len(token)
        states = [state.swapaxes(0, 1).reshape(count, -1) for state in (h, c)]
        prediction = np.concatenate([token[:, None].astype(np.float32), *states], axis=1)
        _, h_next, c_next = self._step(np.zeros((count, self._width), np.float32), token, h, c)
        return prediction, h_next, c_next

    def logits(self, joint_input: Floats, prediction: Floats) -> Floats:
        count, layers, hidden = len(joint_input), self.shape.layers, self.shape.hidden
        h, c = (
            prediction[:, start : start + layers * hidden]
            .reshape(count, layers, hidden)
            .swapaxes(0, 1)
            for start in (1, 1 + layers * hidden)
        )
        return self._step(joint_input, prediction[:, 0].astype(np.int64), h, c)[0]

    def _step(
        self, frames: Floats, token: NDArray[np.int64], h: Floats, c: Floats
    ) -> tuple[Floats, Floats, Floats]:
        logits, h_next, c_next = self.graph.step(self._logits, token, h, c, frames)
        return logits.reshape(len(token), -1).astype(np.float32), h_next, c_next


# -- rows ----------------------------------------------------------------------------------------


def _by_rows(
    run: Callable[[slice], list[NDArray[Any]]], count: int, batched: bool
) -> list[NDArray[Any]]:
    """Returns the results of `run` for all rows, rows first, by one call or one per row."""
    if batched or count == 1:
        return run(slice(0, count))
    parts = [run(slice(n, n + 1)) for n in range(count)]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _same_bits(run: Callable[[np.random.Generator], list[Floats]], graph: Graph) -> bool:
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
