"""The encoder's graph: bits by recipe, positions, language biases."""

import numpy as np
import onnx
import pytest
from checkpoints import ORACLE

from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.convert.graphs.encoder import language_table, position_table, write_encoder
from wheatear.convert.quantize import RECIPES


@pytest.fixture(scope="module")
def checkpoint():
    with open_checkpoint(ORACLE / "tiny-multi.nemo") as opened:
        yield opened


def test_last_layer_and_ends_keep_8_bits_in_int4(checkpoint, tmp_path):
    arch, steps = read_architecture(checkpoint), []
    write_encoder(
        tmp_path / "encoder.onnx",
        arch,
        checkpoint.weights,
        RECIPES["int4"],
        lambda: steps.append(1),
    )
    assert len(steps) == arch.layers + 2
    nodes = onnx.load(tmp_path / "encoder.onnx", load_external_data=False).graph.node
    bits = {
        node.input[1].removesuffix(".codes"): attribute.i
        for node in nodes
        if node.op_type == "MatMulNBits"
        for attribute in node.attribute
        if attribute.name == "bits"
    }
    assert {bits[name] for name in bits if name.startswith("encoder.layers.0.")} == {4}
    assert {bits[name] for name in bits if not name.startswith("encoder.layers.0.")} == {8}
    assert {"encoder.pre_encode.out", "joint.enc"} < bits.keys()
    assert not any(name.startswith("prompt_kernel") for name in bits)


def test_position_table_has_the_query_itself_at_offset_0(checkpoint):
    arch = read_architecture(checkpoint)
    table = position_table(arch, np.eye(arch.width, dtype=np.float32))
    offsets = arch.left + 2 * arch.longest_chunk - 1
    assert table.shape == (arch.heads, arch.head_width, offsets)
    own = table[:, :, arch.longest_chunk - 1].reshape(-1)
    np.testing.assert_array_equal(own, np.tile(np.float32([0, 1]), arch.width // 2))


def test_language_table_is_the_prompt_kernel_of_a_one_hot(checkpoint):
    arch, weights = read_architecture(checkpoint), checkpoint.weights
    table = language_table(arch, weights)
    assert table.shape == (arch.prompt_width, 2 * arch.width)
    row = np.zeros((1, arch.width + arch.prompt_width), np.float32)
    row[0, arch.width + 5] = 1
    np.testing.assert_allclose(weights.linear("prompt_kernel.0", row)[0], table[5], atol=1e-6)
