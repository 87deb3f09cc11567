"""Models that can be fetched by name, as data: where they are, which revision, under what license.

Revisions, file names, sizes and hashes as of NeMo-Speech.cpp's index of 2026-08-19
(https://github.com/NVIDIA/NeMo-Speech.cpp, models/index.json); a file without a hash here is held
against the one that the hub states.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wheatear.model.locales import LOCALES


@dataclass(frozen=True)
class License:
    """Terms that weights come under."""

    name: str
    link: str
    text: str | None = None
    """File of `wheatear/licenses` with the agreement, which must travel with the weights."""
    notice: str | None = None
    """Sentence that the agreement wants in a notice beside them."""


OPENMDW = License(
    "OpenMDW-1.1",
    "https://github.com/OpenMDW/OpenMDW/blob/main/1.1/LICENSE.OpenMDW-1.1",
    "OpenMDW-1.1.txt",
)
NVIDIA_OPEN_MODEL = License(
    "NVIDIA Open Model License",
    "https://www.nvidia.com/en-us/agreements/enterprise-software/nvidia-open-model-license/",
    "NVIDIA-Open-Model-License.txt",
    "Licensed by NVIDIA Corporation under the NVIDIA Open Model License",
)


@dataclass(frozen=True)
class PublishedModel:
    """A model on the hub."""

    about: str
    repo: str
    revision: str
    """Commit: names a content that never changes."""
    file: str
    """The checkpoint that is fetched unless another file is asked for."""
    size: int
    """Bytes of that file, about."""
    license: License
    latencies_ms: tuple[int, ...]
    locales: tuple[str, ...]
    """Those that its publisher names."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Of files whose hash is known."""


PUBLISHED = {
    "nemotron-3.5": PublishedModel(
        about="Nemotron 3.5, 40 locales, 0.6 billion parameters",
        repo="nvidia/nemotron-3.5-asr-streaming-0.6b",
        revision="1c8deaecc64b91f034d73e08dd8b64625eb3395d",
        file="nemotron-3.5-asr-streaming-0.6b.nemo",
        size=2_550_000_000,
        license=OPENMDW,
        latencies_ms=(80, 160, 320, 560, 1120),
        locales=tuple(locale.id for locale in LOCALES),
        sha256={
            "nemotron-3.5-asr-streaming-0.6b.q8_0.gguf": (
                "a5c435f294eea8f88ce68dd27b8c3bfea7f777cb2fbba04fcd30eaa555f429ae"
            ),
        },
    ),
    "nemotron-en": PublishedModel(
        about="Nemotron Speech, English alone, 0.6 billion parameters",
        repo="nvidia/nemotron-speech-streaming-en-0.6b",
        revision="ebe59e5a817142986528bbbee5dba8db7b38ed50",
        file="nemotron-speech-streaming-en-0.6b.nemo",
        size=2_470_000_000,
        license=NVIDIA_OPEN_MODEL,
        latencies_ms=(80, 160, 560, 1120),
        locales=("en-US",),
        sha256={
            "nemotron-speech-streaming-en-0.6b.q8_0.gguf": (
                "d9a01898d2a611c8764e23a1c2f45e70bbd5a425dc4de93692ac951dd603812d"
            ),
        },
    ),
}


def find_published(name: str) -> PublishedModel | None:
    """The published model of that name or hub id."""
    return PUBLISHED.get(name) or find_repository(name)


def find_repository(repo: str) -> PublishedModel | None:
    """The published model of that hub id."""
    return next((p for p in PUBLISHED.values() if p.repo.lower() == repo.lower()), None)
