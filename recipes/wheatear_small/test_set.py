"""The evaluation of a model that was trained here: what it was never trained on, as one manifest.

    python -m recipes.wheatear_small.test_set HELD --trained CLIPS --synthetic TEST --out held.jsonl
    wheatear evaluate held.jsonl --by set --numbers spoken --fold-accents es fr --output DIR

HELD is the manifest of recordings kept for evaluation, CLIPS that of the recordings trained on,
TEST that of synthetic voices kept aside.  `set` says whether a recording's speaker is among those
that were trained on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from recipes.wheatear_small.recordings import Line, read_lines
from wheatear.evaluate.normalizer import plain
from wheatear.model.locales import language_of

FOLDED = ("es", "fr")  # languages whose prompt lists leave out accents
KNOWN, UNKNOWN = "human, speaker known", "human, speaker unknown"
SYNTHETIC = "synthetic, voice unknown"


def compared(text: str, locale: str) -> list[str]:
    """The words of a text as they are compared one by one, numbers spelt out."""
    fold = language_of(locale) in FOLDED
    return plain(text, locale, spell_numbers=True, fold_accents=fold).split()


def held_lines(held: Path, trained: Path | None, synthetic: Path | None) -> Iterator[Line]:
    """Lines of the manifest, their audio where it is."""
    speakers = {line["speaker"] for line in read_lines(trained)} if trained else set()
    for line in _with_audio(held):
        yield {**line, "set": KNOWN if line.get("speaker") in speakers else UNKNOWN}
    for line in _with_audio(synthetic) if synthetic else ():
        yield {**line, "set": SYNTHETIC}


def _with_audio(manifest: Path) -> Iterable[Line]:
    for line in read_lines(manifest):
        yield {**line, "audio_filepath": str(manifest.parent.absolute() / line["audio_filepath"])}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="What a model was never trained on.")
    parser.add_argument("held", type=Path, help="recordings kept for evaluation")
    parser.add_argument("--trained", type=Path, help="recordings that were trained on")
    parser.add_argument("--synthetic", type=Path, help="synthetic voices kept aside")
    parser.add_argument("--out", type=Path, required=True, help="manifest to write")
    a = parser.parse_args(argv)
    lines = [
        json.dumps(line, ensure_ascii=False) + "\n"
        for line in held_lines(a.held, a.trained, a.synthetic)
    ]
    a.out.write_text("".join(lines), encoding="utf-8")
    print(f"{a.out}: {len(lines)} utterances")


if __name__ == "__main__":
    main()
