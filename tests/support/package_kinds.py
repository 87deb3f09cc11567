"""External packages of each dialect, made of the oracle's checkpoints."""

import numpy as np
from external_packages import write_genai, write_parakeet, write_sherpa, write_soniqo

from wheatear.audio.mel import MelSpectrogram

# Dialect, checkpoint and frames of a chunk; the published chunks are among them.
EXACT = {
    "sherpa-80": (write_sherpa, "tiny-multi", 1, {}),
    "sherpa-160": (write_sherpa, "tiny-en", 2, {}),
    "sherpa-320": (write_sherpa, "tiny-multi", 4, {}),
    "sherpa-1120": (write_sherpa, "tiny-en", 14, {}),
    "sherpa-prompt16": (write_sherpa, "prompt16", 4, {}),
    "sherpa-bytes": (write_sherpa, "bytes", 7, {}),
    "sherpa-bias": (write_sherpa, "bias", 2, {}),
    "parakeet-mel80": (write_parakeet, "mel80", 7, {}),
    "genai-mel80": (write_genai, "mel80", 2, {"precision": "fp32"}),
    "genai-bias": (write_genai, "bias", 7, {"precision": "fp32"}),
    "soniqo-batchnorm": (write_soniqo, "batchnorm", 7, {"precision": "fp32"}),
    "parakeet-560": (write_parakeet, "tiny-multi", 7, {}),
    "parakeet-en": (write_parakeet, "tiny-en", 7, {"declared": False}),
    "parakeet-320": (write_parakeet, "bytes", 4, {}),
    "genai-560": (write_genai, "tiny-multi", 7, {"precision": "fp32"}),
    "genai-en": (write_genai, "tiny-en", 14, {"precision": "fp32"}),
    "soniqo-320": (write_soniqo, "tiny-multi", 4, {"precision": "fp32"}),
    "soniqo-1120": (write_soniqo, "bytes", 14, {"precision": "fp32"}),
}
QUANTIZED = {
    "sherpa-int8": (write_sherpa, "tiny-multi", 4, {"precision": "int8"}),
    "genai-int4": (write_genai, "tiny-multi", 7, {"precision": "int4"}),
    "soniqo-int8": (write_soniqo, "tiny-multi", 4, {"precision": "int8"}),
    "genai-fp16": (write_genai, "tiny-multi", 7, {"precision": "fp16"}),
    "soniqo-fp16": (write_soniqo, "tiny-multi", 4, {"precision": "fp16"}),
}
KINDS = EXACT | QUANTIZED
ONE_EACH = ["sherpa-320", "parakeet-560", "genai-560", "soniqo-320", *QUANTIZED]


def ids(transcript):
    return [token.id for token in transcript.tokens]


def model_of(kind):
    return KINDS[kind][1]


def encoded(recognizer, samples, prompt):
    """The encoder's frames."""
    spectrogram = MelSpectrogram(recognizer.model.manifest.features)
    encoder = recognizer.model.encoder
    mel = spectrogram.start()
    state = encoder.start(recognizer.model.manifest.default_mode)
    encoder.feed(state, spectrogram.push(mel, samples))
    encoder.feed(state, spectrogram.finish(mel))
    encoder.end(state)
    state.language = encoder.language_prompt(prompt)
    outputs = []
    while count := encoder.ready(state, 5):
        outputs += encoder.step([state], count)
    return np.concatenate([output.encoder_out for output in outputs])
