"""Manifests: evaluation and training accept the same lines."""

import codecs
import json
from importlib.resources import files
from pathlib import Path

import pytest

from wheatear.errors import ManifestError
from wheatear.evaluate.corpora import read_corpus
from wheatear.train.data.manifest import read_manifest

SAMPLE = str(files("wheatear") / "data" / "samples" / "en-US.flac")
LINE = {"audio_filepath": SAMPLE, "text": " Good morning. ", "lang": "en-US"}


def write(folder: Path, data: bytes) -> Path:
    path = folder / "m.jsonl"
    path.write_bytes(data)
    return path


def both(path: Path, locale: str | None = None):
    """Text, locale, first sample and samples of each utterance, in evaluation and training."""
    clips = read_corpus(path, locale).clips
    ours = [(c.reference, c.locale, round(c.start * 16_000), len(c.read())) for c in clips]
    theirs = read_manifest(path, locale=locale)
    assert [(u.text, u.locale, u.start, u.size) for u in theirs] == ours
    assert [len(u.read()) for u in theirs] == [size for *_, size in ours]
    return ours


@pytest.mark.parametrize(
    "more",
    [
        {"offset": None, "duration": None}, {"offset": 0, "duration": None},
        {"lang": None, "target_lang": "en_us"}, {"lang": "", "locale": "EN-us"},
        {"lang": " ", "language": "en-US"}, {"lang": None, "source_lang": "en-us"},
        {"lang": "en-US", "target_lang": "de-DE", "id": 7, "extra": [1, {"a": None}]},
    ],
    ids=str,
)  # fmt: skip
def test_null_is_the_same_as_missing(tmp_path, more):
    ((text, locale, start, size),) = both(write(tmp_path, json.dumps(LINE | more).encode()))
    assert (text, locale, start) == ("Good morning.", "en-US", 0)
    assert size > 60_000


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n \r\n\t\n"], ids=repr)
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=repr)
def test_marks_and_blank_lines_are_ignored(tmp_path, mark, end):
    """In joined manifests, and with line ends of Unicode in texts."""
    text = "one\u2028two\u0085three"
    lines = [json.dumps(LINE | {"text": t}, ensure_ascii=False).encode() for t in ("a", text)]
    data = mark + end.join(mark + line for line in lines) + end + mark
    assert [text for text, *_ in both(write(tmp_path, data.removeprefix(mark) or data))] == [
        "a",
        text,
    ]
    assert len(both(write(tmp_path, mark + lines[0]))) == 1


def test_stretches_and_relative_paths_are_read(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "ä b.flac").write_bytes(Path(SAMPLE).read_bytes())
    lines = [
        {"audio_filepath": f"{folder}deep/ä b.flac", "text": "x", "offset": 1.5, "duration": 2}
        for folder in ("", "./", f"{tmp_path}/")
    ]
    path = write(tmp_path, "\n".join(map(json.dumps, lines)).encode())
    assert both(path, "de-de") == [("x", "de-DE", 24_000, 32_000)] * 3
    assert len({clip.id for clip in read_corpus(path, "de").clips}) == 3


BAD = [
    (b"{", "it is not JSON"),
    (json.dumps(LINE).encode() + b",", "it is not JSON"),
    (b"\xff", "it is not JSON"),
    (b'{"text": "caf\xe9"}', "it is not JSON"),
    (b"[" * 5000, "it is not JSON"),
    (b"[]", "it is list, not an object with fields"),
    (b"null", "it is NoneType, not an object with fields"),
    (b'"a"', "it is str, not an object with fields"),
    (b"{}", "it has no 'audio_filepath'"),
    (LINE | {"audio_filepath": ""}, "its 'audio_filepath' is ''"),
    (LINE | {"audio_filepath": ["a"]}, "its 'audio_filepath' is \\['a'\\], not a string"),
    (LINE | {"audio_filepath": "a\0b"}, "its 'audio_filepath' holds a NUL"),
    (LINE | {"text": None}, "its 'text' is None, not a string"),
    (LINE | {"text": "\ud800"}, "its 'text' holds a NUL or half of a character"),
    (LINE | {"lang": 7}, "its 'lang' is 7, not a locale"),
    (LINE | {"offset": -0.5}, "its 'offset' is negative \\(-0.5\\)"),
    (LINE | {"offset": "1.5"}, "its 'offset' is '1.5', not a number of seconds"),
    (LINE | {"offset": float("nan")}, "its 'offset' is nan, not a number of seconds"),
    (LINE | {"offset": 10**400}, "its 'offset' is 1000.*, not a number of seconds"),
    (LINE | {"duration": float("inf")}, "its 'duration' is inf, not a number of seconds"),
    (LINE | {"duration": -1}, "its 'duration' is negative \\(-1\\)"),
    (LINE | {"duration": True}, "its 'duration' is True, not a number of seconds"),
    (LINE | {"duration": 0}, "its duration is 0 s"),
]


@pytest.mark.parametrize(("line", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_invalid_lines_have_the_same_errors(tmp_path, line, reason):
    bad = line if isinstance(line, bytes) else json.dumps(line).encode()
    good = json.dumps(LINE).encode()
    path = write(tmp_path, codecs.BOM_UTF8 + b"\r\n".join([good, b"", bad, good]))
    for read in (read_corpus, read_manifest):
        with pytest.raises(ManifestError, match=rf"^{path}, line 3: {reason}") as caught:
            read(path)
        assert len(str(caught.value).splitlines()) == 1
    assert len(read_manifest(path, "skip", warn=lambda _: None)) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wide_encodings_are_named(tmp_path, encoding):
    path = write(tmp_path, json.dumps(LINE).encode(encoding))
    for read in (read_corpus, read_manifest):
        with pytest.raises(ManifestError, match=f"{path} cannot be read: it is not UTF-8"):
            read(path)


def test_offset_after_the_end_is_an_error(tmp_path):
    path = write(tmp_path, json.dumps(LINE | {"offset": 500}).encode())
    with pytest.raises(ManifestError, match=r"line 1: it starts at 500 s, where .* has ended"):
        read_manifest(path)
