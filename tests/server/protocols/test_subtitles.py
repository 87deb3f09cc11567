"""POST /v1/audio/subtitles: the engine's own cues for captions that a client sends."""

import io
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wheatear.transcript.results import Final, Segment, Word
from wheatear.transcript.writers import create_writer

PATH = "/v1/audio/subtitles"
WORD = {"text": "Sorry.", "start": 0.5, "end": 1.0}
FINAL = {"end": 2.0, "segments": [{"words": [WORD]}]}


def post(server: Any, body: Any) -> tuple[int, str, str]:
    """Status, content type and body of the answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server.url + PATH, data)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return response.status, response.headers["content-type"], response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read().decode()


texts = st.text(
    st.characters(categories=("L", "M", "N", "P"), max_codepoint=0x1FFFF), min_size=1,
    max_size=12,
) | st.sampled_from(["你好", "カタカナ", "한국어", "e\u0301", "नमस्ते", "a-->b", "&<"])  # fmt: skip


@st.composite
def turns(draw: Any) -> list[Final]:
    """Finals as the engine gives them: times never run backwards."""
    at, finals = 0.0, []

    def later(most: float) -> float:
        nonlocal at
        at = round(at + draw(st.integers(0, int(most * 1000))) / 1000, 3)
        return at

    for _ in range(draw(st.integers(1, 4))):
        start, segments = at, []
        for _ in range(draw(st.integers(1, 3))):
            words = tuple(
                Word(draw(texts), later(2), later(1), 1.0, draw(st.booleans()))
                for _ in range(draw(st.integers(1, 12)))
            )
            segments.append(Segment("", words, words[0].start, at, None, None))
        words = tuple(word for segment in segments for word in segment.words)
        finals.append(Final("", words, start, later(1), None, tuple(segments), ()))
    return finals


def described(final: Final) -> dict[str, Any]:
    names = ("text", "start", "end", "space_before")
    segments = [
        {"words": [{name: getattr(word, name) for name in names} for word in segment.words]}
        for segment in final.segments
    ]
    return {"end": final.end, "segments": segments}


@pytest.mark.parametrize("form", ["srt", "vtt"])
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(finals=turns())
def test_captions_have_the_cues_of_the_writer(server, form, finals):
    out = io.StringIO()
    expected = create_writer(form, out, "")
    for final in finals:
        expected.final(final)
    status, _, body = post(server, {"format": form, "finals": list(map(described, finals))})
    assert status == 200
    assert body == out.getvalue()


@pytest.mark.parametrize(
    ("form", "kind"), [("srt", "application/x-subrip"), ("vtt", "text/vtt; charset=utf-8")]
)
def test_the_media_type_is_that_of_the_format(server, form, kind):
    status, content_type, body = post(server, {"format": form, "finals": [FINAL]})
    assert (status, content_type) == (200, kind)
    assert "Sorry." in body


def test_no_captions_are_an_empty_file(server):
    assert post(server, {"format": "srt", "finals": []})[2] == ""


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "truncated"), (b"{", "truncated"), (b"\xff", "malformed"), ([], "object"),
        ({"format": "srt"}, "finals"), ({"format": "txt", "finals": []}, "format"),
        ({"format": "srt", "finals": [], "name": "x"}, "name"),
        ({"format": "srt", "finals": [FINAL | {"end": -1}]}, "end"),
        ({"format": "srt", "finals": [FINAL | {"end": 1e308}]}, "end"),
        ({"format": "srt", "finals": [{"end": 1, "segments": [{"words": [{}]}]}]}, "text"),
    ],
)  # fmt: skip
def test_a_body_without_captions_is_rejected_by_what_is_wrong(server, body, named):
    status, _, answer = post(server, body)
    assert status == 400
    assert named in json.loads(answer)["error"]["message"]


def test_captions_that_are_too_large_are_rejected_and_leave_nothing(quiet_server):
    body = {"format": "srt", "finals": [{"end": 1, "segments": [{"words": [WORD] * 200_000}]}]}
    assert post(quiet_server, body)[0] == 413
    assert quiet_server.metric("wheatear_upload_bytes") == 0


def test_words_without_width_take_linear_time(server):
    """A line without width would be measured again for each word."""
    word = {"text": "\u0301", "start": 0, "end": 0, "space_before": False}
    body = {"format": "vtt", "finals": [{"end": 1, "segments": [{"words": [word] * 90_000}]}]}
    assert post(server, body)[0] == 200
