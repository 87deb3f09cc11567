"""Corpora as people have them on disk, recognised by what is in the folder.

| layout | recognised by | locale |
|---|---|---|
| NeMo manifest | a .jsonl file; in a folder SPLIT.jsonl, manifest.jsonl or the only one | `lang` |
| LibriSpeech | `*.trans.txt` with FLAC beside | en-US |
| Common Voice | SPLIT.tsv with a column `path`, and `clips/` | column `locale` |
| VoxPopuli | asr_SPLIT.tsv, audio anywhere below | the folder's name |
| FLEURS | SPLIT.tsv without column names, audio in `audio/SPLIT/` or `SPLIT/` | the folder's name |
| folder | audio, each with a `.txt` of the same name | a folder named like a locale |

A folder may hold several languages of a layout.  `--locale` says what no line and no folder says.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wheatear.errors import ManifestError
from wheatear.evaluate.clips import Clip
from wheatear.locales import LOCALES

SUFFIXES = frozenset(
    {".aac", ".aif", ".aiff", ".au", ".caf", ".flac", ".m4a", ".mp3"}
    | {".mp4", ".oga", ".ogg", ".opus", ".w64", ".wav", ".webm"}
)
_LOCALE_KEYS = ("lang", "target_lang", "locale")
_SHOWN = 5  # bad lines in a message
_LOCALE = re.compile(r"[a-z]{2,3}[-_]([A-Za-z]{4}[-_])?([A-Za-z]{2}|\d{3})")
_FLEURS_LANGUAGES = {"cmn": "zh"}
_FORTY = {locale.id.lower(): locale.id for locale in LOCALES}


@dataclass(frozen=True)
class Corpus:
    """What was found."""

    layout: str
    clips: tuple[Clip, ...]
    without_text: int = 0
    """Audio files that nobody says what was said in."""


def read_corpus(path: Path, locale: str | None = None, split: str = "test") -> Corpus:
    """The utterances of a manifest or a folder.

    locale: of lines and files that name none.  split: of corpora that come in parts.

    Raises ManifestError naming what is wrong: lines that cannot be used, a folder of no known
    layout, an utterance without a locale.
    """
    if not path.exists():
        raise ManifestError(f"there is no {path}")
    found = _of_folder(path, split) if path.is_dir() else _of_file(path)
    clips = tuple(_named_apart(_with_locale(found.clips, locale, path)))
    if not clips:
        raise ManifestError(f"{path} ({found.layout}) holds no utterances")
    return replace(found, clips=clips)


def _of_file(path: Path) -> Corpus:
    if path.suffix in (".jsonl", ".json"):
        return Corpus("NeMo manifest", tuple(_nemo(path)))
    if path.suffix == ".tsv":
        return _tsv(path)
    raise ManifestError(
        f"{path} is no manifest: give a .jsonl, the .tsv of a known corpus, or a folder"
    )


def _of_folder(path: Path, split: str) -> Corpus:
    """The first layout whose marks are there."""
    if found := sorted(path.rglob("*.trans.txt")):
        return Corpus("LibriSpeech", tuple(c for file in found for c in _librispeech(file)))
    if found := sorted([*path.rglob(f"asr_{split}.tsv"), *path.rglob(f"{split}.tsv")]):
        parts = [_tsv(file) for file in found]
        if len({part.layout for part in parts}) > 1:
            raise ManifestError(f"{path} holds corpora of several layouts; give one of its folders")
        return Corpus(parts[0].layout, tuple(clip for part in parts for clip in part.clips))
    for names in (f"{split}.jsonl", "manifest.jsonl", "*.jsonl"):
        if len(found := sorted(path.glob(names))) == 1:
            return Corpus("NeMo manifest", tuple(_nemo(found[0])))
    if any(path.rglob("*.txt")):
        return _texts(path)
    raise ManifestError(
        f"{path} has no layout that is known: a NeMo manifest ({split}.jsonl or manifest.jsonl), "
        f"audio with .txt files beside, FLEURS or Common Voice ({split}.tsv), VoxPopuli "
        f"(asr_{split}.tsv), LibriSpeech (*.trans.txt); --split names another part"
    )


# -- NeMo ----------------------------------------------------------------------------------------


def _nemo(path: Path) -> Iterator[Clip]:
    """Raises ManifestError for the first lines that cannot be used."""
    problems = []
    for number, line in enumerate(_read(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield _entry(json.loads(line), path.parent)
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: {error}")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ManifestError(f"{path}, {'; '.join(problems[:_SHOWN])}{more}")


def _entry(entry: Any, folder: Path) -> Clip:
    """Raises ValueError saying what is wrong with the line."""
    if not isinstance(entry, dict):
        raise ValueError("it is not an object with fields")  # noqa: TRY004
    for key in ("audio_filepath", "text"):
        if not isinstance(entry.get(key), str):
            raise ValueError(f"it has no {key!r}")  # noqa: TRY004
    for key in ("offset", "duration"):
        if entry.get(key) is not None and not _is_seconds(entry[key]):
            raise ValueError(f"its {key!r} is {entry[key]!r}, not a number of seconds")
    start, name = float(entry.get("offset") or 0), entry["audio_filepath"]
    fields = {
        key: str(value) for key, value in entry.items() if isinstance(value, str | int | bool)
    }
    return Clip(
        str(entry.get("id") or (f"{name}@{start:g}" if start else name)),
        folder / name,
        next((str(entry[key]) for key in _LOCALE_KEYS if entry.get(key)), ""),
        entry["text"].strip(),
        start,
        entry.get("duration"),
        fields,
    )


def _is_seconds(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0


# -- tables --------------------------------------------------------------------------------------


def _tsv(path: Path) -> Corpus:
    """FLEURS, Common Voice or VoxPopuli, by the first line.  Raises ManifestError."""
    rows = list(csv.reader(_read(path).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = [row for row in rows if any(row)]
    if not rows:
        raise ManifestError(f"{path} is empty")
    if {"path", "sentence"} <= set(rows[0]):
        return Corpus("Common Voice", tuple(_table(rows, path, _common_voice)))
    if {"id", "normalized_text"} <= set(rows[0]):
        audio = {file.stem: file for file in path.parent.rglob("*") if file.suffix in SUFFIXES}
        read = lambda row, table: _voxpopuli(row, table, audio)  # noqa: E731
        return Corpus("VoxPopuli", tuple(_table(rows, path, read)))
    if len(rows[0]) >= 6 and rows[0][1].endswith(".wav"):
        return Corpus("FLEURS", tuple(_fleurs(row, path) for row in rows))
    raise ManifestError(
        f"{path} is no table of FLEURS, Common Voice or VoxPopuli: its first line has "
        f"{', '.join(rows[0][:6])}"
    )


def _table(
    rows: list[list[str]], path: Path, read: Callable[[Mapping[str, str], Path], Clip]
) -> Iterator[Clip]:
    for row in rows[1:]:
        yield read(dict(zip(rows[0], row, strict=False)), path)


def _common_voice(row: Mapping[str, str], table: Path) -> Clip:
    fields = {key: row[key] for key in ("client_id", "age", "gender", "accents") if row.get(key)}
    audio = table.parent / "clips" / row["path"]
    return Clip(row["path"], audio, row.get("locale", ""), row["sentence"], fields=fields)


def _voxpopuli(row: Mapping[str, str], table: Path, audio: Mapping[str, Path]) -> Clip:
    """The raw text has case and punctuation, but not every utterance has one."""
    fields = {key: row[key] for key in ("speaker_id", "gender", "accent") if row.get(key)}
    language = table.parent.name.partition("_")[0]
    missing = table.parent / f"{row['id']}.ogg"
    text = row.get("raw_text", "").strip() or row["normalized_text"]
    return Clip(row["id"], audio.get(row["id"], missing), language, text, fields=fields)


def _fleurs(row: list[str], table: Path) -> Clip:
    """Columns: id, file, text, normalised text, letters, samples, gender."""
    folder, split = table.parent, table.stem
    places = [folder / "audio" / split / row[1], folder / split / row[1], folder / row[1]]
    audio = next((place for place in places if place.exists()), places[0])
    fields = {"gender": row[6]} if len(row) > 6 else {}
    return Clip(row[1], audio, _fleurs_locale(folder.name), row[2], fields=fields)


def _fleurs_locale(name: str) -> str:
    """The locale of a folder such as en_us or cmn_hans_cn; "" of any other."""
    if not _LOCALE.fullmatch(name):
        return ""
    language, *_, region = name.split("_")
    return f"{_FLEURS_LANGUAGES.get(language, language)}-{region.upper()}"


# -- texts beside the audio ----------------------------------------------------------------------


def _librispeech(transcripts: Path) -> Iterator[Clip]:
    for line in _read(transcripts).splitlines():
        name, _, text = line.strip().partition(" ")
        if name:
            found = [transcripts.parent / f"{name}{suffix}" for suffix in (".flac", ".wav", ".ogg")]
            audio = next((file for file in found if file.exists()), found[0])
            subset = transcripts.parents[2].name
            fields = {"speaker": name.partition("-")[0], "subset": subset}
            yield Clip(name, audio, "en-US", text, fields=fields)


def _texts(path: Path) -> Corpus:
    audio = sorted(f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    with_text = [file for file in audio if file.with_suffix(".txt").is_file()]
    clips = tuple(
        Clip(
            str(file.relative_to(path)), file, _folders_locale(file.relative_to(path.parent)),
            " ".join(_read(file.with_suffix(".txt")).split()),
        )
        for file in with_text
    )  # fmt: skip
    return Corpus("folder", clips, len(audio) - len(with_text))


def _folders_locale(file: Path) -> str:
    """The name of the nearest folder that is called like a locale."""
    return next((folder for folder in reversed(file.parts[:-1]) if _LOCALE.fullmatch(folder)), "")


# -- what all have -------------------------------------------------------------------------------


def _with_locale(clips: tuple[Clip, ...], locale: str | None, path: Path) -> Iterator[Clip]:
    """Each with a locale, in the spelling of the forty where it is one of them."""
    for clip in clips:
        named = clip.locale or locale
        if not named:
            raise ManifestError(
                f"{path}: nothing tells the locale of {clip.id}; give it with --locale"
            )
        usual = named.strip().replace("_", "-")
        yield replace(clip, locale=_FORTY.get(usual.lower(), usual))


def _named_apart(clips: Iterator[Clip]) -> Iterator[Clip]:
    """Clips that would have the same id are numbered."""
    seen: Counter[str] = Counter()
    for clip in clips:
        seen[clip.id] += 1
        yield clip if seen[clip.id] == 1 else replace(clip, id=f"{clip.id}#{seen[clip.id]}")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ManifestError(f"{path} cannot be read: {reason}") from error
