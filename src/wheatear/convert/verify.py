"""How far a bundle is from its checkpoint: the same sample through both, compared.

The checkpoint's side is computed by `reference.py`, layer by layer, so that the comparison with
float32 needs no float32 bundle.
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
from wheatear.decoder.greedy import Decoder
from wheatear.encoder.encoder import Encoder
from wheatear.model.bundle import Bundle, open_bundle
from wheatear.model.languages import AUTO
from wheatear.model.latency import LatencyMode
from wheatear.model.onnx_session import default_threads


@dataclass(frozen=True)
class Deviation:
    """A bundle against its checkpoint in float32, at the checkpoint's default latency."""

    encoder: float
    """Root mean square of the encoder outputs' difference, relative to the outputs'."""
    tokens: int
    """Tokens that differ (insertions, deletions and substitutions)."""
    of_tokens: int
    """Tokens of the float32 checkpoint."""
    seconds: float
    """Length of the sample."""


def measure_deviation(folder: Path, arch: Architecture, weights: CheckpointWeights) -> Deviation:
    samples = sample_speech()
    mel = mel_of(arch, samples)
    prompt = arch.prompts.get(AUTO, min(arch.prompts.values())) if arch.prompts else None
    encoded = reference.encode(arch, weights, mel, arch.default_mode, prompt)
    tokens = reference.search(arch, weights, encoded)
    ours, our_tokens = Computed(open_bundle(folder)).listen(mel, arch.default_mode, prompt)
    return Deviation(
        encoder=float(np.sqrt(np.mean((ours - encoded) ** 2) / np.mean(encoded**2))),
        tokens=edit_distance(tokens, our_tokens),
        of_tokens=len(tokens),
        seconds=len(samples) / SAMPLE_RATE,
    )


def mel_of(arch: Architecture, samples: Samples) -> Floats:
    """Mel frames [n, bands] of a whole signal."""
    spectrogram = MelSpectrogram(arch.features)
    state = spectrogram.start()
    return np.concatenate([spectrogram.push(state, samples), spectrogram.finish(state)])


class Computed:
    """A bundle as it is run, but chunk by chunk without the streams around it."""

    def __init__(self, bundle: Bundle) -> None:
        threads = default_threads()
        self._encoder, self._decoder = Encoder(bundle, threads), Decoder(bundle, threads)

    def listen(
        self, mel: Floats, mode: LatencyMode, prompt: int | None
    ) -> tuple[Floats, list[int]]:
        """Encoder output [frames, width] and tokens of a whole signal's mel [n, bands]."""
        encoder, decoder = self._encoder, self._decoder
        encoder_state, decoder_state = encoder.start(mode), decoder.start()
        encoder.feed(encoder_state, mel)
        encoder.end(encoder_state)
        language = None if prompt is None else encoder.language(prompt)
        encoded, tokens = [], []
        while frames := encoder.ready(encoder_state, most_chunks=1):
            (output,) = encoder.step([encoder_state], frames, [language])
            encoded.append(output.encoded)
            (found,) = decoder.step([decoder_state], [output.projected])
            tokens += [token for token, _frame, _confidence in found]
        return np.concatenate(encoded), tokens


def edit_distance(reference: Sequence[object], hypothesis: Sequence[object]) -> int:
    """Levenshtein's."""
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, found in enumerate(hypothesis, 1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (expected != found)),
            )
    return row[-1]
