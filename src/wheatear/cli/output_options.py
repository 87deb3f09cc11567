"""Where transcripts go and in which format, as the options of `wheatear transcribe` have it."""

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from wheatear.common import atomic_files as durable
from wheatear.errors import AudioError, WheatearError
from wheatear.transcript.writers import FORMATS, TranscriptFormat

_FORMAT_OF: dict[str, TranscriptFormat] = {f".{form}": form for form in FORMATS} | {
    ".ndjson": "jsonl"
}
_LONGEST_NAME = 120  # bytes of a partial file's; file systems take 143 to 255
_SEVERAL_IN_A_FILE = ("jsonl", "ctm")
"""Formats that name the recording in every line."""
_SEVERAL_IN_A_ROW = ("txt", "json", *_SEVERAL_IN_A_FILE)
"""Formats that can follow each other on standard output and stay readable."""


def format_of(form: TranscriptFormat | None, output: Path | None) -> TranscriptFormat:
    """The format that was asked for, else the one that the name of the file ends with."""
    if form is not None:
        return form
    return _FORMAT_OF.get(output.suffix.lower(), "txt") if output is not None else "txt"


def check_output(
    output: Path | None, inputs: Sequence[str], form: TranscriptFormat, overwrite: bool = False
) -> None:
    """Raises AudioError for an output that exists or is an input, and for several transcripts in a
    format that holds one."""
    if output is not None and output.is_file():
        if any(_same(output, name) for name in inputs):
            raise AudioError(f"{output} is one of the files to transcribe")
        if not overwrite:
            raise AudioError(f"{output} exists already; --overwrite replaces it")
    holds_several = _SEVERAL_IN_A_ROW if output is None else _SEVERAL_IN_A_FILE
    if len(inputs) > 1 and form not in holds_several:
        raise AudioError(
            f"{form} holds the transcript of one file, and {len(inputs)} were given: "
            f"--output-dir FOLDER writes one for each, --format jsonl all into one"
        )


def _same(output: Path, name: str) -> bool:
    try:
        return os.path.samefile(output, name)
    except (OSError, ValueError):
        return False


class Output:
    """Standard output, or a file that is made when the first transcript begins.

    Until it is whole a file is called NAME.partial, except for transcripts of live audio.
    """

    def __init__(self, path: Path | None, live: bool) -> None:
        self._path, self._place = path, path
        if path is not None and not live and (path.is_file() or not path.exists()):
            self._place = partial_of(path)
        self._file: TextIO | None = None

    def open(self) -> TextIO:
        """The same each time.  Raises AudioError."""
        if self._place is None:
            return sys.stdout
        if self._file is None:
            try:
                self._file = self._place.open("w", encoding="utf-8", errors="replace")
            except OSError as error:
                raise AudioError(f"cannot write {self._path}: {error.strerror}") from error
        return self._file

    def finish(self, whole: bool) -> str:
        """Gives the file its name and returns a sentence about it, which may be empty.

        whole: whether everything was transcribed; if not, a file without a word is taken away.
        """
        if self._close(keep_empty=whole) and self._path is not None and self._place is not None:
            if self._place != self._path:
                durable.replace(self._place, self._path)
            return f"wrote {self._path}"
        return ""

    def abandon(self) -> str:
        """Leaves the file as it is and returns a sentence about it, which may be empty."""
        kept = self._close(keep_empty=False)
        return f"{self._place} has what was transcribed so far" if kept else ""

    def _close(self, keep_empty: bool) -> bool:
        """True if there is a file on a disk now."""
        if self._file is None or self._place is None:
            return False
        self._file.close()
        if not self._place.is_file():  # a device, a pipe
            return False
        if not keep_empty and self._place.stat().st_size == 0:
            self._place.unlink()
            return False
        return True


def partial_of(target: Path) -> Path:
    """Where a transcript is written until it is whole: a name that every file system takes."""
    name = f"{target.name}.partial"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
        name = f"{target.name[:16]}~{digest}.partial"
    return target.with_name(name)


def folder_of(output: Path | None, output_dir: Path | None, several: bool) -> Path | None:
    """The folder for one file each, if that is what is wanted.

    several: whether a folder is read, or several files at a time, which --output may then mean as
    well.  Raises WheatearError.
    """
    if output is not None and output_dir is not None:
        raise WheatearError("give --output FILE or --output-dir FOLDER, not both")
    if output_dir is not None:
        return output_dir
    if output is not None and (several or output.is_dir()):
        return output
    if several:
        raise AudioError(
            "several files at a time need a folder to write to: give --output-dir FOLDER"
        )
    return None
