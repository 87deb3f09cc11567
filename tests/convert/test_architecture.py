"""Configurations: unsupported settings are named, sizes have limits."""

import pytest
from torch_files import changed, packed, unpacked

from wheatear.convert import convert
from wheatear.errors import CheckpointError


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("subsampling: dw_striding", "subsampling: striding", "subsampling is 'striding'"),
        ("subsampling_factor: 8", "subsampling_factor: 4", "subsampling_factor is 4"),
        ("causal_downsampling: true", "causal_downsampling: false", "causal_downsampling"),
        ("self_attention_model: rel_pos", "self_attention_model: abs_pos", "abs_pos"),
        ("chunked_limited", "regular", "att_context_style is 'regular'"),
        ("conv_context_size: causal", "conv_context_size: null", "not causal"),
        ("n_heads: 4", "n_heads: 3", "does not divide"),
        ("n_heads: 4", "n_heads: many", "not a positive whole number"),
        ("d_model: 64", "d_model: 128", "d_model is 128, but .* 64 wide"),
        ("n_layers: 2", "n_layers: 3", r"no tensor encoder\.layers\.2"),
        ("n_layers: 2", "n_layers: 1", r"tensors that this architecture does not.*layers\.1"),
        ("normalize: NA", "normalize: per_feature", "cannot be streamed"),
        (
            "sample_rate: 16000\n  normalize",
            "sample_rate: 8000\n  normalize",
            "sample_rate is 8000",
        ),
        ("activation: relu", "activation: gelu", "gelu"),
        ("  att_context_style: chunked_limited\n", "", "att_context_style is 'regular'"),
        ("  causal_downsampling: true\n", "", "causal_downsampling is False"),
        ("window_size: 0.025", "window_size: 0.05", "does not fit"),
        ("window_size: 0.025", "window_size: 0.02", r"featurizer\.window is not"),
        ("window_size: 0.025", "window_size: wide", "not a number"),
        ("n_fft: 512", "n_fft: 1024", r"featurizer\.fb is not"),
        ("n_fft: 512", "n_fft: 1099511627776", "does not fit"),
        ("  log: true", "  log: true\n  log_zero_guard_value: 0.001", "guard_value is 0.001"),
        ("model_defaults:\n", "model_defaults: 7\nrest:\n", "no model_defaults"),
        ("pred_hidden: 32\n    pred_rnn", "pred_hidden: 48\n    pred_rnn", "has the shape"),
        ("prompt_dictionary:\n", "prompt_dictionary:\n    xx-XX: 500\n", "outside 0 .. 127"),
        ("encoder:\n", "encoder: 5\nsomething:\n", "has no encoder"),
        ("encoder:\n", "encoder: [\n", "cannot be read"),
    ],
)
def test_unsupported_setting_is_named(tmp_path, old, new, message):
    with pytest.raises(CheckpointError, match=message):
        convert(changed(tmp_path / "x.nemo", old, new), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["x.nemo"]


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("[[-1, -1]]", "unlimited"),
        ("[[56, 2]]", "not a whole number of 3-frame chunks"),
        ("[]", "att_context_size"),
        ("x", "att_context_size"),
        ("[[56]]", "att_context_size"),
    ],
)
def test_context_that_cannot_be_streamed_is_rejected(tmp_path, context, message):
    members = unpacked()
    lines = members["model_config.yaml"].decode().split("\n")
    start = lines.index("  att_context_size:")
    end = next(
        i
        for i in range(start + 1, len(lines))
        if not lines[i].startswith("  -") and not lines[i].startswith("    -")
    )
    lines[start:end] = [f"  att_context_size: {context}"]
    members["model_config.yaml"] = "\n".join(lines).encode()
    with pytest.raises(CheckpointError, match=message):
        convert(packed(tmp_path / "x.nemo", members), tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "max_symbols: 10",
            "max_symbols: 9223372036854775808",
            "max_symbols is 9223372036854775808",
        ),
        ("max_symbols: 10", "max_symbols: 101", "at most 100"),
        ("features: 128", "features: 2147483648", "at most 512"),
        ("n_layers: 2", "n_layers: 1000000000", "at most 128"),
        ("conv_kernel_size: 9", "conv_kernel_size: 100000001", "at most 256"),
        ("pred_rnn_layers: 2", "pred_rnn_layers: 4294967297", "at most 16"),
        ("window_size: 0.025", "window_size: 1.0e+308", "out of range"),
        ("window_stride: 0.01", "window_stride: 1.0e+306", "out of range"),
        ("window_size: 0.025", "window_size: .nan", "out of range"),
        ("window: hann", f"window: hann\n  preemph: {10**400}", "out of range"),
    ],
)
def test_number_beyond_the_limits_is_rejected(tmp_path, old, new, message):
    with pytest.raises(CheckpointError, match=message):
        convert(changed(tmp_path / "x.nemo", old, new), tmp_path / "out")
