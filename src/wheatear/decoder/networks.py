"""Predictor and joint of a model, by whichever backend computes them."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arrays import Floats
from wheatear.decoder.native_networks import NativeNetworks
from wheatear.decoder.onnx_networks import OnnxNetworks
from wheatear.model.bundle import Bundle
from wheatear.model.manifest import DecoderShape
from wheatear.model.native_library import if_native


class Networks(Protocol):
    """A predictor and a joint; safe to use from many threads."""

    shape: DecoderShape
    frames_per_call: int
    """Frames for which greedy search calls the joint at once; results after a token are lost."""

    def predict(
        self, token: NDArray[np.int64], h: Floats, c: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Returns prediction [rows, joint] and LSTM state after tokens [rows].

        h and c are the state before the tokens, float32 [layers, rows, hidden].
        """
        ...

    def logits(self, joint_input: Floats, prediction: Floats) -> Floats:
        """Returns logits [rows, outputs], the blank last, for frames and predictions."""
        ...


def open_networks(bundle: Bundle, threads: int) -> Networks:
    """Opens both networks: in C++ where wheatear-native runs them, else in onnxruntime."""
    native = if_native(bundle, lambda native, isa: NativeNetworks(native, bundle, threads, isa))
    return native or OnnxNetworks(bundle)


def predict_start(networks: Networks) -> tuple[Floats, Floats, Floats]:
    """Returns prediction [1, joint] and LSTM state after the start token, a blank."""
    s = networks.shape
    zeros = np.zeros((s.layers, 1, s.hidden), np.float32)
    return networks.predict(np.array([s.blank], np.int64), zeros, zeros)
