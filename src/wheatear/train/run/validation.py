"""Word and character error rates while training, per locale and latency."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from wheatear.evaluate.normalizer import characters, plain, units
from wheatear.evaluate.wer import count_edits
from wheatear.train.data.manifest import Utterance
from wheatear.train.data.mel import LogMel
from wheatear.train.data.tokenizer import Tokenizer
from wheatear.train.network.greedy import greedy
from wheatear.train.network.transducer import Network
from wheatear.train.run.config import LOOKAHEADS

_BATCH = 8  # clips; long ones are sorted together


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(b"validation " + text.lower().encode()).digest()[:8])


def hold_out(utterances: Sequence[Utterance]) -> tuple[list[Utterance], list[Utterance]]:
    """(to train on, kept aside): a twentieth of each locale's sentences, however often spoken.

    Of few sentences up to a fifth is kept, since a handful says little; of fewer than five, none.
    """
    by_locale: dict[str, set[str]] = defaultdict(set)
    for utterance in utterances:
        by_locale[utterance.locale].add(utterance.text.lower())
    aside: set[str] = set()
    for sentences in by_locale.values():
        count = min(max(len(sentences) // 20, 8), len(sentences) // 5)
        aside |= set(sorted(sentences, key=_number)[:count])
    kept = [u for u in utterances if u.text.lower() in aside]
    return [u for u in utterances if u.text.lower() not in aside], kept


def choose(utterances: Iterable[Utterance], clips: int) -> list[Utterance]:
    """So many clips of each locale, the same in every run."""
    by_locale: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_locale[utterance.locale].append(utterance)
    chosen: list[Utterance] = []
    for _, found in sorted(by_locale.items()):
        found.sort(key=lambda u: (_number(u.text), str(u.path), u.start))
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
    """A row for each locale and latency: clips, words, wer, cer (per cent).

    Of locales that do not put spaces between words, characters count as words.

    Greedy search over whole utterances under the mask of the latency, the locale given as prompt.
    """
    device = next(network.parameters()).device
    mel, was_training = LogMel(network.config.mels), network.training
    network.eval()
    counts: dict[tuple[str, int], np.ndarray] = defaultdict(lambda: np.zeros(5, int))
    ordered = sorted(utterances, key=lambda u: u.size)
    for at in range(0, len(ordered), _BATCH):
        clips = ordered[at : at + _BATCH]
        lengths = torch.tensor([u.size for u in clips])
        samples = torch.zeros(len(clips), int(lengths.max()))
        for row, u in zip(samples, clips, strict=True):
            audio = torch.from_numpy(u.read())[: u.size]
            row[: len(audio)] = audio
        features, frames = (x.to(device) for x in mel(samples, lengths))
        slots = torch.tensor([prompts.get(u.locale, 0) for u in clips], device=device)
        for latency in latencies:
            encoded, sizes = network.encode(features, frames, slots, LOOKAHEADS[latency])
            for u, ids in zip(clips, greedy(network, encoded, sizes), strict=True):
                said, heard = (plain(t, u.locale) for t in (u.text, tokenizer.decode(ids)[0]))
                by_word = count_edits(units(said, u.locale), units(heard, u.locale))
                by_letter = count_edits(characters(said), characters(heard))
                counts[u.locale, latency] += (
                    1, by_word.length, by_word.errors, by_letter.length, by_letter.errors,
                )  # fmt: skip
    network.train(was_training)
    return [
        {
            "locale": locale, "latency_ms": latency, "clips": clips, "words": said,
            "wer": round(100 * wrong / max(1, said), 2),
            "cer": round(100 * slips / max(1, letters), 2),
        }
        for (locale, latency), found in sorted(counts.items())
        for clips, said, wrong, letters, slips in (found.tolist(),)
    ]  # fmt: skip


def mean_wer(rows: Sequence[dict[str, Any]]) -> float:
    """Mean over locales and latencies, each counting alike."""
    return sum(row["wer"] for row in rows) / len(rows)
