"""Published models that can be fetched by name: repository, revision, license.

Revisions, file names, sizes and hashes are those of NeMo-Speech.cpp's index of 2026-08-19
(https://github.com/NVIDIA/NeMo-Speech.cpp, models/index.json). A file without a hash here is
verified by the hash of the hub.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wheatear.model.locales import LOCALES


@dataclass(frozen=True)
class License:
    """License of weights."""

    name: str
    link: str
    text: str | None = None
    """File in `wheatear/data/licenses` with the agreement, a copy of which is required."""
    notice: str | None = None
    """Sentence that the agreement requires in a notice."""


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
    """Commit."""
    file: str
    """Checkpoint that is fetched by default."""
    size: int
    """Approximate size of that file in bytes."""
    license: License
    latencies_ms: tuple[int, ...]
    locales: tuple[str, ...]
    sha256: Mapping[str, str] = field(default_factory=dict)
    """File -> known hash."""


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
        about="Nemotron Speech, English only, 0.6 billion parameters",
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
    """Returns the published model with a name or hub id, if there is one."""
    return PUBLISHED.get(name) or find_repository(name)


def find_repository(repo: str) -> PublishedModel | None:
    """Returns the published model with a hub id, if there is one."""
    return next((p for p in PUBLISHED.values() if p.repo.lower() == repo.lower()), None)
