"""Deviation of bundles: none in float32, more with fewer bits; edit distance."""

import pytest
from checkpoints import ORACLE, answers, speech
from hypothesis import given
from hypothesis import strategies as st

from wheatear.convert import convert
from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.convert.verify import BundleRunner, edit_distance, mel_of
from wheatear.model.bundle import open_bundle

WORDS = st.lists(st.integers(0, 3), max_size=8)


def test_fewer_bits_deviate_more(tmp_path):
    exact, eight, four = (
        convert(ORACLE / "tiny-en.nemo", tmp_path / precision, precision)
        for precision in ("fp32", "int8", "int4")
    )
    assert exact.encoder < 1e-4 < eight.encoder < four.encoder < 0.5
    assert exact.tokens == 0 < exact.of_tokens == four.of_tokens
    assert exact.seconds == pytest.approx(4, abs=1)


def test_runner_emits_nemos_tokens(bundle_of):
    with open_checkpoint(ORACLE / "tiny-en.nemo") as checkpoint:
        arch = read_architecture(checkpoint)
    runner = BundleRunner(open_bundle(bundle_of("tiny-en")))
    encoded, tokens = runner.run(mel_of(arch, speech("tiny-en")), arch.default_mode, None)
    assert encoded.shape[1] == arch.width
    assert tokens == answers("tiny-en")[f"tokens_R{arch.default_mode.lookahead}"].tolist()


def test_edit_distance_counts_each_kind_of_error():
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == edit_distance("abc", "") == 3


@given(first=WORDS, second=WORDS, third=WORDS)
def test_edit_distance_is_a_metric(first, second, third):
    assert (edit_distance(first, second) == 0) == (first == second)
    assert edit_distance(first, second) == edit_distance(second, first)
    through = edit_distance(first, second) + edit_distance(second, third)
    assert edit_distance(first, third) <= through
