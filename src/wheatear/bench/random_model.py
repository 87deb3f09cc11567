"""Random weights in the shapes of the published checkpoints, without any download.

The time of a matrix product does not depend on its weights: a random model of the same shapes is as
fast as the trained one. `wheatear.bench.token_rate` gives it the token rate of speech.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from wheatear.errors import BenchError, BundleError, MissingExtraError
from wheatear.model.bundle import open_bundle
from wheatear.model.store import models_folder

ProgressCallback = Callable[[str, float], None]
"""Called with the name of the step and the share of it that is done."""

_SEED = 0


@dataclass(frozen=True)
class RandomModel:
    """Shapes of a checkpoint of the Nemotron family."""

    contexts: tuple[tuple[int, int], ...]
    """Frames of left and right attention context, the default first."""
    pieces: int
    prompts: int
    """Length of the one-hot language prompt; 0 for a model without one."""
    layers: int = 24
    width: int = 1024
    heads: int = 8
    channels: int = 256
    hidden: int = 640
    joint: int = 640
    kernel: int = 9
    bands: int = 128

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yields names and shapes of the state dict in NeMo's naming."""
        yield from self._subsampling()
        for i in range(self.layers):
            yield from self._layer(f"encoder.layers.{i}")
        if self.prompts:
            yield "prompt_kernel.0.weight", (2 * self.width, self.width + self.prompts)
            yield "prompt_kernel.0.bias", (2 * self.width,)
            yield "prompt_kernel.2.weight", (self.width, 2 * self.width)
            yield "prompt_kernel.2.bias", (self.width,)
        yield "decoder.prediction.embed.weight", (self.pieces + 1, self.hidden)
        for i in range(2):
            for kind in ("ih", "hh"):
                lstm = f"decoder.prediction.dec_rnn.lstm.{{}}_{kind}_l{i}"
                yield lstm.format("weight"), (4 * self.hidden, self.hidden)
                yield lstm.format("bias"), (4 * self.hidden,)
        for name, outputs, inputs in (
            ("joint.pred", self.joint, self.hidden),
            ("joint.enc", self.joint, self.width),
            ("joint.joint_net.2", self.pieces + 1, self.joint),
        ):
            yield f"{name}.weight", (outputs, inputs)
            yield f"{name}.bias", (outputs,)

    def _subsampling(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        conv, channels, bands = "encoder.pre_encode.conv", self.channels, self.bands
        yield f"{conv}.0.weight", (channels, 1, 3, 3)
        for depthwise, pointwise in ((2, 3), (5, 6)):
            yield f"{conv}.{depthwise}.weight", (channels, 1, 3, 3)
            yield f"{conv}.{pointwise}.weight", (channels, channels, 1, 1)
        for i in (0, 2, 3, 5, 6):
            yield f"{conv}.{i}.bias", (channels,)
        for _ in range(3):
            bands = bands // 2 + 1
        yield "encoder.pre_encode.out.weight", (self.width, channels * bands)
        yield "encoder.pre_encode.out.bias", (self.width,)

    def _layer(self, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        width = self.width
        norms = ("feed_forward1", "self_att", "conv", "feed_forward2", "out")
        for norm in (*(f"norm_{norm}" for norm in norms), "conv.batch_norm"):
            yield f"{name}.{norm}.weight", (width,)
            yield f"{name}.{norm}.bias", (width,)
        for k in (1, 2):
            yield f"{name}.feed_forward{k}.linear1.weight", (4 * width, width)
            yield f"{name}.feed_forward{k}.linear2.weight", (width, 4 * width)
        for part in ("q", "k", "v", "out", "pos"):
            yield f"{name}.self_attn.linear_{part}.weight", (width, width)
        for part in ("u", "v"):
            yield f"{name}.self_attn.pos_bias_{part}", (self.heads, width // self.heads)
        yield f"{name}.conv.pointwise_conv1.weight", (2 * width, width, 1)
        yield f"{name}.conv.depthwise_conv.weight", (width, 1, self.kernel)
        yield f"{name}.conv.pointwise_conv2.weight", (width, width, 1)

    def config(self) -> dict[str, Any]:
        """The parts of NeMo's model_config.yaml that describe the architecture."""
        prompts = {"prompt_dictionary": {"en-US": 0, "auto": 101}} if self.prompts else {}
        return {
            "target": maker(),
            "preprocessor": {"features": self.bands, "window_size": 0.025, "normalize": "NA"},
            "encoder": {
                "feat_in": self.bands,
                "n_layers": self.layers,
                "subsampling": "dw_striding",
                "subsampling_factor": 8,
                "causal_downsampling": True,
                "att_context_style": "chunked_limited",
                "d_model": self.width,
                "n_heads": self.heads,
                "ff_expansion_factor": 4,
                "att_context_size": [list(context) for context in self.contexts],
                "conv_kernel_size": self.kernel,
                "conv_norm_type": "layer_norm",
                "conv_context_size": "causal",
                "xscaling": False,
            },
            "decoder": {"prednet": {"pred_hidden": self.hidden, "pred_rnn_layers": 2}},
            "joint": {"jointnet": {"joint_hidden": self.joint, "activation": "relu"}},
            "model_defaults": prompts,
        }


_LEFT_56 = ((56, 3), (56, 0), (56, 6), (56, 13))
_LEFT_70 = ((70, 13), (70, 6), (70, 1), (70, 0))
RANDOM_MODELS = {
    "nemotron-3.5": RandomModel(_LEFT_56, pieces=13087, prompts=128),
    "nemotron-en": RandomModel(_LEFT_70, pieces=1024, prompts=0),
    "tiny": RandomModel(
        _LEFT_56, pieces=95, prompts=128, layers=2, width=64, heads=4, channels=32, hidden=32,
        joint=48,
    ),
}  # fmt: skip


def random_model(name: str) -> RandomModel:
    """Shapes by name.  Raises BenchError for an unknown name."""
    try:
        return RANDOM_MODELS[name]
    except KeyError:
        known = ", ".join(RANDOM_MODELS)
        raise BenchError(f"no random model {name!r}; choose one of {known}") from None


def write_checkpoint(name: str, path: Path) -> None:
    """Writes a safetensors checkpoint: reproducible bytes, one tensor in memory at a time.

    `wheatear.convert.checkpoints.open` describes the header.
    """
    model = random_model(name)
    tensors = dict(model.tensors())
    header = {
        "format": 1,
        "name": f"random-{name}",
        "config": model.config(),
        "pieces": [["<unk>", 0.0], *([f"\u2581{i}", 0.0] for i in range(1, model.pieces))],
    }
    entries: dict[str, Any] = {"__metadata__": {"wheatear": json.dumps(header)}}
    end = 0
    for tensor, shape in tensors.items():
        start, end = end, end + 4 * int(np.prod(shape))
        entries[tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    rng = np.random.default_rng(_SEED)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor, shape in tensors.items():
            values = rng.standard_normal(shape, np.float32)
            values *= 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
            if "norm" in tensor and tensor.endswith("weight"):
                values += 1
            file.write(values.data)


def random_bundles(name: str, precisions: Sequence[str], progress: ProgressCallback) -> list[Path]:
    """Returns bundles of a random model in the models folder.

    Missing bundles, and those of another version of the converter, are written first: a minute per
    0.6 billion parameters. Raises BenchError, MissingExtraError or OSError.
    """
    random_model(name)
    bundles = {p: models_folder() / f"random-{name}-{p}" for p in precisions}
    missing = {p: bundle for p, bundle in bundles.items() if not _is_current(bundle)}
    if missing:
        convert = _converter(missing)
        with random_checkpoint(name, progress) as checkpoint:
            for precision, bundle in missing.items():
                if bundle.exists():
                    shutil.rmtree(bundle)
                step = f"converting {checkpoint.stem} to {precision}"
                convert(checkpoint, bundle, precision, progress=partial(progress, step))
    return list(bundles.values())


@contextmanager
def random_checkpoint(name: str, progress: ProgressCallback) -> Iterator[Path]:
    """Yields a checkpoint that is deleted after the block."""
    models_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".random-", dir=models_folder()) as folder:
        path = Path(folder) / f"random-{name}.safetensors"
        progress(f"writing random weights of {name}", 0.0)
        write_checkpoint(name, path)
        yield path


def _converter(precisions: Iterable[str]) -> Callable[..., Any]:
    """The function that converts a checkpoint.  Raises BenchError or MissingExtraError."""
    try:
        from wheatear.convert.pipeline import convert  # noqa: PLC0415  (an extra, slow to import)
        from wheatear.convert.quantize import RECIPES  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"making random models needs {error.name}: pip install 'wheatear[convert]'"
        ) from error
    if unknown := set(precisions) - RECIPES.keys():
        raise BenchError(f"no precision {unknown.pop()!r}; choose one of {', '.join(RECIPES)}")
    return convert


def _is_current(bundle: Path) -> bool:
    """True if this version of the converter wrote the bundle."""
    try:
        return open_bundle(bundle).manifest.source == maker()
    except BundleError:
        return False


@cache
def maker() -> str:
    """Returns the source that the manifest of a random bundle names."""
    return f"random weights, made by {fingerprint('convert/**/*.py', 'bench/random_model.py')}"


def fingerprint(*patterns: str) -> str:
    """Hash of files of this package: their output is outdated when it changes."""
    digest = hashlib.sha256()
    for pattern in patterns:
        for file in sorted(Path(__file__).parents[1].glob(pattern)):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
