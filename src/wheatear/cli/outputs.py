"""Where transcripts go and in which format, as the options of `wheatear transcribe` have it."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from wheatear.errors import AudioError, WheatearError
from wheatear.formats import FORMATS, Format

_FORMAT_OF: dict[str, Format] = {f".{form}": form for form in FORMATS} | {".ndjson": "jsonl"}
_SEVERAL_IN_A_FILE = ("jsonl", "ctm")
"""Formats that name the recording in every line."""
_SEVERAL_IN_A_ROW = ("txt", "json", *_SEVERAL_IN_A_FILE)
"""Formats that can follow each other on standard output and stay readable."""


def format_of(form: Format | None, output: Path | None) -> Format:
    """The format that was asked for, else the one that the name of the file ends with."""
    if form is not None:
        return form
    return _FORMAT_OF.get(output.suffix.lower(), "txt") if output is not None else "txt"


def check_output(
    output: Path | None, inputs: Sequence[str], form: Format, overwrite: bool = False
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
    """Standard output, or a file that is made when the first transcript begins."""

    def __init__(self, path: Path | None, overwrite: bool = False) -> None:
        self._path, self._overwrite = path, overwrite
        self._file: TextIO | None = None

    def open(self) -> TextIO:
        """The same each time.  Raises AudioError."""
        if self._path is None:
            return sys.stdout
        if self._file is None:
            new = not self._overwrite and not os.path.lexists(self._path)
            try:
                self._file = self._path.open("x" if new else "w", encoding="utf-8")
            except OSError as error:
                raise AudioError(f"cannot write {self._path}: {error.strerror}") from error
        return self._file

    def close(self, whole: bool) -> str:
        """Ends the file and returns a sentence about it, which may be empty.

        whole: whether everything was transcribed; if not, a file without a word is taken away.
        """
        if self._path is None or self._file is None:
            return ""
        self._file.close()
        if not self._path.is_file():
            return ""
        if not whole and self._path.stat().st_size == 0:
            self._path.unlink()
            return ""
        return f"wrote {self._path}" if whole else f"{self._path} has what was transcribed so far"


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
