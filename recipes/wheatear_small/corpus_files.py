"""One part of a corpus on disk, written so that it can go on after being killed at any moment.

    DIR/<part>.pcm         int16 little-endian, 16 kHz, mono, clips end to end
    DIR/<part>.jsonl       a line for each clip: audio_filepath, offset and duration in seconds,
                           text, lang, speaker, source, licence, job
    DIR/<part>.begun.json  while it is written: from which options and job list
    DIR/<part>.done.json   once it is whole: the same, with what came out

A clip is written before its line.  What a killed run left behind the last whole pair of the two
is cut off by the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from recipes.wheatear_small.licenses import refused
from recipes.wheatear_small.synthesizers import SAMPLE_RATE, Samples
from recipes.wheatear_small.text_filter import reserved
from wheatear.errors import CorpusError


@dataclass(frozen=True)
class Record:
    """From what a part is made, and, once it is whole, what came out."""

    options: dict[str, Any]
    jobs: int
    jobs_sha256: str
    clips: int = 0
    samples: int = 0
    unsaid: dict[str, int] = field(default_factory=dict)
    """Clips that a speaker failed to say or that came out too long."""
    manifest_sha256: str = ""

    @property
    def minutes(self) -> float:
        return self.samples / SAMPLE_RATE / 60


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class PartFiles:
    """Where the files of a part are, and what their records say."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.pcm = folder / f"{name}.pcm"
        self.manifest = folder / f"{name}.jsonl"
        self.begun = folder / f"{name}.begun.json"
        self.done = folder / f"{name}.done.json"

    def remove(self) -> None:
        """Forget what was built."""
        for path in (self.done, self.begun, self.manifest, self.pcm):
            path.unlink(missing_ok=True)

    def finished(self, plan: Record) -> Record | None:
        """The record of the whole part, None if there is work left; refuses another plan's."""
        path = self.done if self.done.exists() else self.begun
        if path.exists():
            found = Record(**json.loads(path.read_text(encoding="utf-8")))
            self._refuse_other(found, plan)
            if path == self.done:
                self._refuse_damaged(found)
                return found
        elif self.manifest.exists():
            raise CorpusError(
                f"{self.manifest} was not written by this command (it has no record beside it); "
                "move it away, or build the part anew with --force"
            )
        return None

    def _refuse_other(self, found: Record, plan: Record) -> None:
        old, new = found.options, json.loads(json.dumps(plan.options))
        changed = [f"{k} was {old.get(k)}, is {new[k]}" for k in new if old.get(k) != new[k]]
        if not changed and found.jobs_sha256 != plan.jobs_sha256:
            changed = ["its texts, its recordings or the voices of this machine are others now"]
        if changed:
            raise CorpusError(
                f"part {self.name} in {self.pcm.parent} was begun with other options "
                f"({'; '.join(changed)}); put them back, take another folder, "
                "or build the part anew with --force"
            )

    def _refuse_damaged(self, found: Record) -> None:
        size = self.pcm.stat().st_size if self.pcm.exists() else 0
        if size != 2 * found.samples or not self.manifest.exists():
            raise CorpusError(
                f"part {self.name} was whole, but {self.pcm} has {size} bytes instead of "
                f"{2 * found.samples}, or its manifest is gone; build it anew with --force"
            )

    def write(self, path: Path, record: Record) -> None:
        """A record, whole or not at all."""
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n")
        new.replace(path)


class Part:
    """Writer of one part of the corpus."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.files = PartFiles(folder, name)
        self._pcm = self.files.pcm.open("ab")
        self._lock()
        self.lines, self.samples = self._keep_whole_clips()
        # A line at a time, after its audio: training may begin while a part is still growing.
        self._manifest = self.files.manifest.open("ab")

    def _lock(self) -> None:
        try:
            fcntl.flock(self._pcm, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._pcm.close()
            raise CorpusError(
                f"{self.files.pcm} is being written by another build; wait for it or end it"
            ) from error

    def _keep_whole_clips(self) -> tuple[list[dict[str, Any]], int]:
        """Cut both files to the clips whose line and audio are whole."""
        self.files.manifest.touch()
        stored = os.fstat(self._pcm.fileno()).st_size // 2
        lines, samples, size = [], 0, 0
        for raw in self.files.manifest.read_bytes().splitlines(keepends=True):
            line = self._parse(raw)
            if line is None:
                break
            end = round((line["offset"] + line["duration"]) * SAMPLE_RATE)
            if end > stored:
                break
            lines.append(line)
            samples, size = end, size + len(raw)
        os.truncate(self.files.manifest, size)
        self._pcm.truncate(2 * samples)
        return lines, samples

    def _parse(self, raw: bytes) -> dict[str, Any] | None:
        """A line of the manifest; None for one that was cut off."""
        if not raw.endswith(b"\n"):
            return None
        try:
            return json.loads(raw)
        except ValueError as error:
            raise CorpusError(
                f"{self.files.manifest} is damaged ({raw[:60]!r}); build the part anew with --force"
            ) from error

    def add(self, samples: Samples, text: str, lang: str, **about: Any) -> None:
        """Append a clip; refuses what evaluation owns and what may not be shipped."""
        if reserved(text, lang):
            raise CorpusError(
                f"part {self.files.name}: evaluation owns the sentence {text!r} (bucket 0 or 1); "
                "leave it out"
            )
        if (licence := refused(about.get("licence", ""))) is not None:
            raise CorpusError(
                f"part {self.files.name}: the licence {licence!r} of {text!r} is not on the list "
                "of recipes.wheatear_small.licenses; leave the source out, or add it if the "
                "weights may be shipped with it"
            )
        line = {
            "audio_filepath": self.files.pcm.name,
            "offset": self.samples / SAMPLE_RATE,
            "duration": len(samples) / SAMPLE_RATE,
            "text": text,
            "lang": lang,
            **about,
        }
        self._pcm.write((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        self._pcm.flush()
        self._manifest.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._manifest.flush()
        self.lines.append(line)
        self.samples += len(samples)

    def close(self) -> None:
        self._pcm.close()
        self._manifest.close()

    def finish(self, plan: Record, unsaid: dict[str, int]) -> Record:
        """Close the files and write down that the part is whole."""
        self.close()
        record = replace(
            plan,
            clips=len(self.lines),
            samples=self.samples,
            unsaid=unsaid,
            manifest_sha256=file_hash(self.files.manifest),
        )
        self.files.write(self.files.done, record)
        self.files.begun.unlink(missing_ok=True)
        return record
