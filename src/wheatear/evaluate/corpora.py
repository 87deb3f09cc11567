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

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wheatear.audio.file_type import AUDIO_SUFFIXES
from wheatear.errors import ManifestError
from wheatear.evaluate.clips import Clip
from wheatear.evaluate.manifest import (
    InvalidLine,
    decode_line,
    manifest_error,
    numbered_lines,
    read_clips,
)
from wheatear.model.locales import canonical_locale

_LOCALE = re.compile(r"[a-z]{2,3}[-_]([A-Za-z]{4}[-_])?([A-Za-z]{2}|\d{3})")
_QUOTED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')
_SHOWN = 40  # characters of a column's name in a message
_FLEURS_LANGUAGES = {"cmn": "zh"}


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
        return Corpus("NeMo manifest", _manifest(path))
    if path.suffix == ".tsv":
        return _tsv(path)
    raise ManifestError(
        f"{path} is no manifest: give a .jsonl, the .tsv of a known corpus, or a folder"
    )


def _of_folder(path: Path, split: str) -> Corpus:
    """The first layout whose marks are there."""
    if found := _visible(path.rglob("*.trans.txt")):
        clips = tuple(clip for file in found for clip in _librispeech(file).clips)
        return Corpus("LibriSpeech", clips)
    if found := sorted([*path.rglob(f"asr_{split}.tsv"), *path.rglob(f"{split}.tsv")]):
        parts = [_tsv(file) for file in found]
        if len({part.layout for part in parts}) > 1:
            raise ManifestError(f"{path} holds corpora of several layouts; give one of its folders")
        return Corpus(parts[0].layout, tuple(clip for part in parts for clip in part.clips))
    for names in (f"{split}.jsonl", "manifest.jsonl", "*.jsonl"):
        if len(found := _visible(path.glob(names))) == 1:
            return Corpus("NeMo manifest", _manifest(found[0]))
    if _visible(path.rglob("*.txt")):
        return _texts(path)
    raise ManifestError(
        f"{path} has no layout that is known: a NeMo manifest ({split}.jsonl or manifest.jsonl), "
        f"audio with .txt files beside, FLEURS or Common Voice ({split}.tsv), VoxPopuli "
        f"(asr_{split}.tsv), LibriSpeech (*.trans.txt); --split names another part"
    )


def _visible(paths: Iterable[Path]) -> list[Path]:
    """Sorted, without hidden files, such as the `._NAME` that macOS leaves beside each file."""
    return sorted(path for path in paths if not path.name.startswith("."))


def _sounds(folder: Path) -> list[Path]:
    """The audio files anywhere below a folder."""
    found = _visible(folder.rglob("*"))
    return [file for file in found if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file()]


def _manifest(path: Path) -> tuple[Clip, ...]:
    """Raises ManifestError for the first lines that cannot be used."""
    found = list(read_clips(path))
    if problems := [line for line in found if isinstance(line, InvalidLine)]:
        raise manifest_error(problems)
    return tuple(line[1] for line in found if not isinstance(line, InvalidLine))


# -- tables --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """A line of a table."""

    line: int
    cells: tuple[str, ...]


def _tsv(path: Path) -> Corpus:
    """FLEURS, Common Voice or VoxPopuli, by the first line.  Raises ManifestError."""
    rows, problems = _rows(path)
    if not rows:
        raise manifest_error(problems) if problems else ManifestError(f"{path} is empty")
    names = frozenset(rows[0].cells)
    fleurs = Counter(len(row.cells) for row in rows if _is_fleurs(row))
    if {"path", "sentence"} <= names:
        return Corpus("Common Voice", _read_rows(path, rows, problems, _common_voice))
    if {"id", "normalized_text"} <= names:
        audio = {file.stem: file for file in _sounds(path.parent)}
        read = lambda row, table: _voxpopuli(row, table, audio)  # noqa: E731
        return Corpus("VoxPopuli", _read_rows(path, rows, problems, read))
    if fleurs:
        columns = _FLEURS_COLUMNS[: fleurs.most_common(1)[0][0]]
        return Corpus("FLEURS", _read_rows(path, [_Row(0, columns), *rows], problems, _fleurs))
    if problems:
        raise manifest_error(problems)
    raise ManifestError(
        f"{path} is no table of FLEURS, Common Voice (with columns path and sentence) or VoxPopuli "
        f"(id and normalized_text): its first line has "
        f"{', '.join(cell[:_SHOWN] for cell in rows[0].cells[:6])}"
    )


def _read_rows(
    path: Path,
    rows: Sequence[_Row],
    problems: Sequence[InvalidLine],
    read: Callable[[Mapping[str, str], Path], Clip],
) -> tuple[Clip, ...]:
    """The clips of a table whose first row names its columns.

    problems: of lines that are no rows.  Raises ManifestError for the first that cannot be used.
    """
    clips, bad = [], list(problems)
    for row in rows[1:]:
        try:
            clips.append(read(_named(rows[0].cells, row), path))
        except ValueError as error:
            bad.append(InvalidLine(path, row.line, str(error)))
    if bad:
        raise manifest_error(sorted(bad, key=lambda problem: problem.line))
    return tuple(clips)


def _rows(path: Path) -> tuple[list[_Row], list[InvalidLine]]:
    """The lines of a table that are text, and those that are not."""
    rows, problems = [], []
    for number, line in numbered_lines(path):
        try:
            rows.append(_Row(number, tuple(map(_unquoted, decode_line(line).split("\t")))))
        except ValueError as error:
            problems.append(InvalidLine(path, number, str(error)))
    return rows, problems


def _unquoted(cell: str) -> str:
    """A cell as it was before a writer of CSV put it in quotes for the quotes that it holds."""
    return cell[1:-1].replace('""', '"') if _QUOTED.fullmatch(cell) else cell


def _named(columns: tuple[str, ...], row: _Row) -> dict[str, str]:
    """Raises ValueError for a row that is cut off or has more cells than there are columns."""
    if len(row.cells) != len(columns):
        kind = "is cut off" if len(row.cells) < len(columns) else "is too long"
        raise ValueError(f"it {kind}: it has {len(row.cells)} of {len(columns)} columns")
    return dict(zip(columns, row.cells, strict=True))


def _filled(row: Mapping[str, str], name: str) -> str:
    """Raises ValueError for an empty cell."""
    if not (value := row[name].strip()):
        raise ValueError(f"its {name!r} is empty")
    return value


def _common_voice(row: Mapping[str, str], table: Path) -> Clip:
    fields = {key: row[key] for key in ("client_id", "age", "gender", "accents") if row.get(key)}
    name, sentence = _filled(row, "path"), _filled(row, "sentence")
    audio = table.parent / "clips" / name
    return Clip(name, audio, row.get("locale", ""), sentence, fields=fields)


def _voxpopuli(row: Mapping[str, str], table: Path, audio: Mapping[str, Path]) -> Clip:
    """The raw text has case and punctuation, but not every utterance has one."""
    fields = {key: row[key] for key in ("speaker_id", "gender", "accent") if row.get(key)}
    language = table.parent.name.partition("_")[0]
    name = _filled(row, "id")
    missing = table.parent / f"{name}.ogg"
    text = row.get("raw_text", "").strip() or row["normalized_text"]
    return Clip(name, audio.get(name, missing), language, text, fields=fields)


_FLEURS_COLUMNS = ("id", "file", "text", "normalized", "letters", "samples", "gender", *"abcdefgh")


def _is_fleurs(row: _Row) -> bool:
    return 6 <= len(row.cells) <= len(_FLEURS_COLUMNS) and row.cells[1].endswith(".wav")


def _fleurs(row: Mapping[str, str], table: Path) -> Clip:
    folder, split = table.parent, table.stem
    name = _filled(row, "file")
    places = [folder / "audio" / split / name, folder / split / name, folder / name]
    audio = next((place for place in places if place.exists()), places[0])
    fields = {"gender": row["gender"]} if "gender" in row else {}
    return Clip(name, audio, _fleurs_locale(folder.name), _filled(row, "text"), fields=fields)


def _fleurs_locale(name: str) -> str:
    """The locale of a folder such as en_us or cmn_hans_cn; "" of any other."""
    if not _LOCALE.fullmatch(name):
        return ""
    language, *_, region = name.split("_")
    return f"{_FLEURS_LANGUAGES.get(language, language)}-{region.upper()}"


# -- texts beside the audio ----------------------------------------------------------------------


def _librispeech(transcripts: Path) -> Corpus:
    """Raises ManifestError for the first lines that cannot be used."""
    clips, problems = [], []
    for number, line in numbered_lines(transcripts):
        try:
            clips.append(_spoken(decode_line(line), transcripts))
        except ValueError as error:
            problems.append(InvalidLine(transcripts, number, str(error)))
    if problems:
        raise manifest_error(problems)
    return Corpus("LibriSpeech", tuple(clips))


def _spoken(line: str, transcripts: Path) -> Clip:
    """The utterance of a line that has its name and its text."""
    name, _, text = line.strip().partition(" ")
    if not text.strip():
        raise ValueError(f"it is cut off: there is no text after {name!r}")
    found = [transcripts.parent / f"{name}{suffix}" for suffix in (".flac", ".wav", ".ogg")]
    audio = next((file for file in found if file.exists()), found[0])
    folders = transcripts.resolve().parents
    subset = folders[min(2, len(folders) - 1)].name
    fields = {"speaker": name.partition("-")[0], "subset": subset}
    return Clip(name, audio, "en-US", text.strip(), fields=fields)


def _texts(path: Path) -> Corpus:
    audio = _sounds(path)
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
        yield replace(clip, locale=canonical_locale(named))


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
