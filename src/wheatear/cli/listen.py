"""`wheatear listen`: live captions from a microphone."""

import queue
import signal
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter
from rich.console import Console
from rich.live import Live
from rich.text import Text

import wheatear
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.pcm import HIGHEST_LIVE_RATE, PcmDecoder
from wheatear.audio.samples import Samples
from wheatear.cli.extras import requires_extra
from wheatear.cli.messages import print_error, print_note
from wheatear.cli.options import TranscriptionOptions
from wheatear.cli.output_options import Output, check_output, choose_format
from wheatear.cli.signals import interrupts
from wheatear.common.terminal_text import printable
from wheatear.errors import AudioError, MissingExtraError
from wheatear.transcript.collector import TranscriptCollector
from wheatear.transcript.formatting import TextFormatter
from wheatear.transcript.results import Event, Final
from wheatear.transcript.writers import TranscriptFormat, Writer, create_writer

_BLOCK_S = 0.08
_METER_FLOOR_DB = -60.0  # left end of the meter, dBFS
_METER = 12


def listen(
    *,
    model: str | None = None,
    options: TranscriptionOptions = TranscriptionOptions(),  # noqa: B008  (frozen)
    device: str | None = None,
    list_devices: Annotated[bool, Parameter(negative="")] = False,
    output: Path | None = None,
    format: TranscriptFormat | None = None,  # noqa: A002  (the option is called --format)
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    threads: int | None = None,
) -> int:
    """Show captions of speech from a microphone; Ctrl-C stops.

    On a terminal the last line shows a level meter and the current turn. Each finished turn is
    printed as one line.

    Parameters
    ----------
    model
        Model folder or name; by default the shipped model.
    device
        Number or part of the name of a microphone; by default the system's.
    list_devices
        List the microphones and exit.
    output
        File for the transcript, written turn by turn.
    format
        Format of the file, as in "wheatear transcribe"; by default its suffix.
    overwrite
        Overwrite an existing file.
    threads
        Number of threads.
    """
    sound = _sounddevice()
    if list_devices:
        for number, info in _microphones(sound):
            name = printable(info["name"])
            print(f"{number:3}  {name}, {info['default_samplerate']:.0f} Hz")
        return 0
    transcript_format = choose_format(format, output)
    check_output(output, (), transcript_format, overwrite)
    chosen = _choose_microphone(sound, device)
    recognizer = wheatear.load(model, threads=threads)
    stream_options = options.stream_options(recognizer)
    stream = recognizer.stream(stream_options)
    late = TextFormatter(stream_options.text_format, stream_options.phrases).changes_finals
    file = Output(output, live=True)
    files = (
        []
        if output is None
        else [create_writer(transcript_format, file.open(), "microphone", partials=not late)]
    )
    try:
        with interrupts.deferred(), _Captions(files, late) as captions:
            try:
                for block in _microphone_blocks(sound, chosen):
                    captions.level(block)
                    captions.show(stream.push(block))
            except KeyboardInterrupt:
                pass  # the usual end
            finally:
                stream.finish()
                captions.show(stream.last_events)
    finally:
        print_note(file.finish(complete=True))
    return 0 if interrupts.number in (None, signal.SIGINT) else interrupts.code


def _sounddevice() -> Any:
    try:
        with requires_extra("mic", "listening"):
            return import_module("sounddevice")
    except OSError as error:  # its library is missing
        raise MissingExtraError(
            "listening needs PortAudio, which is not installed: apt-get install libportaudio2, "
            "or brew install portaudio"
        ) from error


def _microphones(sound: Any) -> list[tuple[int, dict[str, Any]]]:
    devices = enumerate(sound.query_devices())
    return [(number, info) for number, info in devices if info["max_input_channels"] > 0]


def _choose_microphone(sound: Any, device: str | None) -> int | None:
    """Returns the number of a microphone; None for the system's choice.  Raises AudioError."""
    present = _microphones(sound)
    if not present:
        raise AudioError("there is no microphone; 'wheatear transcribe -' takes piped audio")
    if device is None:
        return None
    if device.isdecimal():
        found = [number for number, _ in present if number == int(device)]
    else:
        found = [number for number, info in present if device.lower() in info["name"].lower()]
    if len(found) != 1:
        names = ", ".join(f"{number} ({info['name']})" for number, info in present)
        what = "no microphone" if not found else "more than one microphone"
        raise AudioError(f"{what} is called {device!r}; there are {names}")
    return found[0]


def _microphone_blocks(sound: Any, device: int | None) -> Iterator[Samples]:
    """Yields blocks at 16 kHz, mono, until the microphone is removed."""
    blocks: queue.SimpleQueue[Samples | None] = queue.SimpleQueue()
    lost = False

    def callback(data: Any, _count: int, _time: Any, status: Any) -> None:
        nonlocal lost
        if status and not lost:
            lost = True
            print_error(f"the microphone reports: {status}; some speech may be lost")
        blocks.put(np.array(data[:, 0], np.float32))

    try:
        rate = SAMPLE_RATE
        try:
            sound.check_input_settings(device=device, channels=1, samplerate=rate)
        except sound.PortAudioError:
            own = int(sound.query_devices(device, "input")["default_samplerate"])
            rate = min(own, HIGHEST_LIVE_RATE)  # faster devices also record at this rate
        pcm = PcmDecoder(rate, "f32")
        with sound.InputStream(
            device=device, channels=1, samplerate=rate, dtype="float32",
            blocksize=round(rate * _BLOCK_S), callback=callback,
            finished_callback=lambda: blocks.put(None),
        ):  # fmt: skip
            while (block := _next(blocks)) is not None:
                yield pcm.push(block.tobytes())
            yield pcm.finish()
    except sound.PortAudioError as error:
        raise AudioError(f"the microphone cannot be used: {error}") from error


def _next(blocks: queue.SimpleQueue[Samples | None]) -> Samples | None:
    """Waits for a block; signals interrupt only the wait, not the use of a block."""
    with interrupts.interruptible():
        return blocks.get()


class _Captions:
    """Captions on standard output, live on a terminal, and in files."""

    def __init__(self, files: list[Writer], late: bool) -> None:
        """Takes writers of files; late: True if finals may differ from partials."""
        self._console = Console()
        self._live = Live(console=self._console, transient=True, refresh_per_second=12)
        self._shown = self._console.is_terminal
        if not self._shown:
            files = [*files, create_writer("txt", sys.stdout, "", partials=not late)]
        self._collector = TranscriptCollector(*files)
        self._level = _METER_FLOOR_DB

    def __enter__(self) -> "_Captions":
        if self._shown:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()
        self._collector.close(self._collector.end)

    def level(self, block: Samples) -> None:
        """Shows the level of a block; the meter falls slowly."""
        peak = float(np.abs(block).max(initial=0.0))
        self._level = max(self._level - 3.0, 20 * np.log10(peak + 1e-6))
        self._draw()

    def show(self, events: Iterable[Event]) -> None:
        """Writes events and redraws the last line."""
        for event in events:
            self._collector.add(event)
            if self._shown and isinstance(event, Final) and event.text.strip():
                self._live.console.print(Text(event.text.strip()))
        self._draw()

    def _draw(self) -> None:
        if not self._shown:
            return
        full = min(1.0, max(0.0, 1 - self._level / _METER_FLOOR_DB))
        bars = round(_METER * full)
        width = max(10, self._console.width - _METER - 4)
        full_bar, empty_bar = "▮▯" if self._console.encoding.startswith("utf") else "#-"
        meter = full_bar * bars + empty_bar * (_METER - bars)
        line = Text(f"{meter}  ", style="red" if full > 0.98 else "dim")
        text = self._collector.partial.text if self._collector.partial else ""
        self._live.update(line.append(text[-width:], style="not dim"))
