"""`wheatear listen`: captions from a microphone, as they are said."""

import queue
import signal
import sys
from collections.abc import Iterator
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
from wheatear.cli import complain, note
from wheatear.cli.options import Asked
from wheatear.cli.output_options import Output, check_output, format_of
from wheatear.cli.signals import interrupts
from wheatear.common.terminal_text import printable
from wheatear.errors import AudioError, MissingExtraError
from wheatear.transcript.collector import TranscriptCollector
from wheatear.transcript.formatting import TextFormatter
from wheatear.transcript.results import Event, Final
from wheatear.transcript.writers import TranscriptFormat, Writer, create_writer

_BLOCK = 0.08  # seconds
_QUIET = -60.0  # dBFS, the left end of the meter
_METER = 12


def listen(
    *,
    model: str | None = None,
    asked: Asked = Asked(),  # noqa: B008  (frozen)
    device: str | None = None,
    list_devices: Annotated[bool, Parameter(negative="")] = False,
    output: Path | None = None,
    format: TranscriptFormat | None = None,  # noqa: A002  (the option is called --format)
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    threads: int | None = None,
) -> int:
    """Show captions of what a microphone hears; Ctrl-C ends it.

    On a terminal the turn that is being said grows in the last line, beside a level meter; each
    turn that is over becomes a line of its own.

    Parameters
    ----------
    model
        Bundle folder or model name; the model that comes with Wheatear if left out.
    device
        Number or part of the name of a microphone; the system's own choice if left out.
    list_devices
        Show the microphones and end.
    output
        File to write as well, turn by turn.
    format
        Of that file, as in "wheatear transcribe"; by its name if left out.
    overwrite
        Replace that file if it exists.
    threads
        Processors to use.
    """
    sound = _sounddevice()
    if list_devices:
        for number, about in _microphones(sound):
            name = printable(about["name"])
            print(f"{number:3}  {name}, {about['default_samplerate']:.0f} Hz")
        return 0
    form = format_of(format, output)
    check_output(output, (), form, overwrite)
    chosen = _choose(sound, device)
    recognizer = wheatear.load(model, threads=threads)
    options = asked.options(recognizer)
    stream = recognizer.stream(options)
    late = TextFormatter(options.text_format, options.phrases).changes_finals
    file = Output(output, live=True)
    files = (
        []
        if output is None
        else [create_writer(form, file.open(), "microphone", partials=not late)]
    )
    try:
        with interrupts.held(), _Captions(files, late) as captions:
            try:
                for block in _heard(sound, chosen):
                    captions.level(block)
                    captions.show(stream.push(block))
            except KeyboardInterrupt:
                pass  # that is how it ends
            finally:
                stream.finish()
                captions.show(stream.last_events)
    finally:
        note(file.finish(whole=True))
    return 0 if interrupts.number in (None, signal.SIGINT) else interrupts.code


# -- the microphone


def _sounddevice() -> Any:
    try:
        return import_module("sounddevice")  # an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"listening needs {error.name}: pip install 'wheatear[mic]'"
        ) from error
    except OSError as error:  # its library is not there
        raise MissingExtraError(
            "listening needs PortAudio, which is not installed: apt-get install libportaudio2, "
            "or brew install portaudio"
        ) from error


def _microphones(sound: Any) -> list[tuple[int, dict[str, Any]]]:
    devices = enumerate(sound.query_devices())
    return [(number, about) for number, about in devices if about["max_input_channels"] > 0]


def _choose(sound: Any, device: str | None) -> int | None:
    """The number of a microphone; None for the system's own choice.  Raises AudioError."""
    there = _microphones(sound)
    if not there:
        raise AudioError("there is no microphone here; 'wheatear transcribe -' takes piped audio")
    if device is None:
        return None
    if device.isdecimal():
        found = [number for number, _ in there if number == int(device)]
    else:
        found = [number for number, about in there if device.lower() in about["name"].lower()]
    if len(found) != 1:
        names = ", ".join(f"{number} ({about['name']})" for number, about in there)
        what = "no microphone" if not found else "more than one microphone"
        raise AudioError(f"{what} is called {device!r}; there are {names}")
    return found[0]


def _heard(sound: Any, device: int | None) -> Iterator[Samples]:
    """Blocks of 16 kHz mono, for as long as the microphone is there."""
    blocks: queue.SimpleQueue[Samples | None] = queue.SimpleQueue()
    lost = False

    def take(data: Any, _count: int, _time: Any, status: Any) -> None:
        nonlocal lost
        if status and not lost:
            lost = True
            complain(f"the microphone says: {status}; some of what was said may be lost")
        blocks.put(np.array(data[:, 0], np.float32))

    try:
        rate = SAMPLE_RATE
        try:
            sound.check_input_settings(device=device, channels=1, samplerate=rate)
        except sound.PortAudioError:
            own = int(sound.query_devices(device, "input")["default_samplerate"])
            rate = min(own, HIGHEST_LIVE_RATE)  # what records faster also records at this
        pcm = PcmDecoder(rate, "f32")
        with sound.InputStream(
            device=device, channels=1, samplerate=rate, dtype="float32",
            blocksize=round(rate * _BLOCK), callback=take,
            finished_callback=lambda: blocks.put(None),
        ):  # fmt: skip
            while (block := _next(blocks)) is not None:
                yield pcm.push(block.tobytes())
            yield pcm.finish()
    except sound.PortAudioError as error:
        raise AudioError(f"the microphone cannot be used: {error}") from error


def _next(blocks: queue.SimpleQueue[Samples | None]) -> Samples | None:
    """Waits for a block; a signal ends the waiting, and not what is done with a block."""
    with interrupts.waiting():
        return blocks.get()


# -- what is shown


class _Captions:
    """The captions on standard output, live where that is a terminal, and in files."""

    def __init__(self, files: list[Writer], late: bool) -> None:
        """late: whether finals may say other words than partials."""
        self._console = Console()
        self._live = Live(console=self._console, transient=True, refresh_per_second=12)
        self._shown = self._console.is_terminal
        if not self._shown:
            files = [*files, create_writer("txt", sys.stdout, "", partials=not late)]
        self._collector = TranscriptCollector(*files)
        self._level = _QUIET

    def __enter__(self) -> "_Captions":
        if self._shown:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()
        self._collector.close(self._collector.end)

    def level(self, block: Samples) -> None:
        """Shows how loud a block is; the meter falls slowly."""
        peak = float(np.abs(block).max(initial=0.0))
        self._level = max(self._level - 3.0, 20 * np.log10(peak + 1e-6))
        self._draw()

    def show(self, events: list[Event] | tuple[Event, ...]) -> None:
        for event in events:
            self._collector.add(event)
            if self._shown and isinstance(event, Final) and event.text.strip():
                self._live.console.print(Text(event.text.strip()))
        self._draw()

    def _draw(self) -> None:
        if not self._shown:
            return
        full = min(1.0, max(0.0, 1 - self._level / _QUIET))
        bars = round(_METER * full)
        room = max(10, self._console.width - _METER - 4)
        full_bar, empty_bar = "▮▯" if self._console.encoding.startswith("utf") else "#-"
        meter = full_bar * bars + empty_bar * (_METER - bars)
        line = Text(f"{meter}  ", style="red" if full > 0.98 else "dim")
        text = self._collector.partial.text if self._collector.partial else ""
        self._live.update(line.append(text[-room:], style="not dim"))
