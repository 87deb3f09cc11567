"""Corpora on disk, in the layouts in which they are published.

| layout | detected by | locale |
|---|---|---|
| NeMo manifest | a .jsonl file; in a folder SPLIT.jsonl, manifest.jsonl or the only one | `lang` |
| LibriSpeech | `*.trans.txt` with FLAC files | en-US |
| Common Voice | SPLIT.tsv with a column `path`, and `clips/` | column `locale` |
| VoxPopuli | asr_SPLIT.tsv, audio anywhere below | name of the folder |
| FLEURS | SPLIT.tsv without column names; `audio/SPLIT/` or `SPLIT/` | name of the folder |
| folder | audio, each with a `.txt` of the same name | a folder named like a locale |

A folder may hold several languages of one layout.
"""

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
    parse_lines,
    read_clips,
)
from wheatear.model.locales import canonical_locale

_LOCALE = re.compile(r"[a-z]{2,3}[-_]([A-Za-z]{4}[-_])?([A-Za-z]{2}|\d{3})")
_QUOTED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')
_MAX_SHOWN = 40  # characters of a column's name in an error
_FLEURS_LANGUAGES = {"cmn": "zh"}
_FLEURS_COLUMNS = (
    *("id", "file", "text", "normalized", "characters", "samples", "gender"),
    *"abcdefgh",  # unnamed
)


@dataclass(frozen=True)
class Corpus:
    """Utterances of a corpus."""

    layout: str
    clips: tuple[Clip, ...]
    without_text: int = 0
    """Number of audio files without a reference."""


def read_corpus(path: Path, locale: str | None = None, split: str = "test") -> Corpus:
    """Reads the utterances of a manifest or a folder.

    Args:
        path: Manifest, table or folder.
        locale: Locale of utterances without one.
        split: Part of a corpus that is published in parts.

    Raises:
        ManifestError: Lines are invalid, the layout is unknown, or an utterance has no locale.
    """
    if not path.exists():
        raise ManifestError(f"there is no {path}")
    found = _read_folder(path, split) if path.is_dir() else _read_file(path)
    clips = tuple(_with_unique_ids(_with_locale(found.clips, locale, path)))
    if not clips:
        raise ManifestError(f"{path} ({found.layout}) holds no utterances")
    return replace(found, clips=clips)


def _read_file(path: Path) -> Corpus:
    if path.suffix in (".jsonl", ".json"):
        return _read_manifest(path)
    if path.suffix == ".tsv":
        return _read_table(path)
    raise ManifestError(
        f"{path} is no manifest: give a .jsonl, the .tsv of a known corpus, or a folder"
    )


def _read_folder(path: Path, split: str) -> Corpus:
    """Reads the first layout that the folder has."""
    if found := _visible(path.rglob("*.trans.txt")):
        return Corpus("LibriSpeech", tuple(clip for file in found for clip in _librispeech(file)))
    if found := sorted([*path.rglob(f"asr_{split}.tsv"), *path.rglob(f"{split}.tsv")]):
        parts = [_read_table(file) for file in found]
        if len({part.layout for part in parts}) > 1:
            raise ManifestError(f"{path} holds corpora of several layouts; give one of its folders")
        return Corpus(parts[0].layout, tuple(clip for part in parts for clip in part.clips))
    for names in (f"{split}.jsonl", "manifest.jsonl", "*.jsonl"):
        if len(found := _visible(path.glob(names))) == 1:
            return _read_manifest(found[0])
    if _visible(path.rglob("*.txt")):
        return _read_texts(path)
    raise ManifestError(
        f"{path} has no known layout: a NeMo manifest ({split}.jsonl or manifest.jsonl), "
        f"audio with .txt files of the same names, FLEURS or Common Voice ({split}.tsv), VoxPopuli "
        f"(asr_{split}.tsv), LibriSpeech (*.trans.txt); --split names another part"
    )


def _visible(paths: Iterable[Path]) -> list[Path]:
    """Sorted paths without hidden files, such as the `._NAME` files of macOS."""
    return sorted(path for path in paths if not path.name.startswith("."))


def _audio_files(folder: Path) -> list[Path]:
    """The audio files anywhere below a folder."""
    found = _visible(folder.rglob("*"))
    return [file for file in found if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file()]


def _read_manifest(path: Path) -> Corpus:
    clips, problems = read_clips(path)
    if problems:
        raise manifest_error(problems)
    return Corpus("NeMo manifest", tuple(clip for _, clip in clips))


# -- tables --------------------------------------------------------------------------------------

_Row = tuple[int, tuple[str, ...]]
"""Number of a line, and its cells."""


def _read_table(path: Path) -> Corpus:
    """Reads FLEURS, Common Voice or VoxPopuli, detected by the first line."""
    rows, problems = parse_lines(path, numbered_lines(path), _cells)
    if not rows:
        raise manifest_error(problems) if problems else ManifestError(f"{path} is empty")
    columns = rows[0][1]
    widths = Counter(len(cells) for _, cells in rows if _is_fleurs(cells))
    if {"path", "sentence"} <= set(columns):
        return Corpus("Common Voice", _read_rows(path, rows, problems, _common_voice))
    if {"id", "normalized_text"} <= set(columns):
        audio = {file.stem: file for file in _audio_files(path.parent)}
        read = lambda row, table: _voxpopuli(row, table, audio)  # noqa: E731
        return Corpus("VoxPopuli", _read_rows(path, rows, problems, read))
    if widths:
        columns = _FLEURS_COLUMNS[: widths.most_common(1)[0][0]]
        return Corpus("FLEURS", _read_rows(path, [(0, columns), *rows], problems, _fleurs))
    if problems:
        raise manifest_error(problems)
    raise ManifestError(
        f"{path} is no table of FLEURS, Common Voice (with columns path and sentence) or VoxPopuli "
        f"(id and normalized_text): its first line has "
        f"{', '.join(cell[:_MAX_SHOWN] for cell in columns[:6])}"
    )


def _read_rows(
    path: Path,
    rows: Sequence[_Row],
    problems: Sequence[InvalidLine],
    read: Callable[[Mapping[str, str], Path], Clip],
) -> tuple[Clip, ...]:
    """Reads the clips of a table whose first row names its columns.

    Raises ManifestError for `problems`, which are lines that are not rows, and for invalid rows.
    """
    columns = rows[0][1]
    clips, invalid = parse_lines(path, rows[1:], lambda cells: read(_named(columns, cells), path))
    if invalid or problems:
        raise manifest_error([*invalid, *problems])
    return tuple(clip for _, clip in clips)


def _cells(line: bytes) -> tuple[str, ...]:
    return tuple(map(_unquoted, decode_line(line).split("\t")))


def _unquoted(cell: str) -> str:
    """A cell without the quotes that writers of CSV add to cells with quotes."""
    return cell[1:-1].replace('""', '"') if _QUOTED.fullmatch(cell) else cell


def _named(columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """Raises ValueError for a row with a wrong number of cells."""
    if len(cells) != len(columns):
        kind = "is cut off" if len(cells) < len(columns) else "is too long"
        raise ValueError(f"it {kind}: it has {len(cells)} of {len(columns)} columns")
    return dict(zip(columns, cells, strict=True))


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
    """Reads a row; prefers the raw text, which has case and punctuation but may be empty."""
    fields = {key: row[key] for key in ("speaker_id", "gender", "accent") if row.get(key)}
    language = table.parent.name.partition("_")[0]
    name = _filled(row, "id")
    missing = table.parent / f"{name}.ogg"
    text = row.get("raw_text", "").strip() or row["normalized_text"]
    return Clip(name, audio.get(name, missing), language, text, fields=fields)


def _is_fleurs(cells: Sequence[str]) -> bool:
    return 6 <= len(cells) <= len(_FLEURS_COLUMNS) and cells[1].endswith(".wav")


def _fleurs(row: Mapping[str, str], table: Path) -> Clip:
    folder, split = table.parent, table.stem
    name = _filled(row, "file")
    places = [folder / "audio" / split / name, folder / split / name, folder / name]
    audio = next((place for place in places if place.exists()), places[0])
    fields = {"gender": row["gender"]} if "gender" in row else {}
    return Clip(name, audio, _fleurs_locale(folder.name), _filled(row, "text"), fields=fields)


def _fleurs_locale(name: str) -> str:
    """The locale of a folder such as en_us or cmn_hans_cn; "" for any other."""
    if not _LOCALE.fullmatch(name):
        return ""
    language, *_, region = name.split("_")
    return f"{_FLEURS_LANGUAGES.get(language, language)}-{region.upper()}"


# -- texts in files of their own -----------------------------------------------------------------


def _librispeech(transcripts: Path) -> list[Clip]:
    read = lambda line: _librispeech_clip(decode_line(line), transcripts)  # noqa: E731
    clips, problems = parse_lines(transcripts, numbered_lines(transcripts), read)
    if problems:
        raise manifest_error(problems)
    return [clip for _, clip in clips]


def _librispeech_clip(line: str, transcripts: Path) -> Clip:
    """The utterance of a line with its name and its text."""
    name, _, text = line.strip().partition(" ")
    if not text.strip():
        raise ValueError(f"it is cut off: there is no text after {name!r}")
    found = [transcripts.parent / f"{name}{suffix}" for suffix in (".flac", ".wav", ".ogg")]
    audio = next((file for file in found if file.exists()), found[0])
    folders = transcripts.resolve().parents
    subset = folders[min(2, len(folders) - 1)].name
    fields = {"speaker": name.partition("-")[0], "subset": subset}
    return Clip(name, audio, "en-US", text.strip(), fields=fields)


def _read_texts(path: Path) -> Corpus:
    audio = _audio_files(path)
    with_text = [file for file in audio if file.with_suffix(".txt").is_file()]
    clips = tuple(
        Clip(
            str(file.relative_to(path)), file, _folder_locale(file.relative_to(path.parent)),
            " ".join(_read_text(file.with_suffix(".txt")).split()),
        )
        for file in with_text
    )  # fmt: skip
    return Corpus("folder", clips, len(audio) - len(with_text))


def _folder_locale(file: Path) -> str:
    """The name of the nearest folder that is named like a locale."""
    return next((folder for folder in reversed(file.parts[:-1]) if _LOCALE.fullmatch(folder)), "")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ManifestError(f"{path} cannot be read: {reason}") from error


# -- all layouts ---------------------------------------------------------------------------------


def _with_locale(clips: Iterable[Clip], locale: str | None, path: Path) -> Iterator[Clip]:
    """Adds missing locales; known locales get the spelling of the model."""
    for clip in clips:
        name = clip.locale or locale
        if not name:
            raise ManifestError(f"{path}: {clip.id} has no locale; give it with --locale")
        yield replace(clip, locale=canonical_locale(name))


def _with_unique_ids(clips: Iterable[Clip]) -> Iterator[Clip]:
    """Numbers clips of the same id."""
    seen: Counter[str] = Counter()
    for clip in clips:
        seen[clip.id] += 1
        yield clip if seen[clip.id] == 1 else replace(clip, id=f"{clip.id}#{seen[clip.id]}")
