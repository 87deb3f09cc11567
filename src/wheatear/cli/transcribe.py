"""`wheatear transcribe`: files, or standard input, to text, subtitles or JSON as it comes."""

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal, Self

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import wheatear
from wheatear.audio.pcm import RawFormat
from wheatear.audio.reader import AudioReader
from wheatear.cli import BAD_INPUT, app, complain, note, suggestion
from wheatear.cli.batch import Batch, work_off
from wheatear.cli.batch_plan import jobs_of
from wheatear.cli.options import Asked
from wheatear.cli.output_options import Output, check_output, folder_of, format_of
from wheatear.cli.signals import interrupts
from wheatear.cli.transcription import Task, fault_of, is_broken
from wheatear.common.terminal_text import printable
from wheatear.errors import WheatearError
from wheatear.model.onnx_session import default_threads
from wheatear.transcript.collector import TranscriptCollector
from wheatear.transcript.results import Event, Final, Turn
from wheatear.transcript.subtitles import CueRules
from wheatear.transcript.writers import TranscriptFormat, Writer


def transcribe(
    files: Annotated[tuple[str, ...], Parameter(negative="", allow_leading_hyphen=True)],
    /,
    *,
    model: str | None = None,
    asked: Asked = Asked(),  # noqa: B008  (frozen)
    format: TranscriptFormat | None = None,  # noqa: A002  (the option is called --format)
    output: Path | None = None,
    output_dir: Path | None = None,
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

    Text appears as it is recognized. Files may be of any sample rate and have up to 64 channels;
    of a video, the first sound track is taken. Standard input may be a file or live raw PCM
    (16 kHz mono 16-bit unless said otherwise):
    arecord -f S16_LE -r 16000 -c 1 -t raw | wheatear transcribe -
    A folder, or --jobs, needs --output-dir FOLDER. What is done is not done again: the same command
    goes on where it was stopped. Ctrl-C keeps what was transcribed so far; a second one ends at
    once.

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
        written as the audio goes. If left out, what the name of --output ends with, else txt.
    output
        File to write to; standard output if left out. It is called NAME.partial until it
        is whole, if the audio is not live. Several files go to one in jsonl and ctm alone.
    output_dir
        Folder for the transcripts, one for each file; it is made if it is not there.
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
        Replace an output that exists, or do again what is done.
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
    _check_options(files)
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
    several = jobs > 1 or any(map(os.path.isdir, files))
    if several and raw_format is not None:
        raise WheatearError("raw input is taken one file at a time, not as a folder or by --jobs")
    folder = folder_of(output, output_dir, several)
    form = format_of(format, output if folder is None else None)
    listed = []
    if folder is not None:
        listed = jobs_of(files, folder, form, recursive)
    else:
        check_output(output, files, form, overwrite)
    if threads is None and jobs > 1:
        threads = max(1, default_threads() // jobs)
    recognizer = wheatear.load(model, threads=threads)
    options = asked.options(recognizer)
    recognizer.check(options)  # before anything is read
    task = Task(recognizer, options, form, cues, channels_apart, raw_format)
    with interrupts.held(), interrupts.breakable_input():
        if folder is None:
            return _one_by_one(task, files, Output(output, live="-" in files))
        results = work_off(Batch(task, overwrite), listed, jobs, folder)
    if interrupts.number is not None:
        return interrupts.code
    return BAD_INPUT if any(result.fault for result in results) else 0


def _check_options(files: Sequence[str]) -> None:
    """Raises WheatearError for an unknown option: "-" being a file, whatever begins with one is
    taken for a file."""
    for file in files:
        if file.startswith("-") and file != "-" and not os.path.lexists(file):
            option = file.partition("=")[0]
            arguments = app["transcribe"].assemble_argument_collection(parse_docstring=False)
            hint = suggestion(option, [name for argument in arguments for name in argument.names])
            raise WheatearError(f"unknown option {option}{hint}; see 'wheatear transcribe --help'")


def _raw_format(
    rate: int | None, channels: int | None, encoding: Literal["s16", "f32"] | None
) -> RawFormat:
    """What was said of raw input, and the usual for what was not."""
    return RawFormat(
        RawFormat.rate if rate is None else rate,
        RawFormat.channels if channels is None else channels,
        encoding or RawFormat.encoding,
    )


def _one_by_one(task: Task, files: Sequence[str], output: Output) -> int:
    """Transcribes files in their order, into one output."""
    failed = False
    try:
        for file in files:
            damage: list[str] = []
            try:
                with closing(task.open(file, damage.append)) as audio:
                    out = output.open()
                    if len(files) > 1 and task.form == "txt":
                        out.write(f"== {printable(file)} ==\n")
                    _transcribe(audio, task, task.writer(out, file))
                _report(damage)  # not before the text is complete: its last line may be open
            except Exception as error:
                interrupts.check()  # what a signal broke is no fault of the file
                if is_broken(error):
                    raise
                _report([*damage, fault_of(error, file)])
                failed = True
    except BaseException:
        note(output.abandon())
        raise
    note(output.finish(whole=not failed))
    return BAD_INPUT if failed else 0


def _report(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        complain(sentence)


def _transcribe(audio: AudioReader, task: Task, writer: Writer) -> None:
    """Transcribes one file into `writer`; what there is of it is written whatever happens."""
    collector, duration = TranscriptCollector(writer), None
    try:
        with _Progress(collector, writer, audio.duration) as progress:
            duration = task.run(audio, progress.show)
    finally:
        collector.close(duration, audio.warnings)


class _Progress:
    """A bar on the terminal for files of known length.

    Where the text goes to the same terminal, it appears above the bar, turn by turn.
    """

    def __init__(
        self, collector: TranscriptCollector, writer: Writer, duration: float | None
    ) -> None:
        self._collector = collector
        self._duration = duration
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
        self._bar.stop()

    def show(self, event: Event) -> None:
        """Takes an event."""
        if not isinstance(event, Turn):
            self._bar.update(self._task, completed=event.end)
        if self._together and isinstance(event, Final):
            self._bar.stop()  # steps aside for as long as it takes to print a turn
            self._collector.add(event)
            self._bar.start()
        else:
            self._collector.add(event, write=not self._together)
