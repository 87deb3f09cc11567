"""Files of a corpus part, written so that a killed build can be resumed.

    DIR/<part>.pcm         int16 little-endian, 16 kHz, mono, clips concatenated
    DIR/<part>.jsonl       a line for each clip: audio_filepath, offset and duration in seconds,
                           text, lang, speaker, source, license, number
    DIR/<part>.begun.json  until the part is complete: its options and a hash of its clips
    DIR/<part>.done.json   when it is complete: the same, with the results

A clip is written before its line.  The next build truncates both files to the last complete pair.
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

from recipes.wheatear_small.licenses import unlisted_license
from recipes.wheatear_small.synthesizers import SAMPLE_RATE, Samples
from recipes.wheatear_small.text_filter import is_reserved
from wheatear.errors import CorpusError


@dataclass(frozen=True)
class PartRecord:
    """Options of a part and, when it is complete, its results."""

    options: dict[str, Any]
    planned: int
    planned_sha256: str
    clips: int = 0
    samples: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    """Clips by speaker whose synthesis failed or was too long."""

    @property
    def minutes(self) -> float:
        return self.samples / SAMPLE_RATE / 60


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class PartFiles:
    """Paths of the files of a part, and checks of its records."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.pcm = folder / f"{name}.pcm"
        self.manifest = folder / f"{name}.jsonl"
        self.begun = folder / f"{name}.begun.json"
        self.done = folder / f"{name}.done.json"

    def remove(self) -> None:
        """Removes the part."""
        for path in (self.done, self.begun, self.manifest, self.pcm):
            path.unlink(missing_ok=True)

    def finished(self, plan: PartRecord) -> PartRecord | None:
        """Returns the record of a complete part, or None; refuses a part with other options."""
        path = self.done if self.done.exists() else self.begun
        if path.exists():
            found = PartRecord(**json.loads(path.read_text(encoding="utf-8")))
            self._refuse_other(found, plan)
            if path == self.done:
                self._refuse_damaged(found)
                return found
        elif self.manifest.exists():
            raise CorpusError(
                f"{self.manifest} was not written by this command (it has no record beside it); "
                "move it away, or build the part again with --force"
            )
        return None

    def _refuse_other(self, found: PartRecord, plan: PartRecord) -> None:
        old, new = found.options, json.loads(json.dumps(plan.options))
        changed = [f"{k} was {old.get(k)}, is {new[k]}" for k in new if old.get(k) != new[k]]
        if not changed and found.planned_sha256 != plan.planned_sha256:
            changed = ["its texts, its recordings or the voices of this machine have changed"]
        if changed:
            raise CorpusError(
                f"part {self.name} in {self.pcm.parent} was begun with other options "
                f"({'; '.join(changed)}); restore them, use another folder, "
                "or build the part again with --force"
            )

    def _refuse_damaged(self, found: PartRecord) -> None:
        size = self.pcm.stat().st_size if self.pcm.exists() else 0
        if size != 2 * found.samples or not self.manifest.exists():
            raise CorpusError(
                f"part {self.name} was complete, but {self.pcm} has {size} bytes instead of "
                f"{2 * found.samples}, or its manifest is missing; build it again with --force"
            )

    def write(self, path: Path, record: PartRecord) -> None:
        """Writes a record atomically."""
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n")
        new.replace(path)


class PartWriter:
    """Writes the clips of a part."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.files = PartFiles(folder, name)
        self._pcm = self.files.pcm.open("ab")
        self._lock()
        self.lines, self.samples = self._keep_complete_clips()
        # Lines follow their audio, so that training can begin before the part is complete.
        self._manifest = self.files.manifest.open("ab")

    def _lock(self) -> None:
        try:
            fcntl.flock(self._pcm, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._pcm.close()
            raise CorpusError(
                f"{self.files.pcm} is being written by another build; wait for it or stop it"
            ) from error

    def _keep_complete_clips(self) -> tuple[list[dict[str, Any]], int]:
        """Truncates both files to the clips whose line and audio are complete."""
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
        """Parses a line of the manifest; returns None for one that was cut off."""
        if not raw.endswith(b"\n"):
            return None
        try:
            return json.loads(raw)
        except ValueError as error:
            raise CorpusError(
                f"{self.files.manifest} is damaged ({raw[:60]!r}); "
                "build the part again with --force"
            ) from error

    def add(self, samples: Samples, text: str, lang: str, **about: Any) -> None:
        """Appends a clip; refuses reserved sentences and unlisted licenses."""
        if is_reserved(text, lang):
            raise CorpusError(
                f"part {self.files.name}: the sentence {text!r} is reserved for evaluation "
                "(bucket 0 or 1); leave it out"
            )
        if (license := unlisted_license(about.get("license", ""))) is not None:
            raise CorpusError(
                f"part {self.files.name}: the license {license!r} of {text!r} is not on the list "
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

    def finish(self, plan: PartRecord, failed: dict[str, int]) -> PartRecord:
        """Closes the files and writes the record of the complete part."""
        self.close()
        record = replace(
            plan,
            clips=len(self.lines),
            samples=self.samples,
            failed=failed,
        )
        self.files.write(self.files.done, record)
        self.files.begun.unlink(missing_ok=True)
        return record
