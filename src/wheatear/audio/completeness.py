"""Accounts of what was decoded: is it all that the file holds, and if not, what is missing.

    promised    seconds by the header, the frames, or the positions of pages
    read        seconds that came out of a decoder
    faults      what decoders or the structure of the file complained of
    lost        bytes that belong to no recording

Where a decoder falls short of the promise, or gives up, the next one takes over where it stopped;
where all of them do, a sentence reports it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from wheatear.audio.samples import Samples
from wheatear.errors import AudioError, SpoolError

Block = tuple[Samples, int]
"""Samples [n, channels] and their rate."""

TOLERANCE = 0.05  # seconds that a header may promise too much
_PADDING = 4096  # bytes; fewer are not worth a word
_MOST = 4  # sentences of damage


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end that a decoder came to."""

    promised: float | None = None
    """Seconds that it expected, where it knows."""
    tolerance: float = TOLERANCE
    fault: str | None = None
    """Why it stopped before the end."""
    bad: int = 0
    """Pieces that it could not decode and passed over."""
    first_bad: float = 0.0
    note: str | None = None
    """Further doubts, as the rest of a sentence."""


class Decoder(Protocol):
    """One way to decode a recording."""

    def blocks(self) -> Iterator[Block]:
        """Yields the sound from its beginning."""

    def outcome(self) -> Outcome:
        """The outcome, once all blocks have been taken."""


Opening = Callable[[], Decoder]
"""Opens a decoder.  Raises AudioError where the recording is nothing for it."""


@dataclass
class Account:
    """The account of one source, over all its recordings."""

    name: str
    read: float = 0.0
    missing: float = 0.0
    faults: list[str] = field(default_factory=list)
    lost: int = 0
    error: AudioError | None = None
    """Why a recording could not be opened, of the first decoder that was tried."""

    def decoded(
        self, decoders: Iterable[Opening], promised: float | None, faults: Iterable[str] = ()
    ) -> Iterator[Block]:
        """Yields a recording by the first decoder that reads all of it.

        Where one falls short of the promise, or gives up, the next one goes on from there.
        promised: seconds that are there to be decoded; None where the decoders know better.
        """
        begun, last, error = self.read, None, None
        for opening in decoders:
            before = self.read
            try:
                decoder = opening()
                for samples, rate in _after(decoder.blocks(), before - begun):
                    self.read += len(samples) / rate
                    yield samples, rate
                outcome = decoder.outcome()
            except SpoolError:  # no fault of the file
                raise
            except AudioError as refusal:
                error = error or refusal
                continue
            if last is None or self.read > before or not outcome.fault:
                last = outcome
            expected = promised if promised is not None else outcome.promised
            short = expected is not None and expected - (self.read - begun) > outcome.tolerance
            if not short and not outcome.fault:
                break
        self.faults += faults
        self._settle(last, error, promised, begun)

    def _settle(
        self, last: Outcome | None, error: AudioError | None, promised: float | None, begun: float
    ) -> None:
        if last is None:
            self.error = self.error or error
            self.missing += promised or 0.0
            if error is not None:
                self.faults.append(f"is damaged from {begun:.1f} s on: {error}")
            return
        expected = promised if promised is not None else last.promised
        missing = 0.0 if expected is None else expected - (self.read - begun)
        if missing <= last.tolerance:
            missing = 0.0
        whole = expected is not None and not missing
        if last.fault and not whole:
            of = f" of {begun + expected:.1f} s" if expected is not None else ""
            self.faults.append(
                f"is damaged: it can be read up to {self.read:.1f} s{of} ({last.fault})"
            )
        else:
            self.missing += missing
        if last.bad and not missing and not (whole and last.first_bad == 0):
            self.faults.append(
                f"is damaged: {last.bad} of its packets could not be decoded, the first at "
                f"{begun + last.first_bad:.1f} s; the others were read"
            )
        if last.note:
            self.faults.append(last.note)

    def close(self, report: Callable[[str], None]) -> None:
        """Reports what is missing, a sentence each.  Raises AudioError if there should be sound and
        nothing can be read.
        """
        if not self.read:
            if self.error is not None:
                raise self.error
            if self.missing or self.faults:
                raise AudioError(
                    f"cannot decode {self.name}: it is cut off or damaged, and nothing of it can "
                    f"be read"
                )
        faults = list(dict.fromkeys(self.faults))
        if self.missing:
            report(
                f"{self.name} is cut off: it promises {self.read + self.missing:.1f} s, "
                f"{self.read:.1f} s are there and were read"
            )
            faults = [fault for fault in faults if not fault.startswith("is cut off")]
        for fault in faults[:_MOST]:
            report(f"{self.name} {fault}")
        if len(faults) > _MOST:
            report(f"{self.name} is damaged in {len(faults) - _MOST} places more")
        if self.lost >= _PADDING:
            report(
                f"{self.name} holds {self.lost} bytes that are no audio that is known; they were "
                f"not read"
            )


def _after(blocks: Iterator[Block], seconds: float) -> Iterator[Block]:
    """Leaves out the first seconds, which another decoder has yielded."""
    for samples, rate in blocks:
        left_out = min(len(samples), round(seconds * rate))
        seconds -= left_out / rate
        if left_out < len(samples):
            yield samples[left_out:], rate
