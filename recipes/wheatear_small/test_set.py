"""Builds the test manifest: recordings and voices that were excluded from training.

    python -m recipes.wheatear_small.test_set HELD --trained CLIPS --synthetic TEST --out held.jsonl
    wheatear evaluate held.jsonl --by set --numbers spoken --fold-accents es fr --output DIR

HELD is the manifest of recordings for evaluation, CLIPS that of the training recordings, TEST that
of held-out synthetic voices.  The field `set` shows if the speaker of a recording is in the
training data.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from recipes.wheatear_small.recordings import Line, read_lines
from wheatear.evaluate.normalizer import normalize_words
from wheatear.model.locales import language_of

FOLDED = ("es", "fr")  # languages of prompt lists without accents
KNOWN, UNKNOWN = "human, speaker known", "human, speaker unknown"
SYNTHETIC = "synthetic, voice unknown"


def comparison_words(text: str, locale: str) -> list[str]:
    """Returns the words of a text for comparison, with numbers in words."""
    fold = language_of(locale) in FOLDED
    return normalize_words(text, locale, spell_numbers=True, fold_accents=fold).split()


def test_lines(held: Path, trained: Path | None, synthetic: Path | None) -> Iterator[Line]:
    """Yields the lines of the test manifest."""
    speakers = {line["speaker"] for line in read_lines(trained)} if trained else set()
    for line in _with_audio(held):
        yield {**line, "set": KNOWN if line.get("speaker") in speakers else UNKNOWN}
    for line in _with_audio(synthetic) if synthetic else ():
        yield {**line, "set": SYNTHETIC}


def _with_audio(manifest: Path) -> Iterable[Line]:
    for line in read_lines(manifest):
        yield {**line, "audio_filepath": str(manifest.parent.absolute() / line["audio_filepath"])}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Test manifest of data that was held out.")
    parser.add_argument("held", type=Path, help="manifest of recordings for evaluation")
    parser.add_argument("--trained", type=Path, help="manifest of the training recordings")
    parser.add_argument("--synthetic", type=Path, help="manifest of held-out synthetic voices")
    parser.add_argument("--out", type=Path, required=True, help="manifest to write")
    a = parser.parse_args(argv)
    lines = [
        json.dumps(line, ensure_ascii=False) + "\n"
        for line in test_lines(a.held, a.trained, a.synthetic)
    ]
    a.out.write_text("".join(lines), encoding="utf-8")
    print(f"{a.out}: {len(lines)} utterances")


if __name__ == "__main__":
    main()
