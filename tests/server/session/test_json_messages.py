"""No more than 64 KiB of a message are parsed as JSON, and audio of any length is decoded."""

import asyncio
import base64
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.server.api_errors import ApiError
from wheatear.server.session.json_messages import (
    MAX_JSON_CHARACTERS,
    Audio,
    decode_base64,
    restore_audio,
    split_audio,
)

SOUND = random.Random(1).randbytes(200_000)
BASE64 = base64.b64encode(SOUND).decode()
APPEND = "input_audio_buffer.append"


def audio_of(message: str) -> bytes:
    """The audio of an append, as a session has it."""
    short, audio = split_audio(message)
    assert len(short) <= MAX_JSON_CHARACTERS + 10
    event = json.loads(short)
    found = restore_audio(event.get("audio"), audio)
    return bytes(asyncio.run(found.decoded()))


def lines(text: str, end: str) -> str:
    return end.join(text[at : at + 76] for at in range(0, len(text), 76))


SPELLINGS = {
    "plain": BASE64,
    "as PHP writes it": BASE64.replace("/", r"\/"),
    "as .NET writes it": BASE64.replace("+", r"\u002B").replace("=", r"\u003D"),
    "every letter an escape": "".join(f"\\u{ord(letter):04x}" for letter in BASE64),
    "in lines": lines(BASE64, r"\r\n"),
    "in lines of a space": lines(BASE64, " "),
    "of the other alphabet": BASE64.replace("+", "-").replace("/", "_"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "form",
    ['{{"type": "{0}", "audio": "{1}"}}', '{{"audio":"{1}","event_id":"é","type":"{0}"}}',
     ' {{\n"audio"\t:\n"{1}" , "type" : "{0}" }} '],
)  # fmt: skip
def test_audio_of_any_length(form, spelling):
    assert audio_of(form.format(APPEND, SPELLINGS[spelling])) == SOUND


@pytest.mark.parametrize("size", [0, 3, 40_000, 49_000, 49_100, 49_200, 65_536, 98_304, 98_305])
def test_audio_of_every_length(size):
    for text in (BASE64, BASE64.replace("/", r"\/")):
        whole = base64.b64encode(SOUND[:size]).decode()
        text = whole.replace("/", r"\/") if "\\" in text else whole
        assert audio_of(f'{{"type": "{APPEND}", "audio": "{text}"}}') == SOUND[:size]


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"x","a":[' + "[]," * 100_000 + "0]}",
        '{"type": "session.update", "session": {"keywords": ["' + "a" * 70_000 + '"]}}',
        '{"event_id": "' + "e" * 70_000 + f'", "type": "{APPEND}", "audio": "AAAA"}}',
        f'{{"type": "{APPEND}", "audio": "AAAA", "audio": "{BASE64}"}}',
        f'{{"type": "{APPEND}", "audio": ["{BASE64}"]}}',
        f'{{"type": "{APPEND}", "x": {{"audio": "{BASE64}"}}, "audio": "AAAA"}}',
        f'{{"type": "{APPEND}", "x": {{"audio": "{BASE64}"}}}}',
        '"' + "a" * 70_000 + '"', '"audio":"' + "a" * 70_000, "9" * 70_000, " " * 70_000,
        f'{{"type": "{APPEND}", "audio": "{BASE64}", "a": [' + "{}," * 30_000 + "0]}",
    ],
)  # fmt: skip
def test_all_else_of_that_length_is_refused(message):
    with pytest.raises((ApiError, ValueError)) as caught:
        audio_of(message)
    if isinstance(caught.value, ApiError):
        assert caught.value.code == "too_large"
    else:  # it is short once its audio has been cut out, and no JSON
        assert len(split_audio(message)[0]) <= MAX_JSON_CHARACTERS + 10


@pytest.mark.parametrize(
    "wrong",
    [
        BASE64[:80_000] + "%" + BASE64[80_000:], BASE64[:80_000] + "=" + BASE64[80_000:],
        BASE64 + "AAAA", BASE64 + "=", BASE64[:80_000] + r"\x" + BASE64[80_000:],
        BASE64[:80_000] + r"\u00e9" + BASE64[80_000:], BASE64 + "\\", BASE64[:-3] + "=A=",
    ],
)  # fmt: skip
def test_what_is_no_base64(wrong):
    with pytest.raises(ApiError, match="audio is not base64") as caught:
        asyncio.run(Audio(wrong, 0, len(wrong)).decoded())
    assert caught.value.param == "audio"


def test_others_have_their_turn_while_audio_is_decoded():
    async def main() -> int:
        turns, done = 0, False

        async def other() -> None:
            nonlocal turns
            while not done:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        text = BASE64[:-4] * 20
        await Audio(text, 0, len(text)).decoded()
        done = True
        await task
        return turns

    assert asyncio.run(main()) >= len(BASE64) * 20 // MAX_JSON_CHARACTERS


@given(st.binary(max_size=300), st.integers(1, 80), st.booleans())
def test_base64_in_lines_and_either_alphabet_is_decoded(data, width, url_safe):
    text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(data).decode()
    broken = "\r\n".join(text[at : at + width] for at in range(0, len(text), width))
    assert decode_base64(broken) == data


@given(st.text(max_size=30))
def test_any_text_is_decoded_or_rejected(text):
    result: bytes | str | None
    try:
        result = decode_base64(text)
    except ApiError as error:
        result = error.param
    assert result == "audio" or isinstance(result, bytes)
