"""Where the words of a recording are, by a model that has learnt to hear it.

    python -m recipes.wheatear_small.align CHECKPOINT CLIPS --exclude HELD --out aligned.jsonl

The likeliest path of the transducer through frames and tokens of what was said gives each word the
frame in which it was emitted.  Between two words the quietest moment near by is where the recording
may be cut, if it is quiet enough there; the other boundaries are not told.

Source: Graves 2012 (arXiv 1211.3711), whose lattice this walks with maxima for sums.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile as sf
import torch

from recipes.wheatear_small.recordings import Aligned, Run, human_texts, read_lines
from recipes.wheatear_small.text_filter import LOCALE_OF, held_words
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.errors import WheatearError
from wheatear.train.data.manifest import Utterance
from wheatear.train.data.mel import FRAME, LogMel
from wheatear.train.data.tokenizer import Tokenizer
from wheatear.train.network.transducer import Network
from wheatear.train.run.pretrained import find_checkpoint, read_pretrained

LOOKAHEAD = 13
_HOP = SAMPLE_RATE // 200  # 5 ms
_QUIET = 12.0  # decibels that a cut lies below the loudest of the words beside it
_SHORTEST, _LETTER = 0.06, 0.035  # seconds of a run, and of each of its letters
_BEFORE, _AFTER = 0.16, 0.08  # seconds around a word's beginning in which it may be cut off


def emissions(
    network: Network, mel: LogMel, samples: Samples, prompt: int, ids: list[int]
) -> list[int]:
    """The frame of each token on the likeliest path."""
    features, frames = mel(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    blank = network.config.vocab_size
    with torch.no_grad():
        encoded, _ = network.encode(features, frames, torch.tensor([prompt]), LOOKAHEAD)
        said = torch.tensor([[blank, *ids]])
        predicted, _ = network.decoder(said)
        projected = network.joint.enc(encoded[0])[:, None] + network.joint.pred(predicted[0])
        logits = network.joint.joint_net(projected).log_softmax(-1)  # [T, U + 1, V + 1]
    silent = logits[..., blank].double().numpy()
    spoken = logits[:, torch.arange(len(ids)), torch.tensor(ids)].double().numpy()  # [T, U]
    return _best_path(silent, spoken)


def _best_path(silent: np.ndarray, spoken: np.ndarray) -> list[int]:
    """silent [T, U + 1], spoken [T, U]: log-probabilities of the blank and of the next token."""
    frames, tokens = spoken.shape
    emitted = np.zeros((frames, tokens + 1), bool)
    row = np.full(tokens + 1, -np.inf)
    row[0] = 0.0
    for t in range(frames):
        if t:
            row = row + silent[t - 1]
        # Emitting from k on up to u costs a difference of sums: the best k is a running maximum.
        sums = np.concatenate(([0.0], np.cumsum(spoken[t])))
        through = np.maximum.accumulate(row - sums) + sums
        emitted[t] = through > row + 1e-9
        row = np.maximum(row, through)
    at, t, found = tokens, frames - 1, []
    while at:
        if emitted[t, at]:
            at -= 1
            found.append(t)
        else:
            t -= 1
    return found[::-1]


def runs(samples: Samples, words: Sequence[str], begun: Sequence[float]) -> tuple[Run, ...]:
    """The words, whose emission says that each began about then, cut where it is quiet."""
    loud = _loudness(samples)
    edges = [0.0]
    groups = [[words[0]]]
    for word, start in zip(words[1:], begun[1:], strict=True):
        cut = _quietest(loud, max(edges[-1] + 0.05, start - _BEFORE), start + _AFTER)
        if cut is None:
            groups[-1].append(word)
        else:
            edges.append(cut)
            groups.append([word])
    edges.append(len(samples) / SAMPLE_RATE)
    return tuple(
        Run(tuple(group), round(first, 4), round(end, 4))
        for group, first, end in _plausible(groups, edges)
    )


def _plausible(
    groups: list[list[str]], edges: list[float]
) -> Iterator[tuple[list[str], float, float]]:
    """The runs; one that is too short for its letters was cut wrongly and joins the next."""
    first, waiting = edges[0], []
    found: list[tuple[list[str], float, float]] = []
    for group, end in zip(groups, edges[1:], strict=True):
        waiting = waiting + group
        if end - first >= _SHORTEST + _LETTER * sum(map(len, waiting)):
            found.append((waiting, first, end))
            first, waiting = end, []
    if waiting and found:
        words, first, _ = found.pop()
        waiting = words + waiting
    yield from found
    if waiting:
        yield waiting, first, edges[-1]


def _loudness(samples: Samples) -> np.ndarray:
    """Decibels of 20 ms around every 5 ms."""
    power = np.convolve(
        np.square(samples, dtype=np.float64), np.ones(4 * _HOP) / (4 * _HOP), "same"
    )
    return 10 * np.log10(power[::_HOP] + 1e-9)


def _quietest(loud: np.ndarray, first: float, last: float) -> float | None:
    """When to cut, seconds; None if there is no moment that is quiet next to what is around it."""
    a, b = (min(len(loud) - 1, max(0, round(t * SAMPLE_RATE / _HOP))) for t in (first, last))
    if b <= a:
        return None
    at = a + int(loud[a : b + 1].argmin())
    before, after = loud[max(0, at - 40) : at + 1].max(), loud[at : at + 41].max()  # 200 ms
    return at * _HOP / SAMPLE_RATE if min(before, after) - loud[at] >= _QUIET else None


def spoken_words(
    tokenizer: Tokenizer, ids: Sequence[int], frames: Sequence[int]
) -> tuple[list[str], list[int]]:
    """The words of the tokens with the frame of their first one; tags left out."""
    words: list[str] = []
    begun: list[int] = []
    space = True
    for token, frame in zip(ids, frames, strict=True):
        piece = tokenizer.piece(token)
        if piece == tokenizer.piece(ids[-1]) and piece.startswith("<"):
            continue
        space |= piece.startswith("▁")
        if letters := piece.replace("▁", ""):
            if space:
                words.append("")
                begun.append(frame)
            words[-1] += letters
            space = False
    return words, begun


def align(
    checkpoint: Path, clips: Path, excluded: frozenset[str], delay: float
) -> Iterator[Aligned]:
    """The recordings that may be trained on; delay: how late words are emitted, seconds."""
    start = read_pretrained(checkpoint)
    network = Network(start.config)
    start.fit(network)
    network.eval()
    mel = LogMel(start.config.mels)
    for line, text in human_texts(clips, excluded):
        path, locale = clips.parent / line["audio_filepath"], LOCALE_OF[line["lang"]]
        samples = Utterance(path, 0, sf.info(path).frames, text, locale).read()
        # Silence before it gives the model time to begin.
        lead = 4 * FRAME
        padded = np.pad(samples, (lead, 4 * FRAME))
        ids = start.tokenizer.encode(text, locale)
        frames = emissions(network, mel, padded, start.prompts[locale], ids)
        words, begun = spoken_words(start.tokenizer, ids, frames)
        seconds = [(frame * FRAME - lead) / SAMPLE_RATE - delay for frame in begun]
        yield Aligned(
            line["audio_filepath"], locale, line["speaker"], line["licence"],
            runs(samples, words, seconds),
        )  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Where the words of recordings are.")
    parser.add_argument("checkpoint", help="checkpoint or model that has learnt the recordings")
    parser.add_argument("clips", type=Path, help="manifest of human recordings to train on")
    parser.add_argument("--exclude", type=Path, required=True, help="the evaluation recordings")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines to write")
    parser.add_argument("--delay", type=float, default=0.16, help="of words at 1120 ms, seconds")
    a = parser.parse_args(argv)
    excluded = held_words(read_lines(a.exclude))
    with a.out.open("w", encoding="utf-8") as file:
        for aligned in align(find_checkpoint(a.checkpoint), a.clips, excluded, a.delay):
            file.write(json.dumps(asdict(aligned), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    try:
        main()
    except WheatearError as error:
        sys.exit(f"error: {error}")
