"""Detection of corpora by the files in a folder, on tiny examples."""

import codecs
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wheatear.errors import AudioError, ManifestError
from wheatear.evaluate.clips import Clip
from wheatear.evaluate.corpora import read_corpus

SECOND = np.sin(np.arange(16_000) / 10).astype(np.float32)


def audio(path: Path, seconds: float = 1.0, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.sin(np.arange(round(seconds * rate)) / 10)
    soundfile.write(path, samples, rate)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def shown(path: Path, **options):
    corpus = read_corpus(path, **options)
    for clip in corpus.clips:
        assert len(clip.read()) > 1000
    return corpus.layout, [(clip.id, clip.locale, clip.reference) for clip in corpus.clips]


def test_nemo_manifest(tmp_path):
    audio(tmp_path / "a" / "one.wav", 3)
    lines = [
        {"audio_filepath": "a/one.wav", "duration": 3.0, "text": " Hello. ", "lang": "en_us"},
        {"audio_filepath": "a/one.wav", "offset": 1.0, "duration": 0.5, "text": "Salut",
         "target_lang": "fr-FR", "speaker": "x", "id": "two"},
        {"audio_filepath": str(tmp_path / "a/one.wav"), "offset": 2, "text": "अ", "locale": "hi"},
        {"audio_filepath": "a/one.wav", "text": ""},
    ]  # fmt: skip
    manifest = text(tmp_path / "test.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    layout, found = shown(manifest, locale="de-DE")
    assert (layout, found) == (
        "NeMo manifest",
        [
            ("a/one.wav", "en-US", "Hello."),
            ("two", "fr-FR", "Salut"),
            (f"{tmp_path}/a/one.wav@2", "hi", "अ"),
            ("a/one.wav#2", "de-DE", ""),
        ],
    )
    assert shown(tmp_path, locale="de-DE")[1] == found
    clips = read_corpus(manifest, "de").clips
    assert [len(clip.read()) / 16_000 for clip in clips] == [3, 0.5, 1, 3]
    assert clips[1].fields["speaker"] == "x"
    with pytest.raises(ManifestError, match=r"a/one\.wav has no locale"):
        read_corpus(manifest)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 1"),
        ("[]", "not an object"),
        ('{"text": "a"}', "no 'audio_filepath'"),
        ('{"audio_filepath": "a.wav", "text": 3}', "its 'text' is 3"),
        ('{"audio_filepath": "a.wav", "text": "a", "duration": "long"}', "'duration' is 'long'"),
        ('{"audio_filepath": "a.wav", "text": "a", "offset": -1}', "'offset' is negative"),
        ('{"audio_filepath": "a.wav", "text": "a", "offset": NaN}', "'offset' is nan"),
        ("[" * 5000, "line 1"),
        ("\n".join(["{}"] * 9), "line 5: it has no 'audio_filepath'; and 4 more"),
    ],
)
def test_invalid_lines_are_named(tmp_path, line, reason):
    with pytest.raises(ManifestError, match=reason):
        read_corpus(text(tmp_path / "m.jsonl", line), "en-US")


def test_fleurs_is_detected(tmp_path):
    """Several languages, in the folders of the hub."""
    row = "1\t{}\tIt is, {}.\tit is {}\ti t | i s\t16000\tFEMALE\n"
    for folder in ("en_us", "cmn_hans_cn", "es_419"):
        lines = row.format("11.wav", "one", "one") + row.format("12.wav", 'a "two"', "two")
        text(tmp_path / folder / "test.tsv", lines)
    for name in ("11.wav", "12.wav"):
        audio(tmp_path / "en_us" / "audio" / "test" / name)
        audio(tmp_path / "cmn_hans_cn" / "test" / name)
        audio(tmp_path / "es_419" / name)
    layout, found = shown(tmp_path)
    assert layout == "FLEURS"
    assert found == [
        (f"{name}.wav{number}", locale, f"It is, {word}.")
        for locale, number in (("zh-CN", ""), ("en-US", "#2"), ("es-419", "#3"))
        for name, word in (("11", "one"), ("12", 'a "two"'))
    ]
    assert shown(tmp_path / "en_us" / "test.tsv")[1][0][1] == "en-US"
    renamed = (tmp_path / "es_419").rename(tmp_path / "spanish")
    assert shown(renamed, locale="es-ES")[1][0][1] == "es-ES"


def test_librispeech_is_detected(tmp_path):
    folder = tmp_path / "LibriSpeech" / "test-clean" / "84" / "121123"
    text(folder / "84-121123.trans.txt", "84-121123-0000 GO DO YOU SEE\n84-121123-0001 BUT\n")
    for number in "01":
        audio(folder / f"84-121123-000{number}.flac")
    layout, found = shown(tmp_path)
    assert layout == "LibriSpeech"
    assert found == [
        ("84-121123-0000", "en-US", "GO DO YOU SEE"),
        ("84-121123-0001", "en-US", "BUT"),
    ]
    fields = read_corpus(tmp_path).clips[0].fields
    assert fields == {"speaker": "84", "subset": "test-clean"}


def test_common_voice_is_detected(tmp_path):
    head = "client_id\tpath\tsentence_id\tsentence\tup_votes\tgender\tlocale\tsegment\n"
    for locale in ("it", "sv-SE"):
        row = f'abc\tcommon_voice_{locale}_1.mp3\tx\tUn testo, "qui".\t2\t\t{locale}\t\n'
        text(tmp_path / locale / "test.tsv", head + row)
        text(tmp_path / locale / "validated.tsv", head + row + row)
        audio(tmp_path / locale / "clips" / f"common_voice_{locale}_1.mp3", rate=48_000)
    layout, found = shown(tmp_path)
    assert layout == "Common Voice"
    assert [(locale, reference) for _, locale, reference in found] == [
        ("it", 'Un testo, "qui".'),
        ("sv-SE", 'Un testo, "qui".'),
    ]
    assert len(read_corpus(tmp_path / "it", split="validated").clips) == 2


def test_voxpopuli_is_detected(tmp_path):
    head = "id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender\n"
    rows = "2009-a-en_1\tMr President.\tmr president\t7\ttest\tmale\n"
    rows += "2010-b-en_2\t\tthank you\t8\ttest\tfemale\n"
    text(tmp_path / "transcribed_data" / "de" / "asr_test.tsv", head + rows)
    audio(tmp_path / "transcribed_data" / "de" / "2009" / "2009-a-en_1.ogg")
    audio(tmp_path / "transcribed_data" / "de" / "test" / "part_0" / "2010-b-en_2.wav")
    layout, found = shown(tmp_path)
    assert layout == "VoxPopuli"
    assert found == [
        ("2009-a-en_1", "de", "Mr President."),
        ("2010-b-en_2", "de", "thank you"),
    ]


def test_texts_of_the_same_name_are_references(tmp_path):
    audio(tmp_path / "en-US" / "a.wav")
    text(tmp_path / "en-US" / "a.txt", "Hello,\nworld.\n")
    audio(tmp_path / "fr_FR" / "deep" / "b.flac")
    text(tmp_path / "fr_FR" / "deep" / "b.txt", "Salut.")
    audio(tmp_path / "fr_FR" / "deep" / "nobody-knows.flac")
    layout, found = shown(tmp_path)
    assert layout == "folder"
    assert found == [
        ("en-US/a.wav", "en-US", "Hello, world."),
        ("fr_FR/deep/b.flac", "fr-FR", "Salut."),
    ]
    assert read_corpus(tmp_path).without_text == 1
    assert read_corpus(tmp_path / "en-US").clips[0].locale == "en-US"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("test.tsv", "what\tis\tthis\n", "no table of FLEURS"),
        ("test.tsv", "\n", "empty"),
        ("m.csv", "a,b", "no manifest"),
        ("test.tsv", b"\xff\xfe", "not UTF-8"),
        ("test.jsonl", "", "no utterances"),
    ],
)
def test_other_files_are_no_manifests(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ManifestError, match=reason):
        read_corpus(path, "en-US")


def test_folder_without_a_layout_is_an_error(tmp_path):
    with pytest.raises(ManifestError, match="there is no"):
        read_corpus(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="no known layout"):
        read_corpus(tmp_path)
    text(tmp_path / "readme.txt", "nothing here")
    with pytest.raises(ManifestError, match="holds no utterances"):
        read_corpus(tmp_path)
    text(tmp_path / "en_us" / "test.tsv", "1\ta.wav\tA.\ta\ta\t3\tMALE\n")
    text(tmp_path / "it" / "test.tsv", "path\tsentence\nb.mp3\tB.\n")
    with pytest.raises(ManifestError, match="several layouts"):
        read_corpus(tmp_path)


def test_unreadable_audio_is_an_error(tmp_path):
    path = audio(tmp_path / "a.wav")
    for clip in (
        Clip("x", tmp_path / "none.wav", "en-US", "a"),
        Clip("x", tmp_path / "none.wav", "en-US", "a", 1.0),
        Clip("x", path, "en-US", "a", 1.0, 1.0 - 1.0),
        Clip("x", path, "en-US", "a", 5.0),
        Clip("x", text(tmp_path / "b.wav", "no audio"), "en-US", "a", 0.5, 0.1),
    ):
        with pytest.raises(AudioError):
            clip.read()
    assert len(Clip("x", path, "en-US", "a", 0.5, 9.0).read()) == 8_000  # what is there
    assert len(Clip("x", path, "en-US", "a", 0.0, 9.0).read()) == 16_000


COMMON_VOICE = "client_id\tpath\tsentence\tgender\tlocale\tsegment"
VOXPOPULI = "id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender"
GOOD_ROWS = {
    "test.tsv": (COMMON_VOICE, "abc\ta.mp3\tUn testo.\t\tit\t"),
    "asr_test.tsv": (VOXPOPULI, "one\tMr President.\tmr president\t7\ttest\tmale"),
    "dev.tsv": ("9\t3.wav\tIt is.\tit is\ti t\t16000\tMALE", "1\t1.wav\tA.\ta\ta |\t16000\tFEMALE"),
    "84.trans.txt": ("84-1-0001 BUT", "84-1-0000 GO DO YOU SEE"),
}


@pytest.mark.parametrize("name", GOOD_ROWS)
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda row: row[:3], "it is cut off"),
        (lambda row: row[: row.rindex("\t" if "\t" in row else " ")], "it is cut off"),
        (lambda row: row + "\tmore\tand more", "it is too long"),
        (lambda row: row + "\0", "it holds a NUL byte"),
        (lambda row: row.encode() + b"\xe9", "it is not UTF-8 from its byte"),
    ],
    ids=["first cell", "last cell", "more cells", "NUL", "latin-1"],
)
def test_invalid_rows_are_named(tmp_path, name, harm, reason):
    """The error has the file and the line; other rows are not read as its cells."""
    head, good = GOOD_ROWS[name]
    bad = harm(good)
    if name.endswith("txt"):
        if reason == "it is too long":
            return  # a text has as many words as it has
        bad = b"84-1-0002" if reason == "it is cut off" else bad
    bad = bad if isinstance(bad, bytes) else bad.encode()
    path = tmp_path / "it" / name
    path.parent.mkdir()
    lines = [codecs.BOM_UTF8 + head.encode(), good.encode(), b"", bad, good.encode(), b""]
    path.write_bytes(b"\r\n".join(lines))
    with pytest.raises(ManifestError, match=rf"^{path}, line 4: {reason}") as caught:
        read_corpus(path.parent, "en-US", split="dev" if name == "dev.tsv" else "test")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("head", "missing"),
    [
        ("client_id\tpath\tlocale", "sentence"),
        ("id\traw_text\tgender", "normalized_text"),
        ("", ""),
    ],
)
def test_missing_columns_are_named(tmp_path, head, missing):
    with pytest.raises(ManifestError, match=missing or "no table of FLEURS"):
        read_corpus(text(tmp_path / "test.tsv", f"{head}\nx\ty\tz\n"), "en-US")


def test_empty_cells_are_named(tmp_path):
    for cells, name in (("a\t\tText.\t\tit\t", "path"), ("a\ta.mp3\t\t\tit\t", "sentence")):
        path = text(tmp_path / "test.tsv", f"{COMMON_VOICE}\n{cells}\n")
        with pytest.raises(ManifestError, match=f"{path}, line 2: its '{name}' is empty"):
            read_corpus(path)


def test_quotes_of_cells_are_removed(tmp_path):
    """Some writers of tables quote cells that contain quotes, others do not."""
    cells = {
        '"He answered ""no"" twice."': 'He answered "no" twice.',
        '"""No"" is short."': '"No" is short.',
        '"Yes."': '"Yes."',
        'He answered "no" twice.': 'He answered "no" twice.',
        '"No" and "yes"': '"No" and "yes"',
        "one\u2028line\u0085only": "one\u2028line\u0085only",
        "long " * 40_000 + "end": "long " * 40_000 + "end",
    }
    rows = "".join(f"a\t{n}.mp3\t{cell}\t\tit\t\n" for n, cell in enumerate(cells))
    path = text(tmp_path / "test.tsv", f"{COMMON_VOICE}\n{rows}")
    assert [clip.reference for clip in read_corpus(path).clips] == list(cells.values())


def test_hidden_files_are_ignored(tmp_path):
    audio(tmp_path / "en-US" / "a.wav")
    text(tmp_path / "en-US" / "a.txt", "Hello.")
    for name in ("._a.wav", "._a.txt", ".b.wav", ".b.txt"):
        (tmp_path / "en-US" / name).write_bytes(b"\0\5\x16\7 resource fork")
    assert shown(tmp_path)[1] == [("en-US/a.wav", "en-US", "Hello.")]
    path = text(tmp_path / "m" / "x.jsonl", '{"audio_filepath": "a.wav", "text": "a"}')
    (path.parent / "._x.jsonl").write_bytes(b"\0\5\x16\7")
    assert len(read_corpus(path.parent, "en-US").clips) == 1
    (tmp_path / "l" / "._84.trans.txt").parent.mkdir()
    (tmp_path / "l" / "._84.trans.txt").write_bytes(b"\0\5\x16\7")
    text(tmp_path / "l" / "84.trans.txt", "84-1 GO\n")
    assert [clip.id for clip in read_corpus(tmp_path / "l").clips] == ["84-1"]


def test_librispeech_in_the_current_folder(tmp_path, monkeypatch):
    text(tmp_path / "84.trans.txt", "84-1 GO\n")
    monkeypatch.chdir(tmp_path)
    assert read_corpus(Path()).clips[0].reference == "GO"
