"""Predictor and joint in C++ by the package wheatear-native, from the weights of the graphs."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arrays import Floats
from wheatear.model.bundle import JOINT, PREDICTOR, Bundle
from wheatear.model.native_library import NativeWeights
from wheatear.model.onnx_weights import read_initializers, read_operators


class NativeNetworks:
    """Safe to use from many threads."""

    frames_per_call = 4

    def __init__(self, native: Any, bundle: Bundle, threads: int, isa: str = "") -> None:
        """Reads the weights; `isa` is an instruction set, empty for the fastest.

        Raises KeyError or ValueError for graphs with other weights than the package can run.
        """
        self.shape = s = bundle.manifest.decoder
        predictor = NativeWeights(native, read_initializers(bundle.path / PREDICTOR))
        tensors = read_initializers(bundle.path / JOINT)
        joint = NativeWeights(native, tensors)
        output = next(iter(tensors), "").rpartition(".")[0]  # a number in its name varies
        weights = [
            *(part for i in range(s.layers) for part in predictor.linear(f"lstm{i}", 2 * s.hidden)),
            *predictor.linear("joint.pred", s.hidden),
            *joint.linear(output, s.joint),
        ]
        self._embedding: Floats = np.array(  # a copy: a mapped file may change
            predictor.tensor("embedding", s.blank + 1, s.hidden)
        )
        if self._embedding.dtype != np.float32:
            raise ValueError(f"its embedding is of {self._embedding.dtype}")
        predictor.check_all_read()
        joint.check_all_read()
        activation = native.ACTIVATIONS.index(_activation(bundle.path / JOINT))
        shape = native.DecoderShape(s.layers, s.hidden, s.joint, s.blank + 1, activation)
        self._decoder = native.Decoder(shape, weights, threads, isa)

    def predict(
        self, token: NDArray[np.int64], h: Floats, c: Floats
    ) -> tuple[Floats, Floats, Floats]:
        return self._decoder.predict(self._embedding[token], h, c)

    def logits(self, joint_input: Floats, prediction: Floats) -> Floats:
        return self._decoder.logits(joint_input, prediction)


def _activation(joint: Path) -> str:
    """Returns the activation between the addition and the product of a joint's graph.

    Raises ValueError for a graph that computes anything else.
    """
    match [operator for operator in read_operators(joint) if operator != "Identity"]:
        case ["Add", activation, "MatMul" | "MatMulNBits", "ArgMax"]:
            return activation
        case ["Add", activation, "MatMul" | "MatMulNBits", "Add", "ArgMax"]:
            return activation
        case others:
            raise ValueError(f"its joint computes {', '.join(others)}")
