"""JSON messages of clients: at most 64 KiB each, without audio in base64.

The event loop parses JSON while other clients wait.  Audio therefore never reaches the parser: it
is cut out of a long message first, and then decoded in pieces.
"""

import asyncio
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from wheatear.server.api_errors import ApiError

MAX_JSON_CHARACTERS = 1 << 16
"""Maximum characters of a message without its audio."""
_AUDIO = re.compile(r'"audio"\s*:\s*"')
_CUT = "(audio)"
_PIECE = 1 << 16  # characters of base64 that are decoded before other tasks run
_MAX_ESCAPE = 6  # characters of a JSON escape
_SPACES = str.maketrans("", "", " \t\r\n")
_URL_SAFE = str.maketrans("-_", "+/")


def too_large(size: int) -> ApiError:
    """Returns the error for a message that is too long."""
    return ApiError(
        413,
        f"a message of {size} characters; {MAX_JSON_CHARACTERS} are the most without audio",
    )


def check_size(message: str) -> None:
    """Raises ApiError for a message that is too long to be parsed."""
    if len(message) > MAX_JSON_CHARACTERS:
        raise too_large(len(message))


@dataclass(frozen=True, slots=True)
class Audio:
    """Base64 inside a message, as JSON has it; with `end` None it is the whole text."""

    text: str
    begin: int = 0
    end: int | None = None

    async def decoded(self) -> bytes | bytearray:
        """Returns the bytes, and lets other tasks run between pieces.  Raises ApiError."""
        if self.end is None:
            return decode_base64(self.text)
        whole = bytearray()
        rest, ended = "", False
        for piece in self._pieces(self.end):
            letters = rest + piece
            if ended and letters:
                raise _no_base64("letters come after its end")
            count = len(letters) // 4 * 4
            whole += decode_base64(letters[:count])
            ended, rest = "=" in letters[:count], letters[count:]
            await asyncio.sleep(0)
        whole += decode_base64(rest)
        return whole

    def _pieces(self, last: int) -> Iterator[str]:
        """Yields pieces of base64 without JSON's escapes and spaces.  Raises ApiError."""
        at = self.begin
        while at < last:
            end = min(at + _PIECE, last)
            if end < last and (escape := self.text.find("\\", end - _MAX_ESCAPE, end)) > at:
                end = escape
            yield _unescaped(self.text[at:end]).translate(_SPACES)
            at = end


def split_audio(message: str) -> tuple[str, Audio | None]:
    """Returns a message to parse, and the audio that was cut out of it if it was long.

    Raises ApiError for a message that is too long without its audio.
    """
    if len(message) <= MAX_JSON_CHARACTERS:
        return message, None
    begin = found.end() if (found := _AUDIO.search(message, 0, MAX_JSON_CHARACTERS)) else -1
    end = message.find('"', begin)
    if found is None or end < 0 or len(message) - (end - begin) > MAX_JSON_CHARACTERS:
        raise too_large(len(message))
    return f"{message[:begin]}{_CUT}{message[end:]}", Audio(message, begin, end)


def restore_audio(parsed: str | None, audio: Audio | None) -> Audio:
    """Returns the audio of an event.

    Args:
        parsed: Field `audio` of the event, None if it has none.
        audio: Audio that was cut out of the message.

    Raises:
        ApiError: If that was not the event's audio.
    """
    if audio is None:
        return Audio(parsed or "")
    if parsed != _CUT:
        raise too_large(len(audio.text))
    return audio


def decode_base64(text: str) -> bytes:
    """Returns the bytes of base64 in one line or several, in either alphabet.  Raises ApiError."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)  # most clients send one line
    except ValueError:  # also of text that is not ASCII
        plain = text.translate(_SPACES)
    if "-" in plain or "_" in plain:
        plain = plain.translate(_URL_SAFE)
    try:
        return binascii.a2b_base64(plain, strict_mode=True)
    except ValueError as error:
        raise _no_base64(str(error)) from error


def _unescaped(text: str) -> str:
    """Returns the text of a JSON string.  Raises ApiError."""
    if "\\" not in text:
        return text
    try:
        return msgspec.json.decode(f'"{text}"', type=str)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _no_base64(str(error)) from error


def _no_base64(why: str) -> ApiError:
    return ApiError(400, f"audio is not base64: {why}", code="invalid_value", param="audio")
