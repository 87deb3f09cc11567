"""GGUF packs of random models."""

import numpy as np
import pytest

from benchmarks.rivals import gguf_export
from wheatear.bench.random_model import write_checkpoint
from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint


def test_pack_holds_the_random_model_without_tokens(tmp_path):
    checkpoint = tmp_path / "x.safetensors"
    write_checkpoint("tiny", checkpoint)
    pack = tmp_path / "pack"
    assert not gguf_export.is_current(pack)
    gguf_export.write_pack(pack, checkpoint)
    assert gguf_export.is_current(pack)
    with open_checkpoint(checkpoint) as own, open_checkpoint(pack / "model.gguf") as theirs:
        assert read_architecture(theirs) == read_architecture(own)
        for name in own.weights.names():
            x, y = own.weights.read(name), theirs.weights.read(name)
            if name == "joint.joint_net.2.bias":
                assert y[-1] - x[-1] == pytest.approx(50)
                x, y = x[:-1], y[:-1]
            assert np.abs(x - y).max() <= np.abs(x).max() / 100, name
