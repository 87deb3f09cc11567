"""Runs engines over clips; an interrupted run continues where it stopped."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.errors import WheatearError
from wheatear.evaluate.clips import Clip
from wheatear.evaluate.engines.engine import Engine, EngineInfo
from wheatear.evaluate.records import (
    AUTO,
    EARLIER,
    GIVEN,
    STREAM,
    UNPAIRED,
    UTTERANCES,
    WHOLE,
    Condition,
    Record,
    Score,
    Scoring,
    read_records,
    score,
    to_line,
    write_records,
)
from wheatear.evaluate.timing import TimedHypothesis, time_file, time_stream, time_turn_end

NOISE = "silence and noise"
_FAULTS = (WheatearError, OSError, RuntimeError, ValueError)  # of audio, and of other engines
_LEVELS = {"silence": 0.0} | {
    f"noise at {level} dBFS": 10.0 ** (level / 20) for level in (-80, -60, -40, -30)
}


@dataclass(frozen=True)
class EvaluationPlan:
    """Conditions under which each clip is run."""

    modes: tuple[str, ...] = (STREAM,)
    prompts: tuple[str, ...] = (GIVEN, AUTO)
    window_s: float = 2.0
    """Window of engines without streams, in seconds."""
    turns: int = 20
    """Clips of each locale whose end of turn is timed, in a second run of the clip."""
    by: str | None = None
    """Field of the corpus to group clips by."""
    threads: int = 1
    scoring: Scoring = field(default_factory=Scoring)


@dataclass(frozen=True)
class _Noise(Clip):
    """Ten seconds without speech."""

    level: float = 0.0

    def read(self) -> Samples:
        rng = np.random.default_rng(0)
        return np.float32(self.level) * rng.standard_normal(10 * SAMPLE_RATE).astype(np.float32)


@dataclass(frozen=True)
class Results:
    """Results of a run."""

    scored: tuple[tuple[Record, Score], ...]
    """Records in the order of the plan, including failed ones."""
    engines: tuple[tuple[str, EngineInfo], ...]
    """Engines with their names in the report."""
    left_out: Mapping[tuple[str, str], int]
    """Number of clips by engine and locale, for locales that the engine does not know."""


ProgressCallback = Callable[[str, int, int], None]
"""Called with the current condition, the number of finished clips, and the total number."""
_Done = dict[tuple[Condition, str], tuple[Record, Score]]


def run(
    clips: Sequence[Clip],
    engines: Iterator[Engine],
    plan: EvaluationPlan,
    folder: Path,
    progress: ProgressCallback = lambda *_: None,
) -> Results:
    """Runs engines one after another and writes a record to `folder` after each clip.

    Records of the same clips, engines and threads are kept, unless they failed. Other records are
    set aside for a later run. Raises WheatearError if no clip could be transcribed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = read_records(folder, EARLIER, UTTERANCES)
    write_records(folder / UTTERANCES, ((r, score(r, plan.scoring)) for r in before.values()))
    done: _Done = {}
    used: list[tuple[str, EngineInfo]] = []
    left_out: dict[tuple[str, str], int] = {}
    with (folder / UTTERANCES).open("a", encoding="utf-8", errors=UNPAIRED, buffering=1) as out:
        for engine in engines:
            name = _unique_name(engine, used)
            used.append((name, engine.info))
            unknown = [clip.locale for clip in clips if engine.language_for(clip.locale) is None]
            left_out |= {(name, locale): unknown.count(locale) for locale in sorted(set(unknown))}
            for task in _tasks(engine, name, clips, plan):
                task.run(before, done, out.write, progress)
    faults = [record.fault for record, _ in done.values() if record.group != NOISE]
    if all(faults):
        reason = f": {faults[0]}" if faults else ": no engine knows any of the locales"
        raise WheatearError(f"nothing could be transcribed{reason}")
    others = [record for key, record in before.items() if key not in done]
    write_records(folder / EARLIER, ((record, score(record, plan.scoring)) for record in others))
    write_records(folder / UTTERANCES, done.values())
    return Results(tuple(done.values()), tuple(used), left_out)


def _unique_name(engine: Engine, used: Sequence[tuple[str, EngineInfo]]) -> str:
    """The name of the engine, numbered if another engine has the same name and description."""
    taken = {(name, info.precision, info.latency_ms) for name, info in used}
    name, number = engine.name, 1
    while (name, engine.info.precision, engine.info.latency_ms) in taken:
        number += 1
        name = f"{engine.name} #{number}"
    return name


@dataclass(frozen=True)
class _Task:
    """One engine under one condition."""

    engine: Engine
    condition: Condition
    clips: tuple[Clip, ...]
    plan: EvaluationPlan
    turns: frozenset[str]
    """Ids of clips whose end of turn is timed."""

    def run(
        self,
        before: Mapping[tuple[Condition, str], Record],
        done: _Done,
        write: Callable[[str], object],
        progress: ProgressCallback,
    ) -> None:
        c = self.condition
        latency = f" {c.latency_ms} ms" if c.latency_ms else ""
        noises = sum(isinstance(clip, _Noise) for clip in self.clips)
        counts = f"{len(self.clips) - noises} recordings, {noises} more of silence and noise"
        label = f"{c.system} {c.precision}: {c.mode}{latency}, language {c.prompt}: {counts}"
        warm = False
        for number, clip in enumerate(self.clips):
            progress(label, number, len(self.clips))
            record = before.get((self.condition, clip.id))
            is_new = record is None or not self._is_current(record, clip)
            if is_new:
                if not warm:
                    self._warm_up()
                    warm = True
                record = self._transcribe(clip)
            record = replace(record, group=self._group(clip))
            done[record.key] = record, score(record, self.plan.scoring)
            if is_new:
                write(to_line(*done[record.key]))
        progress(label, len(self.clips), len(self.clips))

    def _warm_up(self) -> None:
        """Lets the engine allocate memory before anything is timed."""
        with suppress(*_FAULTS):
            self.engine.transcribe(np.zeros(SAMPLE_RATE, np.float32), self._language(self.clips[0]))

    def _language(self, clip: Clip) -> str | None:
        return self.engine.language_for(clip.locale) if self.condition.prompt == GIVEN else None

    def _is_current(self, record: Record, clip: Clip) -> bool:
        state = (record.reference, record.locale, record.fingerprint, record.fault)
        return state == (clip.reference, clip.locale, self._fingerprint, None)

    @property
    def _fingerprint(self) -> str:
        return f"{self.engine.info.fingerprint}, {self.plan.threads} threads"

    def _group(self, clip: Clip) -> str:
        if isinstance(clip, _Noise):
            return NOISE
        return clip.fields.get(self.plan.by, "") if self.plan.by else ""

    def _transcribe(self, clip: Clip) -> Record:
        """Transcribes a clip; errors of the clip become the fault of its record."""
        language = self._language(clip)
        record = Record(
            self.condition, clip.id, clip.locale, "", language, 0.0, clip.reference, "",
            fingerprint=self._fingerprint,
        )  # fmt: skip
        turn = None
        try:
            samples = clip.read()
            record = replace(record, seconds=round(len(samples) / SAMPLE_RATE, 3))
            if not len(samples):
                raise WheatearError(f"{clip.audio} holds no audio")
            if self.condition.mode == WHOLE:
                timed = time_file(self.engine, samples, language)
            else:
                timed = time_stream(self.engine, samples, language, self.plan.window_s)
                if clip.id in self.turns:
                    turn = time_turn_end(self.engine, samples, language, self.plan.window_s)
        except _FAULTS as error:
            return replace(record, fault=str(error))
        return _with_times(record, timed, turn)


def _with_times(record: Record, timed: TimedHypothesis, turn: float | None) -> Record:
    first, end, turned = (
        None if time is None else round(1000 * time, 1)
        for time in (timed.first_s, timed.end_s, turn)
    )
    return replace(
        record, hypothesis=timed.hypothesis.text, language=timed.hypothesis.language,
        compute=round(timed.compute_s, 4), first_ms=first, end_ms=end, turn_ms=turned,
    )  # fmt: skip


def _tasks(
    engine: Engine, name: str, clips: Sequence[Clip], plan: EvaluationPlan
) -> Iterator[_Task]:
    """Yields the conditions of an engine: each mode and prompt."""
    known = tuple(clip for clip in clips if engine.language_for(clip.locale) is not None)
    if not known:
        return
    ids: dict[str, list[str]] = {}
    for clip in known:
        ids.setdefault(clip.locale, []).append(clip.id)
    streams = type(engine).start_stream is not Engine.start_stream
    timed = plan.turns if streams else 0
    turns = frozenset(name for names in ids.values() for name in names[:timed])
    noise = tuple(
        _Noise(kind, Path(kind), known[0].locale, "", level=level)
        for kind, level in _LEVELS.items()
    )
    prompts = [prompt for prompt in plan.prompts if prompt == GIVEN or engine.detects]
    for mode in plan.modes:
        label = mode if mode == WHOLE or streams else f"pieces of {plan.window_s:g} s"
        for prompt in prompts or [GIVEN]:
            condition = Condition(
                name, engine.info.precision, label, engine.info.latency_ms, prompt
            )
            yield _Task(engine, condition, known + noise, plan, turns)
