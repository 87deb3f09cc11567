"""Runs engines over clips, and goes on where a run was stopped."""

from __future__ import annotations

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
_FAULTS = (WheatearError, OSError, RuntimeError, ValueError)  # of audio, and of others' engines
_LEVELS = {"silence": 0.0} | {
    f"noise at {level} dBFS": 10.0 ** (level / 20) for level in (-80, -60, -40, -30)
}


@dataclass(frozen=True)
class EvaluationPlan:
    """What is run over each clip."""

    modes: tuple[str, ...] = (STREAM,)
    prompts: tuple[str, ...] = (GIVEN, AUTO)
    pieces: float = 2.0
    """Seconds that engines without streams get at a time."""
    turns: int = 20
    """Clips of each locale that the latency of turns is measured on, each heard once more."""
    by: str | None = None
    """Field of the corpus that clips are grouped by."""
    threads: int = 1
    scoring: Scoring = field(default_factory=Scoring)


@dataclass(frozen=True)
class _Noise(Clip):
    """Ten seconds in which nobody says anything."""

    level: float = 0.0

    def read(self) -> Samples:
        chance = np.random.default_rng(0)
        return np.float32(self.level) * chance.standard_normal(10 * SAMPLE_RATE).astype(np.float32)


@dataclass(frozen=True)
class Results:
    """All that a run knows."""

    scored: tuple[tuple[Record, Score], ...]
    """In the order of the plan, those that came to nothing among them."""
    engines: tuple[tuple[str, EngineInfo], ...]
    """Each with its name in the report."""
    left_out: Mapping[tuple[str, str], int]
    """Clips by engine and locale of locales that an engine does not know."""


ProgressCallback = Callable[[str, int, int], None]
"""Called with what is being done, and how many of how many clips of it, noise too, are done."""


def run(
    clips: Sequence[Clip],
    engines: Iterator[Engine],
    plan: EvaluationPlan,
    folder: Path,
    tell: ProgressCallback = lambda *_: None,
) -> Results:
    """Measures engines one after the other; each clip is written down when it is done.

    What `folder` holds of the same clips, engines and threads is not done again; clips that came
    to nothing are. What it holds of others is put aside, for a run that wants it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = read_records(folder, EARLIER, UTTERANCES)
    write_records(folder / UTTERANCES, ((r, score(r, plan.scoring)) for r in before.values()))
    done: dict[tuple[Condition, str], tuple[Record, Score]] = {}
    used: list[tuple[str, EngineInfo]] = []
    left_out: dict[tuple[str, str], int] = {}
    with (folder / UTTERANCES).open("a", encoding="utf-8", errors=UNPAIRED, buffering=1) as out:
        for engine in engines:
            name = _name(engine, used)
            used.append((name, engine.info))
            unknown = [clip.locale for clip in clips if engine.language_for(clip.locale) is None]
            left_out |= {(name, locale): unknown.count(locale) for locale in sorted(set(unknown))}
            for task in _tasks(engine, name, clips, plan):
                task.work(before, done, out.write, tell)
    spoken = [record for record, _ in done.values() if record.group != NOISE]
    if all(record.fault for record in spoken):
        faults = [record.fault for record in spoken]
        why = f": {faults[0]}" if faults else ": no engine knows any of the locales"
        raise WheatearError(f"nothing could be transcribed{why}")
    others = [record for key, record in before.items() if key not in done]
    write_records(folder / EARLIER, ((record, score(record, plan.scoring)) for record in others))
    write_records(folder / UTTERANCES, done.values())
    return Results(tuple(done.values()), tuple(used), left_out)


def _name(engine: Engine, used: Sequence[tuple[str, EngineInfo]]) -> str:
    """The engine's name, numbered if another one has it that differs in nothing that is told."""
    taken = {(name, about.precision, about.latency_ms) for name, about in used}
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
    """Ids of clips whose turns are timed."""

    def work(
        self,
        before: dict[tuple[Condition, str], Record],
        done: dict[tuple[Condition, str], tuple[Record, Score]],
        write: Callable[[str], object],
        tell: ProgressCallback,
    ) -> None:
        c = self.condition
        latency = f" {c.latency_ms} ms" if c.latency_ms else ""
        noises = sum(isinstance(clip, _Noise) for clip in self.clips)
        counts = f"{len(self.clips) - noises} recordings, {noises} more of silence and noise"
        shown = f"{c.system} {c.precision}: {c.mode}{latency}, language {c.prompt}: {counts}"
        warm = False
        for number, clip in enumerate(self.clips):
            tell(shown, number, len(self.clips))
            record = before.get((self.condition, clip.id))
            if fresh := record is None or not self._still_holds(record, clip):
                if not warm:
                    self._warm_up()
                    warm = True
                record = self._hear(clip)
            record = replace(record, group=self._group(clip))
            done[record.key] = record, score(record, self.plan.scoring)
            if fresh:
                write(to_line(*done[record.key]))
        tell(shown, len(self.clips), len(self.clips))

    def _warm_up(self) -> None:
        """Lets the engine allocate what it needs before anything is timed."""
        with suppress(*_FAULTS):
            self.engine.transcribe(np.zeros(SAMPLE_RATE, np.float32), self._asked(self.clips[0]))

    def _asked(self, clip: Clip) -> str | None:
        return self.engine.language_for(clip.locale) if self.condition.prompt == GIVEN else None

    def _still_holds(self, record: Record, clip: Clip) -> bool:
        about = (record.reference, record.locale, record.fingerprint, record.fault)
        return about == (clip.reference, clip.locale, self._fingerprint, None)

    @property
    def _fingerprint(self) -> str:
        return f"{self.engine.info.fingerprint}, {self.plan.threads} threads"

    def _group(self, clip: Clip) -> str:
        if isinstance(clip, _Noise):
            return NOISE
        return clip.fields.get(self.plan.by, "") if self.plan.by else ""

    def _hear(self, clip: Clip) -> Record:
        """Raises nothing that has to do with the clip: what goes wrong is written down."""
        asked = self._asked(clip)
        record = Record(
            self.condition, clip.id, clip.locale, "", asked, 0.0, clip.reference, "",
            fingerprint=self._fingerprint,
        )  # fmt: skip
        try:
            samples = clip.read()
            record = replace(record, seconds=round(len(samples) / SAMPLE_RATE, 3))
            if not len(samples):
                raise WheatearError(f"{clip.audio} holds no audio")
            if self.condition.mode == WHOLE:
                timed, turn = time_file(self.engine, samples, asked), None
            else:
                timed = time_stream(self.engine, samples, asked, self.plan.pieces)
                turn = None
                if clip.id in self.turns:
                    turn = time_turn_end(self.engine, samples, asked, self.plan.pieces)
        except _FAULTS as error:
            return replace(record, fault=str(error))
        return _with_times(record, timed, turn)


def _with_times(record: Record, timed: TimedHypothesis, turn: float | None) -> Record:
    first, end, turned = (
        None if time is None else round(1000 * time, 1) for time in (timed.first, timed.end, turn)
    )
    return replace(
        record, hypothesis=timed.heard.text, language=timed.heard.language,
        compute=round(timed.compute, 4), first_ms=first, end_ms=end, turn_ms=turned,
    )  # fmt: skip


def _tasks(
    engine: Engine, name: str, clips: Sequence[Clip], plan: EvaluationPlan
) -> Iterator[_Task]:
    """What to run of an engine: each mode, with the language given or not."""
    known = tuple(clip for clip in clips if engine.language_for(clip.locale) is not None)
    if not known:
        return
    heard_first: dict[str, list[str]] = {}
    for clip in known:
        heard_first.setdefault(clip.locale, []).append(clip.id)
    streams = type(engine).start_stream is not Engine.start_stream
    timed = plan.turns if streams else 0
    turns = frozenset(name for names in heard_first.values() for name in names[:timed])
    noise = tuple(
        _Noise(kind, Path(kind), known[0].locale, "", level=level)
        for kind, level in _LEVELS.items()
    )
    prompts = [prompt for prompt in plan.prompts if prompt == GIVEN or engine.detects]
    for mode in plan.modes:
        shown = mode if mode == WHOLE or streams else f"pieces of {plan.pieces:g} s"
        for prompt in prompts or [GIVEN]:
            condition = Condition(
                name, engine.info.precision, shown, engine.info.latency_ms, prompt
            )
            yield _Task(engine, condition, known + noise, plan, turns)
