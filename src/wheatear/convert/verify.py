"""Compares a bundle with its checkpoint on a sample recording.

`reference.py` computes the checkpoint's side layer by layer, so that no float32 bundle is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wheatear.audio.mel import SAMPLE_RATE, MelSpectrogram
from wheatear.audio.reader import sample_speech
from wheatear.audio.samples import Samples
from wheatear.common.arrays import Floats
from wheatear.convert import reference
from wheatear.convert.architecture import Architecture
from wheatear.convert.checkpoints.weights import CheckpointWeights
from wheatear.decoder.greedy import GreedySearch
from wheatear.decoder.networks import open_networks
from wheatear.encoder.encoder import Encoder
from wheatear.model.bundle import Bundle, open_bundle
from wheatear.model.languages import AUTO
from wheatear.model.latency import LatencyMode
from wheatear.model.onnx_session import default_threads


@dataclass(frozen=True)
class Deviation:
    """Deviation of a bundle from its checkpoint in float32, at the default latency."""

    encoder: float
    """Root mean square error of the encoder output, relative to its root mean square."""
    tokens: int
    """Tokens that differ: insertions, deletions and substitutions."""
    of_tokens: int
    """Number of tokens of the checkpoint in float32."""
    seconds: float
    """Duration of the sample recording."""


def measure_deviation(folder: Path, arch: Architecture, weights: CheckpointWeights) -> Deviation:
    samples = sample_speech()
    mel = mel_of(arch, samples)
    prompt = arch.prompts.get(AUTO, min(arch.prompts.values())) if arch.prompts else None
    encoded = reference.encode(arch, weights, mel, arch.default_mode, prompt)
    tokens = reference.search(arch, weights, encoded)
    output, output_tokens = BundleRunner(open_bundle(folder)).run(mel, arch.default_mode, prompt)
    return Deviation(
        encoder=float(np.sqrt(np.mean((output - encoded) ** 2) / np.mean(encoded**2))),
        tokens=edit_distance(tokens, output_tokens),
        of_tokens=len(tokens),
        seconds=len(samples) / SAMPLE_RATE,
    )


def mel_of(arch: Architecture, samples: Samples) -> Floats:
    """Returns the mel frames [n, n_mels] of a whole recording."""
    spectrogram = MelSpectrogram(arch.features)
    state = spectrogram.start()
    return np.concatenate([spectrogram.push(state, samples), spectrogram.finish(state)])


class BundleRunner:
    """Encoder and greedy search of a bundle, driven chunk by chunk without a recognizer."""

    def __init__(self, bundle: Bundle) -> None:
        threads = default_threads()
        self._encoder = Encoder(bundle, threads)
        networks = open_networks(bundle, threads)
        self._search = GreedySearch(networks, bundle.manifest.confidence_measure)

    def run(self, mel: Floats, mode: LatencyMode, prompt: int | None) -> tuple[Floats, list[int]]:
        """Returns encoder output [frames, width] and tokens for mel frames [n, n_mels]."""
        encoder, search = self._encoder, self._search
        encoder_state, search_state = encoder.start(mode), search.start()
        encoder.feed(encoder_state, mel)
        encoder.end(encoder_state)
        if prompt is not None:
            encoder_state.language = encoder.language_prompt(prompt)
        encoded, tokens = [], []
        while frames := encoder.ready(encoder_state, max_chunks=1):
            (output,) = encoder.step([encoder_state], frames)
            encoded.append(output.encoder_out)
            (found,) = search.step([search_state], [output.joint_input])
            tokens += [token for token, _frame, _confidence in found]
        return np.concatenate(encoded), tokens


def edit_distance(reference: Sequence[object], hypothesis: Sequence[object]) -> int:
    """Levenshtein distance of two sequences."""
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, found in enumerate(hypothesis, 1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (expected != found)),
            )
    return row[-1]
