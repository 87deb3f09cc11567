"""Output file, folder and format of a command that transcribes."""

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from wheatear.common import atomic_files as durable
from wheatear.errors import AudioError, WheatearError
from wheatear.transcript.writers import FORMATS, TranscriptFormat

_FORMATS: dict[str, TranscriptFormat] = {f".{name}": name for name in FORMATS} | {
    ".ndjson": "jsonl"
}
_MAX_NAME_BYTES = 120  # of a partial file; file systems allow 143 to 255
_MULTIPLE_IN_FILE = ("jsonl", "ctm")
"""Formats that name the recording in each line."""
_MULTIPLE_IN_OUTPUT = ("txt", "json", *_MULTIPLE_IN_FILE)
"""Formats of which several transcripts can be written to standard output."""


def choose_format(
    transcript_format: TranscriptFormat | None, output: Path | None
) -> TranscriptFormat:
    """Returns the format of the option, else that of the file name, else txt."""
    if transcript_format is not None:
        return transcript_format
    return _FORMATS.get(output.suffix.lower(), "txt") if output is not None else "txt"


def check_output(
    output: Path | None,
    inputs: Sequence[str],
    transcript_format: TranscriptFormat,
    overwrite: bool = False,
) -> None:
    """Raises AudioError if an output exists or is an input, or the format holds one transcript."""
    if output is not None and output.is_file():
        if any(_same(output, name) for name in inputs):
            raise AudioError(f"{output} is one of the files to transcribe")
        if not overwrite:
            raise AudioError(f"{output} already exists; --overwrite replaces it")
    multiple = _MULTIPLE_IN_OUTPUT if output is None else _MULTIPLE_IN_FILE
    if len(inputs) > 1 and transcript_format not in multiple:
        raise AudioError(
            f"{transcript_format} holds the transcript of one file, and {len(inputs)} were given: "
            "--output-dir FOLDER writes one for each, --format jsonl writes all into one"
        )


def _same(output: Path, name: str) -> bool:
    try:
        return os.path.samefile(output, name)
    except (OSError, ValueError):
        return False


class Output:
    """Standard output, or a file that is made when the first transcript begins.

    A file is named NAME.partial until it is complete, except for transcripts of live audio.
    """

    def __init__(self, path: Path | None, live: bool) -> None:
        self._path, self._place = path, path
        if path is not None and not live and (path.is_file() or not path.exists()):
            self._place = partial_path(path)
        self._file: TextIO | None = None

    def open(self) -> TextIO:
        """Returns the output, the same on each call.  Raises AudioError."""
        if self._place is None:
            return sys.stdout
        if self._file is None:
            try:
                self._file = self._place.open("w", encoding="utf-8", errors="replace")
            except OSError as error:
                raise AudioError(f"cannot write {self._path}: {error.strerror}") from error
        return self._file

    def finish(self, complete: bool) -> str:
        """Gives the file its name and returns a sentence about it, which may be empty.

        complete: True if all files were transcribed; otherwise an empty file is removed.
        """
        if self._close(keep_empty=complete) and self._path is not None and self._place is not None:
            if self._place != self._path:
                durable.replace(self._place, self._path)
            return f"wrote {self._path}"
        return ""

    def keep_partial(self) -> str:
        """Leaves the partial file and returns a sentence about it, which may be empty."""
        kept = self._close(keep_empty=False)
        return f"{self._place} has the text until then" if kept else ""

    def _close(self, keep_empty: bool) -> bool:
        """Closes the file; returns True if it is on a disk."""
        if self._file is None or self._place is None:
            return False
        self._file.close()
        if not self._place.is_file():  # a device, a pipe
            return False
        if not keep_empty and self._place.stat().st_size == 0:
            self._place.unlink()
            return False
        return True


def partial_path(target: Path) -> Path:
    """Returns the path of a transcript until it is complete, short enough for file systems."""
    name = f"{target.name}.partial"
    if len(os.fsencode(name)) > _MAX_NAME_BYTES:
        digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
        name = f"{target.name[:16]}~{digest}.partial"
    return target.with_name(name)


def choose_folder(output: Path | None, output_dir: Path | None, multiple: bool) -> Path | None:
    """Returns the folder for one transcript per file, or None for a single output.

    multiple: True for a folder or several jobs; --output may then name a folder.  Raises
    WheatearError.
    """
    if output is not None and output_dir is not None:
        raise WheatearError("give --output FILE or --output-dir FOLDER, not both")
    if output_dir is not None:
        return output_dir
    if output is not None and (multiple or output.is_dir()):
        return output
    if multiple:
        raise AudioError(
            "several files at a time need a folder to write to: give --output-dir FOLDER"
        )
    return None
