"""Errors of a file and of an output."""

import pytest

from wheatear.cli.transcription import error_sentence, is_output_broken
from wheatear.errors import AudioError


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (AudioError("a.wav is empty"), "a.wav is empty"),
        (MemoryError(), "a.wav: not enough memory to transcribe it"),
        (OSError(13, "Permission denied", "out"), "a.wav: Permission denied (out)"),
        (OSError("strange"), "a.wav: strange"),
        (KeyError("x"), "a.wav: internal error, please report it (KeyError: 'x')"),
    ],
)
def test_error_sentence_names_the_file(error, message):
    assert error_sentence(error, "a.wav") == message


def test_output_is_broken_by_a_closed_pipe_or_a_full_disk():
    assert is_output_broken(BrokenPipeError(32, "Broken pipe"))
    assert is_output_broken(OSError(28, "No space left on device"))
    assert not is_output_broken(OSError(13, "Permission denied"))
    assert not is_output_broken(ValueError())
