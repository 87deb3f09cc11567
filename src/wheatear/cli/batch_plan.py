"""Plan of `wheatear transcribe` for folders: audio files and the paths of their transcripts."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wheatear.audio.file_type import readable_suffixes
from wheatear.errors import AudioError
from wheatear.transcript.writers import TranscriptFormat

_SUFFIX_OF = {"verbose_json": "json"}


@dataclass(frozen=True)
class BatchItem:
    """Audio file and the path of its transcript."""

    audio: str
    """Path, or "-" for standard input."""
    target: Path
    fault: str = ""
    """Reason why there is nothing to do, such as a folder that cannot be read."""


def plan_batch(
    inputs: Sequence[str], output: Path, transcript_format: TranscriptFormat, recursive: bool
) -> list[BatchItem]:
    """Lists the audio files of `inputs`, each with the path of its transcript below `output`.

    Folders are kept: sub/a.wav becomes OUTPUT/sub/a.srt, or a.wav.srt if there is also an a.mp3.
    A missing file becomes an item that will fail.  Raises AudioError if there is no audio, or the
    output is not a folder.
    """
    if output.exists() and not output.is_dir():
        raise AudioError(f"{output} is not a folder; give --output-dir FOLDER")
    found: dict[str, tuple[str, Path]] = {}  # absolute path -> audio, and its path in the output
    faults: list[BatchItem] = []
    for name in inputs:
        if not os.path.isdir(name):
            place = Path("stdin") if name == "-" else Path(Path(name).name)
            found.setdefault(os.path.abspath(name), (name, place))
            continue
        entries = list(_audio_in(name, recursive))
        for path, fault in entries:
            if fault:
                faults.append(BatchItem(path, output, fault))
            else:
                own = (path, Path(os.path.relpath(path, name)))
                found.setdefault(os.path.abspath(path), own)
        if not entries:
            deeper = "" if recursive else "; --recursive includes subfolders"
            faults.append(BatchItem(name, output, f"no audio file in {name}{deeper}"))
    if not found:
        raise AudioError(faults[0].fault)
    return [*_with_targets(list(found.values()), output, transcript_format, set(found)), *faults]


def _audio_in(folder: str, recursive: bool) -> Iterator[tuple[str, str]]:
    """Yields paths of audio files by name, and of unreadable folders with the reason.

    Hidden files and folders are left out; linked folders are visited once.
    """
    suffixes = readable_suffixes()
    unread: list[OSError] = []
    seen: set[tuple[int, int]] = set()
    _is_new(folder, seen)
    for here, folders, names in os.walk(folder, onerror=unread.append, followlinks=True):
        deeper = [os.path.join(here, n) for n in folders if not n.startswith(".") and recursive]
        deeper.sort(
            key=lambda path: (os.path.islink(path), path)
        )  # real folders before links to them
        folders[:] = [os.path.basename(path) for path in deeper if _is_new(path, seen)]
        for name in sorted(names):
            path = os.path.join(here, name)
            suffix = os.path.splitext(name)[1].lower()
            if suffix in suffixes and not name.startswith(".") and _may_be_file(path):
                yield path, ""
    for error in unread:
        path = os.fsdecode(error.filename or folder)
        yield path, f"cannot read the folder {path}: {error.strerror}"


def _is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    """True if a folder was not visited before under any name."""
    try:
        status = os.stat(folder)
    except OSError:
        return True  # os.walk reports it
    key = (status.st_dev, status.st_ino)
    if key in seen:
        return False
    seen.add(key)
    return True


def _may_be_file(path: str) -> bool:
    """False for pipes and devices; a broken link will fail to open."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def _with_targets(
    found: Sequence[tuple[str, Path]],
    output: Path,
    transcript_format: TranscriptFormat,
    inputs: set[str],
) -> Iterator[BatchItem]:
    suffix = _SUFFIX_OF.get(transcript_format, transcript_format)
    same = Counter(relative.with_suffix("") for _, relative in found)
    used: set[Path] = set()
    for audio, relative in found:
        stem = relative.with_suffix("") if same[relative.with_suffix("")] == 1 else relative
        target, number = output / f"{stem}.{suffix}", 1
        # Files of the same name from several folders, or a transcript that would replace an input.
        while target in used or os.path.abspath(target) in inputs:
            number += 1
            target = output / f"{stem}.{number}.{suffix}"
        used.add(target)
        yield BatchItem(audio, target)
