"""Alignment of words in recordings, by a model that was trained on them.

    python -m recipes.wheatear_small.align CHECKPOINT CLIPS --exclude HELD --out aligned.jsonl

The most likely path of the transducer through frames and tokens gives each word the frame of its
emission.  A recording is cut between two words at the quietest moment near their boundary, if it is
quiet enough there; other boundaries are left out.

Source: Graves 2012 (arXiv 1211.3711), with maxima instead of sums over the lattice.
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

from recipes.wheatear_small.recordings import AlignedRecording, Run, human_texts, read_lines
from recipes.wheatear_small.text_filter import LOCALE_OF, evaluation_sentences
from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples
from wheatear.errors import WheatearError
from wheatear.train.data.manifest import Utterance
from wheatear.train.data.mel import FRAME, LogMel
from wheatear.train.data.tokenizer import Tokenizer
from wheatear.train.network.transducer import Network
from wheatear.train.run.pretrained import find_checkpoint, read_pretrained

_LOOKAHEAD = 13
_HOP = SAMPLE_RATE // 200  # 5 ms
_CUT_DEPTH_DB = 12.0  # level of a cut below the maximum of the words next to it
_MIN_RUN_S, _MIN_LETTER_S = 0.06, 0.035  # minimum of a run, and of each of its letters
_BEFORE_S, _AFTER_S = 0.16, 0.08  # range of a cut around the start of a word


def emission_frames(
    network: Network, mel: LogMel, samples: Samples, prompt: int, ids: list[int]
) -> list[int]:
    """Returns the frame of each token on the most likely path."""
    features, frames = mel(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    blank = network.config.vocab_size
    with torch.no_grad():
        encoded, _ = network.encode(features, frames, torch.tensor([prompt]), _LOOKAHEAD)
        predicted, _ = network.decoder(torch.tensor([[blank, *ids]]))
        projected = network.joint.enc(encoded[0])[:, None] + network.joint.pred(predicted[0])
        logits = network.joint.joint_net(projected).log_softmax(-1)  # [T, U + 1, V + 1]
    blank_scores = logits[..., blank].double().numpy()
    token_scores = logits[:, torch.arange(len(ids)), torch.tensor(ids)].double().numpy()  # [T, U]
    return best_path(blank_scores, token_scores)


def best_path(blank_scores: np.ndarray, token_scores: np.ndarray) -> list[int]:
    """Returns the most likely frame of each token.

    blank_scores [T, U + 1] and token_scores [T, U]: log-probabilities of the blank and of the next
    token.
    """
    frames, tokens = token_scores.shape
    emitted = np.zeros((frames, tokens + 1), bool)
    row = np.full(tokens + 1, -np.inf)
    row[0] = 0.0
    for t in range(frames):
        if t:
            row = row + blank_scores[t - 1]
        # The score of tokens k to u is a difference of sums: the best k is a running maximum.
        sums = np.concatenate(([0.0], np.cumsum(token_scores[t])))
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


def cut_into_runs(
    samples: Samples, words: Sequence[str], starts: Sequence[float]
) -> tuple[Run, ...]:
    """Cuts a recording where it is quiet near the starts of words, in seconds."""
    loudness = _loudness_db(samples)
    edges = [0.0]
    groups = [[words[0]]]
    for word, start in zip(words[1:], starts[1:], strict=True):
        cut = _quietest_moment(loudness, max(edges[-1] + 0.05, start - _BEFORE_S), start + _AFTER_S)
        if cut is None:
            groups[-1].append(word)
        else:
            edges.append(cut)
            groups.append([word])
    edges.append(len(samples) / SAMPLE_RATE)
    return tuple(
        Run(tuple(group), round(first, 4), round(end, 4))
        for group, first, end in _merge_short_runs(groups, edges)
    )


def _merge_short_runs(
    groups: list[list[str]], edges: list[float]
) -> Iterator[tuple[list[str], float, float]]:
    """Yields runs; one that is too short for its letters is joined with the next."""
    first, waiting = edges[0], []
    found: list[tuple[list[str], float, float]] = []
    for group, end in zip(groups, edges[1:], strict=True):
        waiting = waiting + group
        if end - first >= _MIN_RUN_S + _MIN_LETTER_S * sum(map(len, waiting)):
            found.append((waiting, first, end))
            first, waiting = end, []
    if waiting and found:
        words, first, _ = found.pop()
        waiting = words + waiting
    yield from found
    if waiting:
        yield waiting, first, edges[-1]


def _loudness_db(samples: Samples) -> np.ndarray:
    """Returns the level in dB of windows of 20 ms, every 5 ms."""
    power = np.convolve(
        np.square(samples, dtype=np.float64), np.ones(4 * _HOP) / (4 * _HOP), "same"
    )
    return 10 * np.log10(power[::_HOP] + 1e-9)


def _quietest_moment(loudness: np.ndarray, first: float, last: float) -> float | None:
    """Returns the time of a cut in seconds, or None if the level has no clear minimum."""
    a, b = (min(len(loudness) - 1, max(0, round(t * SAMPLE_RATE / _HOP))) for t in (first, last))
    if b <= a:
        return None
    at = a + int(loudness[a : b + 1].argmin())
    before, after = loudness[max(0, at - 40) : at + 1].max(), loudness[at : at + 41].max()  # 200 ms
    return at * _HOP / SAMPLE_RATE if min(before, after) - loudness[at] >= _CUT_DEPTH_DB else None


def word_frames(
    tokenizer: Tokenizer, ids: Sequence[int], frames: Sequence[int]
) -> tuple[list[str], list[int]]:
    """Returns words, without the locale tag, and the frames of their first tokens."""
    words: list[str] = []
    starts: list[int] = []
    space = True
    for token, frame in zip(ids, frames, strict=True):
        piece = tokenizer.piece(token)
        if piece == tokenizer.piece(ids[-1]) and piece.startswith("<"):
            continue
        space |= piece.startswith("▁")
        if letters := piece.replace("▁", ""):
            if space:
                words.append("")
                starts.append(frame)
            words[-1] += letters
            space = False
    return words, starts


def align(
    checkpoint: Path, clips: Path, excluded: frozenset[str], delay: float
) -> Iterator[AlignedRecording]:
    """Aligns recordings that may be trained on; `delay` is the emission delay in seconds."""
    pretrained = read_pretrained(checkpoint)
    network = Network(pretrained.config)
    pretrained.copy_to(network)
    network.eval()
    mel = LogMel(pretrained.config.mels)
    for line, text in human_texts(clips, excluded):
        path, locale = clips.parent / line["audio_filepath"], LOCALE_OF[line["lang"]]
        samples = Utterance(path, 0, sf.info(path).frames, text, locale).read()
        # Silence in front, since the first frames of a stream are less accurate.
        lead = 4 * FRAME
        padded = np.pad(samples, (lead, 4 * FRAME))
        ids = pretrained.tokenizer.encode(text, locale)
        frames = emission_frames(network, mel, padded, pretrained.prompts[locale], ids)
        words, starts = word_frames(pretrained.tokenizer, ids, frames)
        seconds = [(frame * FRAME - lead) / SAMPLE_RATE - delay for frame in starts]
        yield AlignedRecording(
            line["audio_filepath"], locale, line["speaker"], line["license"],
            cut_into_runs(samples, words, seconds),
        )  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Alignment of words in recordings.")
    parser.add_argument("checkpoint", help="checkpoint or model that was trained on the recordings")
    parser.add_argument("clips", type=Path, help="manifest of human recordings to train on")
    parser.add_argument(
        "--exclude", type=Path, required=True, help="manifest of the evaluation recordings"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON lines to write")
    parser.add_argument(
        "--delay", type=float, default=0.16, help="emission delay at 1120 ms, in seconds"
    )
    a = parser.parse_args(argv)
    excluded = evaluation_sentences(read_lines(a.exclude))
    with a.out.open("w", encoding="utf-8") as file:
        for aligned in align(find_checkpoint(a.checkpoint), a.clips, excluded, a.delay):
            file.write(json.dumps(asdict(aligned), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    try:
        main()
    except WheatearError as error:
        sys.exit(f"error: {error}")
