"""NeMo's YAML: hostile configurations are rejected, Norwegian is read."""

import pytest
from torch_files import changed, unpacked

from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.convert.checkpoints.yaml_config import read_yaml
from wheatear.errors import CheckpointError


def test_unquoted_no_is_norwegian(tmp_path):
    """YAML 1.1 reads an unquoted `no` as false, as older checkpoints were written."""
    path = changed(tmp_path / "x.nemo", "'no': 7", "no: 7", model="prompt16")
    with open_checkpoint(path) as checkpoint:
        assert read_architecture(checkpoint).prompts["no"] == 7


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (b"a: " + b"[" * 5000, "nested too deep|nesting depth"),
        (b"a: " + b"{a: " * 5000, "nested too deep|nesting depth"),
        (b"a: " + b"- " * 100 + b"x\n", "cannot be read|nested too deep"),
        (b"? " * 5000, "nested too deep|nesting depth"),
        (b"a: 1" + b":59" * 50_000, "number of 150,001 digits"),
        (b"a: !!int '1" + b":59" * 50_000 + b"'", "number of 150,001 digits"),
        (b"a: " + b"9" * 4200 + b"\n", "number of 4,200 digits"),
        (b"a: 0x" + b"f" * 5000 + b"\n", None),
        (b"a: 190:20:30." + b"1" * 100, None),
        (b"a: &x [1]\nb: *x\n", "aliases"),
        (b"a: &a [x, x]\nb: [*a, *a]\n", "aliases"),
        (b"a: 2001-99-99\n", "cannot be read"),
        (b"? [a, b]\n: c\n", "cannot be read"),
        (b"a: !!python/object/apply:os.system [x]\n", "cannot be read"),
        (b"[1, " * 60 + b"]" * 60, "cannot be read"),
        (b"a: [" + b"x," * (1 << 20) + b"]", "more than 1,048,576 words"),
    ],
)
def test_hostile_configuration_is_rejected(more, message):
    config = unpacked()["model_config.yaml"] + more
    if message is None:
        assert "encoder" in read_yaml(config, "x.yaml")
        return
    with pytest.raises(CheckpointError, match=rf"x\.yaml.*({message})"):
        read_yaml(config, "x.yaml")


def test_only_words_for_true_and_false_are_booleans():
    config = read_yaml(b"{a: no, b: on, c: yes, d: true, e: False}", "x.yaml")
    assert config == {"a": "no", "b": "on", "c": "yes", "d": True, "e": False}
