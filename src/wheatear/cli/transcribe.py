"""`wheatear transcribe`: files or standard input to text, subtitles or JSON."""

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from cyclopts import Parameter
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

import wheatear
from wheatear.audio.pcm import RawFormat
from wheatear.audio.reader import AudioReader
from wheatear.cli.app import app, suggestion
from wheatear.cli.batch import Batch, run_batch
from wheatear.cli.batch_plan import plan_batch
from wheatear.cli.messages import BAD_INPUT, print_error, print_note
from wheatear.cli.options import TranscriptionOptions
from wheatear.cli.output_options import Output, check_output, choose_folder, choose_format
from wheatear.cli.progress import progress_bar
from wheatear.cli.signals import interrupts
from wheatear.cli.transcription import FileTranscriber, error_sentence, is_output_broken
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
    options: TranscriptionOptions = TranscriptionOptions(),  # noqa: B008  (frozen)
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
    """Transcribe audio files and folders; "-" is standard input.

    Text is written during recognition. Files may have any sample rate and up to 64 channels. Of a
    video, the first sound track is used. Standard input is a file, or live raw PCM (by default
    16 kHz mono 16-bit):
    arecord -f S16_LE -r 16000 -c 1 -t raw | wheatear transcribe -
    Folders and --jobs need --output-dir FOLDER. Existing transcripts are kept, so the same command
    resumes an interrupted run. Ctrl-C stops after the current chunk and keeps the text; a second
    Ctrl-C stops at once.

    Parameters
    ----------
    files
        Audio files, folders, or "-": wav, flac, ogg, opus, mp3; with the extra "media" also m4a,
        webm, aac, wma, and the sound of videos.
    model
        Model folder or name; by default the shipped model.
    format
        txt: a line for each turn; json: everything; jsonl: an object for each turn; verbose_json:
        OpenAI's format; srt, vtt: subtitles; tsv: segments; ctm: words. By default the suffix of
        --output, else txt.
    output
        File to write; by default standard output. It is named NAME.partial until it is complete,
        unless the audio is live. Only jsonl and ctm take several files.
    output_dir
        Folder for one transcript per file, made if missing.
    line_letters
        Maximum letters in a line of a subtitle.
    lines
        Maximum lines of a subtitle.
    letters_per_second
        Reading speed for the duration of subtitles.
    rolling
        Write rolling subtitles, whose lines move up.
    channels_apart
        Transcribe each channel separately, as one speaker, and merge them by time.
    recursive
        Include subfolders.
    jobs
        Number of files to transcribe at a time.
    overwrite
        Overwrite existing transcripts.
    threads
        Number of threads, per job.
    raw
        Treat the input as headerless PCM; implied by --rate, --channels and --encoding.
    rate
        Sample rate of raw input; 16000 by default.
    channels
        Number of channels of raw input; 1 by default.
    encoding
        Sample encoding of raw input, little-endian; s16 by default.
    """
    _check_options(files)
    if threads is not None and threads < 1:
        raise WheatearError(f"--threads must be 1 or more, not {threads}")
    given: dict[str, Any] = {"rate": rate, "channels": channels, "encoding": encoding}
    described = {key: value for key, value in given.items() if value is not None}
    raw_format = replace(RawFormat(), **described) if raw or described else None
    if jobs < 1:
        raise WheatearError(f"--jobs must be 1 or more, not {jobs}")
    try:
        cues = CueRules(line_letters, lines, letters_per_second, rolling)
    except ValueError as error:
        raise WheatearError(str(error)) from error
    multiple = jobs > 1 or any(map(os.path.isdir, files))
    if multiple and raw_format is not None:
        raise WheatearError("raw input must be a single file, without a folder or --jobs")
    folder = choose_folder(output, output_dir, multiple)
    transcript_format = choose_format(format, output if folder is None else None)
    items = []
    if folder is not None:
        items = plan_batch(files, folder, transcript_format, recursive)
    else:
        check_output(output, files, transcript_format, overwrite)
    if threads is None and jobs > 1:
        threads = max(1, default_threads() // jobs)
    recognizer = wheatear.load(model, threads=threads)
    stream_options = options.stream_options(recognizer)
    recognizer.check(stream_options)  # before any file is read
    transcriber = FileTranscriber(
        recognizer, stream_options, transcript_format, cues, channels_apart, raw_format
    )  # fmt: skip
    with interrupts.deferred(), interrupts.interruptible_stdin():
        if folder is None:
            return _transcribe_all(transcriber, files, Output(output, live="-" in files))
        results = run_batch(Batch(transcriber, overwrite), items, jobs, folder)
    if interrupts.number is not None:
        return interrupts.code
    return BAD_INPUT if any(result.fault for result in results) else 0


def _check_options(files: Sequence[str]) -> None:
    """Raises WheatearError for an unknown option, which the parser takes for a file."""
    for file in files:
        if file.startswith("-") and file != "-" and not os.path.lexists(file):
            option = file.partition("=")[0]
            arguments = app["transcribe"].assemble_argument_collection(parse_docstring=False)
            hint = suggestion(option, [name for argument in arguments for name in argument.names])
            raise WheatearError(f"unknown option {option}{hint}; see 'wheatear transcribe --help'")


def _transcribe_all(transcriber: FileTranscriber, files: Sequence[str], output: Output) -> int:
    """Transcribes files in order into one output; returns the exit code."""
    failed = False
    try:
        for file in files:
            damage: list[str] = []
            try:
                with closing(transcriber.open(file, damage.append)) as audio:
                    out = output.open()
                    if len(files) > 1 and transcriber.format == "txt":
                        out.write(f"== {printable(file)} ==\n")
                    _transcribe(audio, transcriber, transcriber.writer(out, file))
                _print_errors(damage)  # after the text, whose last line may be incomplete
            except Exception as error:
                interrupts.check()  # the error may be the effect of a signal
                if is_output_broken(error):
                    raise
                _print_errors([*damage, error_sentence(error, file)])
                failed = True
    except BaseException:
        print_note(output.keep_partial())
        raise
    print_note(output.finish(complete=not failed))
    return BAD_INPUT if failed else 0


def _print_errors(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        print_error(sentence)


def _transcribe(audio: AudioReader, transcriber: FileTranscriber, writer: Writer) -> None:
    """Transcribes a file into `writer`, up to an error if one occurs."""
    collector, duration = TranscriptCollector(writer), None
    try:
        with _ProgressWriter(collector, writer, audio.duration) as progress:
            duration = transcriber.run(audio, progress.show)
    finally:
        collector.close(duration, audio.warnings)


class _ProgressWriter:
    """Writes events, with a bar on the terminal for files of known length.

    Text on the same terminal appears above the bar, turn by turn.
    """

    def __init__(
        self, collector: TranscriptCollector, writer: Writer, duration: float | None
    ) -> None:
        self._collector = collector
        self._duration = duration
        shown = duration is not None and sys.stderr.isatty()
        self._bar = progress_bar(
            TextColumn("{task.percentage:>3.0f}%"), BarColumn(), TimeRemainingColumn(), shown=shown
        )
        self._same_terminal = shown and writer.out.isatty()

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("", total=self._duration)
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def show(self, event: Event) -> None:
        """Writes an event."""
        if not isinstance(event, Turn):
            self._bar.update(self._task, completed=event.end)
        if self._same_terminal and isinstance(event, Final):
            self._bar.stop()  # hidden while a turn is printed
            self._collector.add(event)
            self._bar.start()
        else:
            self._collector.add(event, write=not self._same_terminal)
