"""Word and character error rates while training, per locale and latency."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from wheatear.evaluate.normalizer import characters, normalize_words, units
from wheatear.evaluate.wer import count_edits
from wheatear.train.data.batches import pad
from wheatear.train.data.manifest import Utterance
from wheatear.train.data.mel import LogMel
from wheatear.train.data.tokenizer import Tokenizer
from wheatear.train.network.greedy import greedy_search
from wheatear.train.network.transducer import Network
from wheatear.train.run.config import LOOKAHEADS

_BATCH_CLIPS = 8


def _random_order(text: str) -> int:
    return int.from_bytes(hashlib.sha256(b"validation " + text.lower().encode()).digest()[:8])


def split_validation(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """Splits into training utterances and a twentieth of each locale's sentences for validation.

    At least eight sentences are held out, but at most a fifth: of fewer than five, none.
    """
    by_locale: dict[str, set[str]] = defaultdict(set)
    for utterance in utterances:
        by_locale[utterance.locale].add(utterance.text.lower())
    held_out: set[str] = set()
    for sentences in by_locale.values():
        count = min(max(len(sentences) // 20, 8), len(sentences) // 5)
        held_out |= set(sorted(sentences, key=_random_order)[:count])
    training = [u for u in utterances if u.text.lower() not in held_out]
    return training, [u for u in utterances if u.text.lower() in held_out]


def choose_clips(utterances: Iterable[Utterance], clips: int) -> list[Utterance]:
    """Chooses a number of clips of each locale, the same in every run."""
    by_locale: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_locale[utterance.locale].append(utterance)
    chosen: list[Utterance] = []
    for _, found in sorted(by_locale.items()):
        found.sort(key=lambda u: (_random_order(u.text), str(u.path), u.start))
        chosen += found[:clips]
    return chosen


@torch.no_grad()
def validate(
    network: Network,
    tokenizer: Tokenizer,
    prompts: dict[str, int],
    utterances: Sequence[Utterance],
    latencies: Sequence[int],
) -> list[dict[str, Any]]:
    """Measures error rates by greedy search over whole utterances, with the locale as prompt.

    Returns a row for each locale and latency: clips, words, wer and cer in percent.  In locales
    without spaces between words, characters count as words.
    """
    device = next(network.parameters()).device
    mel, was_training = LogMel(network.config.mels), network.training
    network.eval()
    counts: dict[tuple[str, int], np.ndarray] = defaultdict(lambda: np.zeros(5, int))
    ordered = sorted(utterances, key=lambda u: u.size)
    for at in range(0, len(ordered), _BATCH_CLIPS):
        clips = ordered[at : at + _BATCH_CLIPS]
        features, frames = (x.to(device) for x in mel(*pad([u.read() for u in clips])))
        slots = torch.tensor([prompts.get(u.locale, 0) for u in clips], device=device)
        for latency in latencies:
            encoded, sizes = network.encode(features, frames, slots, LOOKAHEADS[latency])
            for u, ids in zip(clips, greedy_search(network, encoded, sizes), strict=True):
                texts = u.text, tokenizer.decode(ids)[0]
                reference, hypothesis = (normalize_words(text, u.locale) for text in texts)
                words = count_edits(units(reference, u.locale), units(hypothesis, u.locale))
                chars = count_edits(characters(reference), characters(hypothesis))
                counts[u.locale, latency] += (
                    1, words.length, words.errors, chars.length, chars.errors
                )  # fmt: skip
    network.train(was_training)
    rows = []
    for (locale, latency), found in sorted(counts.items()):
        count, length, errors, char_length, char_errors = found.tolist()
        rows.append(
            {
                "locale": locale, "latency_ms": latency, "clips": count, "words": length,
                "wer": round(100 * errors / max(1, length), 2),
                "cer": round(100 * char_errors / max(1, char_length), 2),
            }
        )  # fmt: skip
    return rows


def mean_wer(rows: Sequence[dict[str, Any]]) -> float:
    """Returns the unweighted mean over locales and latencies."""
    return sum(row["wer"] for row in rows) / len(rows)
