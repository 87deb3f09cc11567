"""Finds the audio files of `wheatear transcribe` and the file that each transcript goes to."""

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
class Job:
    """One file and where its transcript goes."""

    audio: str
    """A path, or "-" for standard input."""
    target: Path
    fault: str = ""
    """Why there is nothing to do, such as a folder that cannot be read."""


def jobs_of(
    inputs: Sequence[str], output: Path, form: TranscriptFormat, recursive: bool
) -> list[Job]:
    """The files that are meant, each with a transcript of its own in the folder `output`.

    Folders are kept as they are: sub/a.wav becomes OUTPUT/sub/a.srt, or a.wav.srt where there is
    an a.mp3 as well.  What is not there is a job that will fail.  Raises AudioError where there is
    no audio at all, and for an output that is no folder.
    """
    if output.exists() and not output.is_dir():
        raise AudioError(f"{output} is no folder; give --output-dir FOLDER")
    found: dict[str, tuple[str, Path]] = {}  # absolute path -> audio, and its path in the output
    faults: list[Job] = []
    for name in inputs:
        if not os.path.isdir(name):
            place = Path("stdin") if name == "-" else Path(Path(name).name)
            found.setdefault(os.path.abspath(name), (name, place))
            continue
        inside = list(_audio_in(name, recursive))
        for path, fault in inside:
            if fault:
                faults.append(Job(path, output, fault))
            else:
                own = (path, Path(os.path.relpath(path, name)))
                found.setdefault(os.path.abspath(path), own)
        if not inside:
            deeper = "" if recursive else "; --recursive looks into its folders"
            faults.append(Job(name, output, f"there is no audio file in {name}{deeper}"))
    if not found:
        raise AudioError(faults[0].fault)
    return [*_with_targets(list(found.values()), output, form, set(found)), *faults]


def _audio_in(folder: str, recursive: bool) -> Iterator[tuple[str, str]]:
    """Paths of audio files in the order of their names, and of folders with the reason why they
    cannot be read.  Hidden files and folders, which systems make beside the real ones, are left
    out; linked folders are visited once.
    """
    suffixes = readable_suffixes()
    unread: list[OSError] = []
    seen: set[tuple[int, int]] = set()
    _is_new(folder, seen)
    for here, folders, names in os.walk(folder, onerror=unread.append, followlinks=True):
        deeper = [os.path.join(here, n) for n in folders if not n.startswith(".") and recursive]
        deeper.sort(key=lambda path: (os.path.islink(path), path))  # files go by their real place
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
    """True the first time that a folder is met, by whatever name."""
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
    """False for pipes and devices; a broken link is a file that will fail to open."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


def _with_targets(
    found: Sequence[tuple[str, Path]], output: Path, form: TranscriptFormat, inputs: set[str]
) -> Iterator[Job]:
    suffix = _SUFFIX_OF.get(form, form)
    same = Counter(inside.with_suffix("") for _, inside in found)
    taken: set[Path] = set()
    for audio, inside in found:
        plain = inside.with_suffix("") if same[inside.with_suffix("")] == 1 else inside
        target, number = output / f"{plain}.{suffix}", 1
        # Files of the same name from several folders, or a text that would replace an input.
        while target in taken or os.path.abspath(target) in inputs:
            number += 1
            target = output / f"{plain}.{number}.{suffix}"
        taken.add(target)
        yield Job(audio, target)
