"""`wheatear transcribe`: files, or standard input, to text, subtitles or JSON as it comes."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self, TextIO

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import wheatear
from wheatear.audio import AudioReader, RawFormat, open_audio
from wheatear.cli import BAD_INPUT, INTERRUPTED, complain
from wheatear.cli.asked import Asked
from wheatear.cli.many import Batch, jobs_of, work_off
from wheatear.cli.task import Task, spaced
from wheatear.errors import AudioError, WheatearError
from wheatear.formats import CueRules, Format, Writer
from wheatear.results import Event, Final, Partial, Segment, Transcript, Turn
from wheatear.sessions import default_threads


def transcribe(
    files: Annotated[tuple[str, ...], Parameter(negative="", allow_leading_hyphen=True)],
    /,
    *,
    model: str | None = None,
    asked: Asked = Asked(),  # noqa: B008  (frozen)
    format: Format = "txt",  # noqa: A002  (the option is called --format)
    output: Path | None = None,
    line_letters: int = 42,
    lines: int = 2,
    letters_per_second: float = 17.0,
    rolling: Annotated[bool, Parameter(negative="")] = False,
    channels_apart: Annotated[bool, Parameter(negative="")] = False,
    recursive: Annotated[bool, Parameter(negative="")] = False,
    jobs: int = 1,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    threads: int | None = None,
    raw: Annotated[bool, Parameter(negative="")] = False,
    rate: int | None = None,
    channels: int | None = None,
    encoding: Literal["s16", "f32"] | None = None,
) -> int:
    """Transcribe audio files, or folders of them; "-" is standard input.

    Text appears as it is recognised. Files may be of any sample rate and have up to 64 channels;
    of a video, the first sound track is taken. Standard input may be a file or live raw PCM
    (16 kHz mono 16-bit unless said otherwise):
    arecord -f S16_LE -r 16000 -c 1 -t raw | wheatear transcribe -
    A folder, or --jobs, needs --output FOLDER. What is done is not done again: the same command
    goes on where it was stopped.

    Parameters
    ----------
    files
        Audio files, folders, or "-": wav, flac, ogg, opus, mp3, and with the extra "media" also
        m4a, webm, aac, wma, and the sound of videos.
    model
        Bundle folder or model name; the model that comes with Wheatear if left out.
    format
        txt has a line for each turn, json all there is; jsonl is an object for each turn,
        verbose_json OpenAI's; srt and vtt are subtitles; tsv has segments, ctm words. All are
        written as the audio goes.
    output
        File to write to, or a folder for one file each; standard output if left out.
    line_letters
        Longest line of a subtitle.
    lines
        Lines of a subtitle.
    letters_per_second
        Reading speed that subtitles stay on for.
    rolling
        Subtitles whose lines move up one by one.
    channels_apart
        Transcribe each channel by itself, one speaker each, and merge them by time.
    recursive
        Look into the folders of a folder as well.
    jobs
        Files at a time.
    overwrite
        Do again what is done.
    threads
        Processors to use; of several jobs, for each of them.
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
    described = raw or (rate, channels, encoding) != (None, None, None)
    raw_format = _raw_format(rate, channels, encoding) if described else None
    if jobs < 1:
        raise WheatearError(f"--jobs must be 1 or more, not {jobs}")
    try:
        cues = CueRules(line_letters, lines, letters_per_second, rolling)
    except ValueError as error:
        raise WheatearError(str(error)) from error
    many = jobs > 1 or any(Path(file).is_dir() for file in files)
    if many and raw_format is not None:
        raise WheatearError("raw input is taken one file at a time, not as a folder or by --jobs")
    listed = jobs_of(files, output, format, recursive) if many else []
    if threads is None and jobs > 1:
        threads = max(1, default_threads() // jobs)
    recognizer = wheatear.load(model, threads=threads)
    options = asked.options(recognizer)
    recognizer.stream(**options)  # complain before reading anything
    task = Task(recognizer, options, format, cues, channels_apart)
    if many:
        results = work_off(Batch(task), listed, jobs, overwrite)
        return BAD_INPUT if any(result.fault for result in results) else 0
    outputs = _Outputs(output, format, files)
    return _one_by_one(task, files, raw_format, outputs)


def _raw_format(
    rate: int | None, channels: int | None, encoding: Literal["s16", "f32"] | None
) -> RawFormat:
    """What was said of raw input, and the usual for what was not."""
    return RawFormat(
        RawFormat.rate if rate is None else rate,
        RawFormat.channels if channels is None else channels,
        encoding or RawFormat.encoding,
    )


def _one_by_one(
    task: Task, files: Sequence[str], raw_format: RawFormat | None, outputs: "_Outputs"
) -> int:
    failed = False
    for file in files:
        try:
            with (
                closing(open_audio(file, raw_format, task.apart)) as audio,
                outputs.open(file) as out,
            ):
                if len(files) > 1 and task.form == "txt" and out is sys.stdout:
                    out.write(f"== {file} ==\n")
                code = _transcribe(task, audio, task.writer(out, file))
            if code == INTERRUPTED:
                return code
        except WheatearError as error:
            complain(error)
            failed = True
    return BAD_INPUT if failed else 0


def _transcribe(task: Task, audio: AudioReader, writer: Writer) -> int:
    """Transcribes one file into `writer`; what there is of it is written whatever happens."""
    with _Progress(writer, audio.duration) as progress:
        try:
            duration = task.run(audio, progress.show)
        except BaseException as error:
            progress.stop()
            progress.rescue()
            writer.close(progress.so_far(), complete=False)
            if isinstance(error, KeyboardInterrupt):
                return INTERRUPTED
            raise
    whole = replace(progress.so_far(), duration=duration, warnings=audio.warnings)
    writer.close(whole, complete=True)
    return 0


class _Progress:
    """A bar on the terminal for files of known length, and what has been said so far.

    Where the text goes to the same terminal, it appears above the bar, turn by turn.
    """

    def __init__(self, writer: Writer, duration: float | None) -> None:
        self._writer = writer
        self._duration = duration
        self._text: list[str] = []
        self._partial: Partial | None = None
        """Of the turn that has no final yet."""
        self._language: str | None = None
        self._end = 0.0
        shown = duration is not None and sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not shown,
        )
        self._together = shown and writer.out.isatty()

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
        if isinstance(event, Final):
            self._text.append(spaced(event, bool(self._text)))
        if not isinstance(event, Turn):
            self._partial = event if isinstance(event, Partial) else None
            self._language, self._end = event.language, event.end
            self._bar.update(self._task, completed=event.end)
        if not self._together:
            self._writer.event(event)
        elif isinstance(event, Final):
            self._bar.stop()  # steps aside for as long as it takes to print a turn
            self._writer.event(event)
            self._bar.start()

    def rescue(self) -> None:
        """Writes the turn that will get no final."""
        if (p := self._partial) is not None:
            whole = Segment(p.text, p.words, p.start, p.end, p.language, None)
            self.show(Final(p.text, p.words, p.start, p.end, p.language, (whole,), ()))

    def so_far(self) -> Transcript:
        """The transcript of what has been recognised until now."""
        return Transcript("".join(self._text), self._language, self._end, ())


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
