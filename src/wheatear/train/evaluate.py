"""Word error rates of a bundle on recordings and on synthetic speech, through the engine.

    python -m wheatear.train.evaluate speech/manifest.jsonl --synthetic DIR/corpus/test.jsonl \
        --json results.json --utterances utterances.jsonl

Words are compared in lower case without punctuation, digits spelled out, Russian without ё. The
Spanish and French prompt lists leave out accents, so `wer` folds those of the two; `wer_strict`
does not. Intervals hold 95 % of resamplings of the clips. A language counts as right when it is the
locale's; `language_right_2s` looks at clips of two seconds and longer alone.
"""

from __future__ import annotations

import argparse
import json
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile as sf

import wheatear
from wheatear.convert.verify import edit_distance
from wheatear.features import SAMPLE_RATE
from wheatear.train import texts
from wheatear.train.manifest import Utterance, read_manifest
from wheatear.train.sentences import LOCALE_OF, words

# Recordings in another variety than the model's are asked for in the model's own.
HEARD_AS = LOCALE_OF | {"fr-FR": "fr-CA", "es-ES": "es-US", "pt-PT": "pt-BR", "en-GB": "en-US"}
FOLDED = ("es-US", "fr-CA")
LONG = 2.0  # seconds; the language of shorter clips is often anyone's guess
Groups = dict[str, list[Utterance]]


def normal(text: str, locale: str, fold: bool) -> list[str]:
    """The words to compare; `fold` takes the accents off."""
    runs = ("".join(run) for _, run in groupby(text, str.isdigit))
    text = "".join(f" {texts.spell(int(run), locale)} " if run.isdigit() else run for run in runs)
    text = text.replace("ё", "е").replace("Ё", "Е")
    if fold:
        parts = unicodedata.normalize("NFD", text)
        text = "".join(c for c in parts if not unicodedata.combining(c))
    return words(text).split()


def interval(errors: list[int], lengths: list[int]) -> list[float]:
    """Bounds of the error rate in per cent, by bootstrap over clips."""
    picks = np.random.default_rng(0).integers(0, len(errors), (1000, len(errors)))
    rates = np.array(errors)[picks].sum(1) / np.array(lengths)[picks].sum(1)
    return [round(100 * float(bound), 1) for bound in np.percentile(rates, [2.5, 97.5])]


@dataclass(frozen=True)
class Heard:
    """One clip, as it was transcribed."""

    clip: Utterance
    text: str
    language: str | None

    def errors(self, fold: bool) -> int:
        said = normal(self.clip.text, self.clip.locale, fold)
        return edit_distance(said, normal(self.text, self.clip.locale, fold))


def hear(
    recognizer: wheatear.Recognizer,
    clips: list[Utterance],
    prompt: str,
    latency: int,
    beam: wheatear.BeamRules | None = None,
) -> list[Heard]:
    found = []
    for clip in clips:
        got = recognizer.transcribe(clip.read(), language=prompt, latency_ms=latency, beam=beam)
        found.append(Heard(clip, got.text, got.language))
    return found


def summarise(heard: list[Heard]) -> dict[str, Any]:
    """Error rates, their intervals, and how often the language was right, in per cent."""
    locale = heard[0].clip.locale
    lengths = [len(normal(h.clip.text, locale, False)) for h in heard]
    row: dict[str, Any] = {"clips": len(heard), "words": sum(lengths)}
    for key, fold in (("wer", locale in FOLDED), ("wer_strict", False)):
        errors = [h.errors(fold) for h in heard]
        row[key] = _per_cent(sum(errors), sum(lengths))
        row[f"{key}_95"] = interval(errors, lengths)
    long = [h for h in heard if h.clip.size >= LONG * SAMPLE_RATE]
    for key, some in (("language_right", heard), ("language_right_2s", long)):
        if some:
            row[key] = _per_cent(sum(h.language == locale for h in some), len(some))
    return row


def _per_cent(part: float, whole: float) -> float:
    return round(100 * part / whole, 1)


def measure(
    recognizer: wheatear.Recognizer,
    groups: Groups,
    latencies: list[int],
    utterances: IO[str] | None,
    beam: wheatear.BeamRules | None = None,
) -> Iterator[dict[str, Any]]:
    """One row for each group, latency and prompt (the locale given, or auto)."""
    for group, clips in sorted(groups.items()):
        for latency in latencies:
            for prompt in (clips[0].locale, "auto"):
                heard = hear(recognizer, clips, prompt, latency, beam)
                asked = {"group": group, "latency_ms": latency, "prompt": prompt}
                yield asked | summarise(heard)
                if utterances is not None:
                    utterances.writelines(_lines(asked, heard))


def _lines(asked: dict[str, Any], heard: list[Heard]) -> Iterator[str]:
    """A JSON line for each clip."""
    for h in heard:
        line = asked | {
            "clip": h.clip.path.name,
            "reference": h.clip.text,
            "hypothesis": h.text,
            "language": h.language,
            "errors": h.errors(h.clip.locale in FOLDED),
        }
        yield json.dumps(line, ensure_ascii=False) + "\n"


def human_groups(manifest: Path) -> Groups:
    """Evaluation recordings: the speakers of the training set, and all others."""
    groups: Groups = defaultdict(list)
    for line in manifest.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if locale := HEARD_AS.get(entry["lang"]):
            path = manifest.parent / entry["audio_filepath"]
            known = "known" if entry["source"].startswith("asterisk") else "unknown"
            clip = Utterance(path, 0, sf.info(path).frames, entry["text"], locale)
            groups[f"human {entry['lang']}, speaker {known}"].append(clip)
    return groups


def heard_in_noise(recognizer: wheatear.Recognizer, seconds: int = 10) -> list[str]:
    """What silence and white noise at -80, -60, -40 and -30 dBFS are taken for."""
    noise = np.random.default_rng(0).standard_normal(seconds * SAMPLE_RATE).astype(np.float32)
    levels = (0.0, 10**-4, 10**-3, 10**-2, 10**-1.5)
    return [recognizer.transcribe(np.float32(level) * noise).text for level in levels]


def table(rows: list[dict[str, Any]], latencies: list[int]) -> str:
    """The rates as Markdown: language given (interval) / auto; language right of long clips."""
    found: dict[str, dict[tuple[int, bool], dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        found[row["group"]][row["latency_ms"], row["prompt"] == "auto"] = row
    heads = ["set", "clips", "words", *(f"{ms} ms" for ms in latencies), "language right"]
    lines = [heads, ["---"] * len(heads)]
    for group, by in found.items():
        first, last = by[latencies[0], False], by[latencies[-1], True]
        cells = []
        for ms in latencies:
            given, auto = by[ms, False], by[ms, True]
            low, high = given["wer_95"]
            cells.append(f"{given['wer']:.0f} ({low:.0f}-{high:.0f}) / {auto['wer']:.0f}")
        right = f"{last['language_right_2s']:.0f} %" if "language_right_2s" in last else "-"
        lines.append([group, str(first["clips"]), str(first["words"]), *cells, right])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Word error rates of a bundle.")
    parser.add_argument("manifest", type=Path, help="human recordings kept for evaluation")
    parser.add_argument("--model", help="bundle; the one that comes with Wheatear if left out")
    parser.add_argument("--synthetic", type=Path, help="manifest of held-out synthetic voices")
    parser.add_argument("--latencies", default="80,320,1120", help="milliseconds")
    parser.add_argument("--beam", type=int, default=1, help="hypotheses; 1 is greedy search")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--utterances", type=Path, help="file for every clip's texts, JSON lines")
    arguments = parser.parse_args(argv)
    recognizer = wheatear.load(arguments.model)
    groups = human_groups(arguments.manifest)
    for clip in read_manifest(arguments.synthetic) if arguments.synthetic else []:
        groups.setdefault(f"synthetic {clip.locale}, voice unknown", []).append(clip)
    for group in [g for g, clips in groups.items() if clips[0].locale not in recognizer.languages]:
        print(f"left out, since the model does not know its locale: {group}")
        del groups[group]
    rows = []
    with ExitStack() as files:
        utterances = None
        if arguments.utterances:
            utterances = files.enter_context(arguments.utterances.open("w", encoding="utf-8"))
        latencies = [int(ms) for ms in arguments.latencies.split(",")]
        beam = wheatear.BeamRules(arguments.beam) if arguments.beam > 1 else None
        for row in measure(recognizer, groups, latencies, utterances, beam):
            print(json.dumps(row), flush=True)
            rows.append(row)
    print(table(rows, latencies))
    noise = heard_in_noise(recognizer)
    print("silence and noise were taken for", noise)
    if arguments.json:
        result = {"rows": rows, "silence_and_noise": noise}
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
