"""The numpy network: NeMo's tokens, and only the visible context."""

import numpy as np
import pytest
from checkpoints import ORACLE, answers, speech

from wheatear.convert import reference
from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.convert.verify import mel_of


@pytest.fixture(scope="module")
def checkpoint():
    with open_checkpoint(ORACLE / "tiny-multi.nemo") as opened:
        yield opened


def test_reference_emits_nemos_tokens(checkpoint):
    arch, weights = read_architecture(checkpoint), checkpoint.weights
    mode, prompt = arch.default_mode, int(answers("tiny-multi")["prompt_index"])
    encoded = reference.encode(arch, weights, mel_of(arch, speech("tiny-multi")), mode, prompt)
    expected = answers("tiny-multi")[f"tokens_R{mode.lookahead}"].tolist()
    assert reference.search(arch, weights, encoded) == expected


def test_later_frames_do_not_change_earlier_chunks(checkpoint):
    arch, mode = read_architecture(checkpoint), read_architecture(checkpoint).modes[0]
    mel = mel_of(arch, speech("tiny-multi"))
    other = mel.copy()
    other[200:] += 1.0
    first, second = (
        reference.encode(arch, checkpoint.weights, m, mode, None) for m in (mel, other)
    )
    same = (200 - 8) // 8 // mode.chunk * mode.chunk
    np.testing.assert_array_equal(first[:same], second[:same])
    assert not np.array_equal(first[same + mode.chunk :], second[same + mode.chunk :])


def test_language_prompt_changes_the_output(checkpoint):
    arch = read_architecture(checkpoint)
    mel = mel_of(arch, speech("tiny-multi")[:16000])
    outputs = [
        reference.encode(arch, checkpoint.weights, mel, arch.default_mode, prompt)
        for prompt in (None, 0, 1)
    ]
    assert all(output.shape == outputs[0].shape for output in outputs)
    assert not np.array_equal(outputs[1], outputs[2])
