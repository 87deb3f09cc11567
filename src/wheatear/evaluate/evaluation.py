"""One evaluation, from clips to the files of its report."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wheatear.decoder.beam import BeamRules
from wheatear.errors import WheatearError
from wheatear.evaluate.clips import Clip
from wheatear.evaluate.engines.engine import Engine
from wheatear.evaluate.engines.registry import open_engine, parse_spec
from wheatear.evaluate.engines.wheatear import Wheatear
from wheatear.evaluate.html import page
from wheatear.evaluate.records import UNPAIRED, read_records, score
from wheatear.evaluate.report import markdown, sections
from wheatear.evaluate.runner import EvaluationPlan, ProgressCallback, Results, run
from wheatear.evaluate.summary import (
    SUMMARY,
    Scored,
    against,
    describe_environment,
    group_by,
    summarize,
)
from wheatear.model.latency import choose_mode
from wheatear.model.store import find_bundle
from wheatear.recognizer.loading import describe_model
from wheatear.recognizer.recognizer import load


@dataclass(frozen=True)
class Systems:
    """Systems to measure: bundles at latencies, and other engines."""

    models: tuple[str | None, ...] = (None,)
    """Paths or names of bundles; None is the shipped model."""
    latencies: tuple[int, ...] = ()
    """Milliseconds; empty for the default of each bundle."""
    all_latencies: bool = False
    beam: int = 1
    others: tuple[str, ...] = ()
    """Engines by the names of `wheatear.evaluate.engines.registry`."""

    def check(self) -> None:
        """Raises WheatearError for unknown engines, models and latencies."""
        for spec in self.others:
            parse_spec(spec)
        for model in self.models:
            manifest = describe_model(find_bundle(model)).manifest
            for latency in self.latencies:
                choose_mode(manifest.modes, manifest.default_mode, latency)

    def open(self, threads: int) -> Iterator[Engine]:
        """Opens each engine when it is requested, so that one is loaded at a time."""
        beam = BeamRules(self.beam) if self.beam > 1 else None
        for model in self.models:
            recognizer = load(model, threads=threads)
            default = recognizer.model.manifest.default_mode.latency_ms
            latencies = recognizer.latencies_ms if self.all_latencies else self.latencies
            for latency in latencies or (default,):
                yield Wheatear(recognizer, latency, beam)
        for spec in self.others:
            yield open_engine(spec, threads)


def choose(clips: Sequence[Clip], locales: Sequence[str], limit: int | None) -> list[Clip]:
    """Chooses clips of some locales (by default all), at most `limit` of each.

    Raises WheatearError for a locale without clips.
    """
    wanted = {locale.replace("_", "-").lower() for locale in locales}
    known = {clip.locale.lower() for clip in clips}
    if missing := wanted - known:
        raise WheatearError(
            f"there are no clips of {', '.join(sorted(missing))}; there are of "
            f"{', '.join(sorted({clip.locale for clip in clips}))}"
        )
    chosen = [clip for clip in clips if not wanted or clip.locale.lower() in wanted]
    by_locale = group_by(chosen, lambda clip: clip.locale)
    return [clip for members in by_locale.values() for clip in members[:limit]]


def evaluate(
    clips: Sequence[Clip],
    systems: Systems,
    plan: EvaluationPlan,
    output: Path,
    *,
    title: str,
    command: str = "",
    before: Path | None = None,
    progress: ProgressCallback = lambda *_: None,
) -> dict[str, Any]:
    """Runs systems over clips and writes summary, records and report.

    Args:
        clips: Clips to transcribe.
        systems: Systems to measure.
        plan: Conditions to run.
        output: Folder of summary.json, utterances.jsonl, report.md and report.html.
        title: Title of the report.
        command: Command line for the report.
        before: Folder of an earlier run to compare with.
        progress: Called before each clip.

    Returns:
        The content of summary.json.

    Raises:
        WheatearError: No clip could be transcribed, or, after all files are written, `before` has
            nothing to compare.
    """
    systems.check()
    earlier = _scored(before, plan) if before else []
    results = run(clips, systems.open(plan.threads), plan, output, progress)
    summary = summarize(results)
    summary["made"] = describe_environment(command, plan.threads)
    try:
        if before:
            summary["against"] = against(results.scored, earlier)
            summary["against_folder"] = str(before)
    finally:
        _write(output, title, summary, results)
    return summary


def _scored(folder: Path, plan: EvaluationPlan) -> list[Scored]:
    """Records of another run with the scores of this plan.  Raises WheatearError without any."""
    found = read_records(folder)
    if not found:
        raise WheatearError(f"{folder} holds no evaluation: there are no lines in utterances.jsonl")
    return [(record, score(record, plan.scoring)) for record in found.values()]


def _write(output: Path, title: str, summary: dict[str, Any], results: Results) -> None:
    parts = sections(summary, results.scored)
    files = {
        "report.md": markdown(title, parts),
        "report.html": page(title, parts, summary),
        SUMMARY: json.dumps(summary, ensure_ascii=False, indent=1) + "\n",
    }
    for name, text in files.items():
        partial = output / f"{name}.partial"
        partial.write_text(text, encoding="utf-8", errors=UNPAIRED)
        os.replace(partial, output / name)
