"""POST /v1/audio/subtitles: settled captions as SubRip or WebVTT.

    {"format": "srt", "finals": [{"end": 4.2, "segments": [{"words": [
        {"text": "So", "start": 0.3, "end": 0.5, "space_before": true}]}]}]}

The page sends its captions here, so that cues are cut in one place.
"""

from typing import Annotated, BinaryIO, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from wheatear.server.access.limits import ConcurrencyLimits
from wheatear.server.api_errors import ApiError
from wheatear.server.background import run_in_background
from wheatear.server.session.upload import Upload
from wheatear.transcript.results import Final, Segment, Word
from wheatear.transcript.writers import format_finals

_MAX_BYTES = 1 << 23  # of a body: captions of about ten hours
_MEDIA_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt"}
Seconds = Annotated[float, Meta(ge=0, le=1e6)]


class CaptionWord(msgspec.Struct, forbid_unknown_fields=True):
    """A word and its times."""

    text: str
    start: Seconds
    end: Seconds
    space_before: bool = True


class CaptionSegment(msgspec.Struct, forbid_unknown_fields=True):
    """Words that share no cue with another segment."""

    words: list[CaptionWord]


class CaptionFinal(msgspec.Struct, forbid_unknown_fields=True):
    """A settled turn, up to whose end its last cue may be shown."""

    end: Seconds
    segments: list[CaptionSegment]


class SubtitleRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    format: Literal["srt", "vtt"]
    finals: list[CaptionFinal]


class SubtitleEndpoint:
    """Formats the captions that clients send."""

    def __init__(self, concurrency: ConcurrencyLimits) -> None:
        self._concurrency = concurrency

    async def write(self, request: Request) -> Response:
        """Returns the subtitles of the captions in a request.  Raises ApiError."""
        with self._concurrency.hold("uploads", request.state.client):
            body = Upload(self._concurrency, request.state.client)
            try:
                async for piece in request.stream():
                    if (body.size or 0) + len(piece) > _MAX_BYTES:
                        raise ApiError(413, f"the captions have more than {_MAX_BYTES} bytes")
                    await body.write(piece)
                return await run_in_background(_response, body.file)
            finally:
                await body.close()


def _response(body: BinaryIO) -> Response:
    """Formats the captions in a body.  Raises ApiError."""
    body.seek(0)
    try:
        captions = msgspec.json.decode(body.read(), type=SubtitleRequest)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ApiError(
            400, f"the body does not describe captions: {error}", code="invalid_value"
        ) from error
    text = format_finals(captions.format, map(_final, captions.finals))
    return Response(text, media_type=_MEDIA_TYPES[captions.format])


def _final(caption: CaptionFinal) -> Final:
    segments = []
    for segment in caption.segments:
        words = tuple(Word(w.text, w.start, w.end, 1.0, w.space_before) for w in segment.words)
        segments.append(Segment("", words, 0.0, caption.end, None, None))
    return Final("", (), 0.0, caption.end, None, tuple(segments), ())
