"""Predictor and joint as ONNX graphs in onnxruntime, which runs everywhere.

`wheatear.convert.graphs.decoder` describes the graphs.
"""

import numpy as np
from numpy.typing import NDArray

from wheatear.common.arrays import Floats
from wheatear.model.bundle import JOINT, PREDICTOR, Bundle
from wheatear.model.onnx_session import Session, check_outputs


class OnnxNetworks:
    """Safe to use from many threads."""

    frames_per_call = 4

    def __init__(self, bundle: Bundle) -> None:
        """Raises BundleError if the graphs do not fit the manifest."""
        self.shape = s = bundle.manifest.decoder
        # One thread: the products are small, and handing them over costs more than it saves.
        self._predictor = Session(bundle.path / PREDICTOR, 1)
        self._joint = Session(bundle.path / JOINT, 1)
        self._predictor.expect({"h": [s.layers, None, s.hidden], "prediction": [None, s.joint]})
        self._joint.expect({"projected": [None, s.joint], "logits": [None, s.blank + 1]})

    def predict(
        self, token: NDArray[np.int64], h: Floats, c: Floats
    ) -> tuple[Floats, Floats, Floats]:
        names = ["prediction", "h_next", "c_next"]
        outputs = self._predictor.run(names, {"token": token, "h": h, "c": c})
        shapes = [(len(token), self.shape.joint), h.shape, c.shape]
        check_outputs(self._predictor, outputs, shapes)
        prediction, h, c = outputs
        return prediction, h, c

    def logits(self, joint_input: Floats, prediction: Floats) -> Floats:
        inputs = {"projected": joint_input, "prediction": prediction}
        outputs = self._joint.run(["logits"], inputs)
        check_outputs(self._joint, outputs, [(len(joint_input), self.shape.blank + 1)])
        return outputs[0]
