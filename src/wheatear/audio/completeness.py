"""Compares the decoded audio of a file with the duration that the file states.

If a decoder stops early or fails, the next decoder continues where it stopped. If all decoders do,
a warning reports the missing audio.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from wheatear.audio.containers.recordings import Recording
from wheatear.audio.samples import Block
from wheatear.errors import AudioError, SpoolError

TOLERANCE = 0.05
"""Seconds that a header may promise too much."""
_PADDING = 4096  # bytes; fewer are not reported
_MOST = 4  # sentences of damage


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a decoder that has yielded all its blocks."""

    promised: float | None = None
    """Seconds that it expected, if known."""
    tolerance: float = TOLERANCE
    fault: str | None = None
    """Reason why it stopped before the end."""
    bad_packets: int = 0
    """Packets that it could not decode and skipped."""
    first_bad: float = 0.0
    """Seconds before the first of them."""
    note: str | None = None
    """Further doubts, as the rest of a sentence."""


class Decoder(Protocol):
    """One way to decode a recording."""

    @property
    def duration(self) -> float | None:
        """Seconds that the recording states, if it does."""

    def blocks(self) -> Iterator[Block]:
        """Yields the sound from its beginning."""

    def outcome(self) -> Outcome:
        """Returns the outcome, once all blocks have been taken."""


Opening = Callable[[], Decoder]
"""Opens a decoder. Raises AudioError if it cannot decode the recording."""


@dataclass
class Account:
    """Account of one source, over all its recordings."""

    name: str
    read_seconds: float = 0.0
    missing_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    lost_bytes: int = 0
    """Bytes that belong to no recording."""
    error: AudioError | None = None
    """Reason why a recording could not be opened, from the first decoder."""

    def decode(self, recording: Recording, decoders: Iterable[Opening]) -> Iterator[Block]:
        """Yields a recording by the first decoder that reads all of it."""
        begun, last, error = self.read_seconds, None, None
        pause = recording.pause
        for opening in decoders:
            before = self.read_seconds
            try:
                decoder = opening()
                blocks = _trimmed(decoder.blocks(), recording.skipped, recording.kept)
                for samples, rate in _after(blocks, before - begun):
                    if pause:
                        yield np.zeros((round(pause * rate), samples.shape[1]), np.float32), rate
                        pause = 0.0
                    self.read_seconds += len(samples) / rate
                    yield samples, rate
                outcome = decoder.outcome()
            except SpoolError:  # not a fault of the file
                raise
            except AudioError as refusal:
                error = error or refusal
                continue
            if last is None or self.read_seconds > before or not outcome.fault:
                last = outcome
            missing = self._missing(recording, outcome, begun)
            if not missing and not outcome.fault:
                break
        self.faults += recording.faults
        self.missing_seconds += recording.missing
        if last is None:
            self.error = self.error or error
            self.missing_seconds += recording.expected or 0.0
            if error is not None:
                self.faults.append(f"is damaged from {begun:.1f} s on: {error}")
        else:
            self._settle(recording, last, begun)

    def _missing(self, recording: Recording, outcome: Outcome, begun: float) -> float | None:
        """Seconds that a decoder fell short of the promise; None without a promise."""
        promised = outcome.promised if recording.expected is None else recording.expected
        if promised is None:
            return None
        missing = promised - (self.read_seconds - begun)
        return missing if missing > outcome.tolerance else 0.0

    def _settle(self, recording: Recording, last: Outcome, begun: float) -> None:
        missing = self._missing(recording, last, begun)
        whole = missing == 0.0
        if last.fault and not whole:
            promised = last.promised if recording.expected is None else recording.expected
            of = "" if promised is None else f" of {begun + promised:.1f} s"
            self.faults.append(
                f"is damaged: it can be read up to {self.read_seconds:.1f} s{of} ({last.fault})"
            )
        else:
            self.missing_seconds += missing or 0.0
        if last.bad_packets and not missing and not (whole and last.first_bad == 0):
            self.faults.append(
                f"is damaged: {last.bad_packets} of its packets could not be decoded, the first at "
                f"{begun + last.first_bad:.1f} s; the others were read"
            )
        if last.note:
            self.faults.append(last.note)

    def close(self, report: Callable[[str], None]) -> None:
        """Reports each missing part as a sentence.

        Raises AudioError if sound was expected and none can be read.
        """
        if not self.read_seconds:
            if self.error is not None:
                raise self.error
            if self.missing_seconds or self.faults:
                raise AudioError(
                    f"cannot decode {self.name}: it is cut off or damaged, and nothing of it can "
                    f"be read"
                )
        faults = list(dict.fromkeys(self.faults))
        if self.missing_seconds:
            promised = self.read_seconds + self.missing_seconds
            report(
                f"{self.name} is cut off: it promises {promised:.1f} s, "
                f"{self.read_seconds:.1f} s are there and were read"
            )
            faults = [fault for fault in faults if not fault.startswith("is cut off")]
        for fault in faults[:_MOST]:
            report(f"{self.name} {fault}")
        if len(faults) > _MOST:
            report(f"{self.name} is damaged in {len(faults) - _MOST} places more")
        if self.lost_bytes >= _PADDING:
            report(
                f"{self.name} holds {self.lost_bytes} bytes that are no audio that is known; they "
                f"were not read"
            )


def _trimmed(blocks: Iterator[Block], skipped: int, kept: int | None) -> Iterator[Block]:
    """Removes the padding that an encoder added before and after the sound."""
    for samples, rate in blocks:
        block = samples[skipped:]
        skipped -= len(samples) - len(block)
        if kept is not None:
            block = block[:kept]
            kept -= len(block)
        if len(block):
            yield block, rate


def _after(blocks: Iterator[Block], seconds: float) -> Iterator[Block]:
    """Leaves out the first seconds, which another decoder has yielded."""
    for samples, rate in blocks:
        left_out = min(len(samples), round(seconds * rate))
        seconds -= left_out / rate
        if left_out < len(samples):
            yield samples[left_out:], rate
