"""`wheatear transcribe`: files, or standard input, to text or JSON as it comes."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TextIO

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import wheatear
from wheatear.audio import AudioReader, RawFormat, open_audio
from wheatear.cli import BAD_INPUT, INTERRUPTED, complain
from wheatear.errors import AudioError, WheatearError
from wheatear.languages import AUTO
from wheatear.recognizer import Recognizer
from wheatear.results import Event, Final, Partial, Transcript, Turn


def transcribe(
    files: Annotated[tuple[str, ...], Parameter(negative="", allow_leading_hyphen=True)],
    /,
    *,
    model: str | None = None,
    language: str = AUTO,
    latency: int | None = None,
    format: Literal["txt", "json"] = "txt",  # noqa: A002  (the option is called --format)
    output: Path | None = None,
    threads: int | None = None,
    raw: Annotated[bool, Parameter(negative="")] = False,
    rate: int | None = None,
    channels: int | None = None,
    encoding: Literal["s16", "f32"] | None = None,
) -> int:
    """Transcribe audio files; "-" is standard input.

    Text appears as it is recognised. Files may be wav, flac, ogg, opus or mp3, of any sample rate
    and number of channels. Standard input may be such a file or live raw PCM (16 kHz mono 16-bit
    unless said otherwise): arecord -f S16_LE -r 16000 -c 1 -t raw | wheatear transcribe -

    Parameters
    ----------
    files
        Audio files, or "-".
    model
        Bundle folder or model name; the model that comes with Wheatear if left out.
    language
        Locale such as en-US, or auto.
    latency
        Milliseconds of each chunk: less is quicker, more is more accurate. The model's default
        if left out; "wheatear info" lists what a model can do.
    format
        txt, or json: one object a file and line, with tokens and times.
    output
        File to write to, or a folder for one file each; standard output if left out.
    threads
        Processors to use.
    raw
        The input is PCM without a header; so does any of the next three options say.
    rate
        Sample rate of raw input; 16000 if left out.
    channels
        Channels of raw input; 1 if left out.
    encoding
        Samples of raw input, little-endian: 16-bit integers (if left out) or 32-bit floats.
    """
    for file in files:  # "-" being a file, whatever begins with one arrives here
        if file.startswith("-") and file != "-" and not Path(file).exists():
            raise WheatearError(f"unknown option {file}; see 'wheatear transcribe --help'")
    if threads is not None and threads < 1:
        raise WheatearError(f"--threads must be 1 or more, not {threads}")
    raw_format = None
    if raw or rate is not None or channels is not None or encoding is not None:
        rate = RawFormat.rate if rate is None else rate
        channels = RawFormat.channels if channels is None else channels
        raw_format = RawFormat(rate, channels, encoding or RawFormat.encoding)
    recognizer = wheatear.load(model, threads=threads)
    recognizer.stream(language=language, latency_ms=latency)  # complain before reading anything
    failed = False
    outputs = _Outputs(output, format, files)
    for file in files:
        try:
            with (
                closing(open_audio(file, raw_format)) as audio,
                outputs.open(file) as out,
            ):
                writer = _Writer(out, file, format, heading=len(files) > 1)
                code = _transcribe(recognizer, audio, writer, language, latency)
            if code == INTERRUPTED:
                return code
        except WheatearError as error:
            complain(error)
            failed = True
    return BAD_INPUT if failed else 0


def _transcribe(
    recognizer: Recognizer,
    audio: AudioReader,
    writer: "_Writer",
    language: str,
    latency: int | None,
) -> int:
    """Transcribes one file into `writer`; what there is of it is written whatever happens."""
    with _Progress(writer, audio.duration) as progress:
        try:
            transcript = recognizer.transcribe(
                audio, language=language, latency_ms=latency, on_event=progress.show
            )
        except BaseException as error:
            progress.stop()
            writer.close(progress.so_far(), complete=False)
            if isinstance(error, KeyboardInterrupt):
                return INTERRUPTED
            raise
    writer.close(transcript, complete=True)
    return 0


class _Writer:
    """Writes one file's transcript: text grows as it comes, JSON is written at the end."""

    def __init__(self, out: TextIO, file: str, format: str, *, heading: bool) -> None:  # noqa: A002
        self._out, self._file, self._json = out, file, format == "json"
        self._written = 0
        self.on_terminal = not self._json and out.isatty()
        if heading and not self._json and out is sys.stdout:
            out.write(f"== {file} ==\n")

    def grow(self, text: str, length: int | None = None) -> None:
        """Writes what is new in a text that only ever grows; `length` of it is the text itself."""
        if not self._json:
            self._out.write(text[self._written :])
            self._out.flush()
            self._written = len(text) if length is None else length

    def close(self, transcript: Transcript, *, complete: bool) -> None:
        if self._json:
            data: dict[str, Any] = {"file": self._file, "complete": complete, **asdict(transcript)}
            self._out.write(json.dumps(data, ensure_ascii=False) + "\n")
        else:
            self.grow(transcript.text)
            self._out.write("\n")
        self._out.flush()


class _Progress:
    """A bar on the terminal for files of known length, and the text so far.

    Where the text goes to the same terminal, whole lines of it appear above the bar.
    """

    def __init__(self, writer: _Writer, duration: float | None) -> None:
        self._writer = writer
        self._duration = duration
        self._text = ""
        self._finals: list[Final] = []
        self._partial: Partial | None = None
        """Of the turn that has no final yet."""
        self._line_start = 0
        console = Console(stderr=True)
        shown = duration is not None and sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not shown,
        )
        self._width = max(20, console.width - 1) if shown and writer.on_terminal else None

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("", total=self._duration)
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Takes the bar away."""
        self._bar.stop()

    def show(self, event: Event) -> None:
        if isinstance(event, Turn):
            return
        if isinstance(event, Final):
            self._finals.append(event)
            self._partial = None
        else:
            self._partial = event
            self._text += "".join(token.text for token in event.tokens)
        self._bar.update(self._task, completed=event.end)
        if self._width is None:
            self._writer.grow(self._text)
        else:
            self._show_lines(self._text, self._width)

    def _show_lines(self, text: str, width: int) -> None:
        while len(text) - self._line_start > width:
            end = text.rfind(" ", self._line_start, self._line_start + width + 1)
            end = self._line_start + width if end < 0 else end + 1
            self._bar.stop()  # steps aside for as long as it takes to print a line
            self._writer.grow(text[:end] + "\n", end)
            self._line_start = end
            self._bar.start()

    def so_far(self) -> Transcript:
        """The transcript of what has been recognised until now."""
        told = [*self._finals, *([self._partial] if self._partial else [])]
        if not told:
            return Transcript("", None, 0.0, ())
        return Transcript(
            self._text,
            told[-1].language,
            told[-1].end,
            tuple(token for part in self._finals for token in part.tokens),
            tuple(word for part in told for word in part.words),
            tuple(segment for final in self._finals for segment in final.segments),
        )


class _Outputs:
    """Where transcripts go: standard output, one file after each other, or a file each in a
    folder.
    """

    def __init__(self, output: Path | None, format: str, inputs: tuple[str, ...]) -> None:  # noqa: A002
        self._output, self._format = output, format
        self._begun: set[Path] = set()
        if output is not None and output.is_file():
            for file in inputs:
                if Path(file).exists() and output.samefile(file):
                    raise AudioError(f"{output} is one of the files to transcribe")

    @contextmanager
    def open(self, file: str) -> Iterator[TextIO]:
        if self._output is None:
            yield sys.stdout
            return
        path = self._output
        if path.is_dir():
            path = self._in_folder(path, "stdin" if file == "-" else Path(file).name)
        try:
            out = path.open("a" if path in self._begun else "w", encoding="utf-8")
        except OSError as error:
            raise AudioError(f"cannot write {path}: {error.strerror}") from error
        self._begun.add(path)
        with out:
            yield out

    def _in_folder(self, folder: Path, name: str) -> Path:
        """A file of its own for each input, also where two inputs have the same name."""
        path, number = folder / f"{name}.{self._format}", 1
        while path in self._begun:
            number += 1
            path = folder / f"{name}.{number}.{self._format}"
        return path
