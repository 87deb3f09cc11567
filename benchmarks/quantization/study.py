"""Compares quantization recipes by encoder error, tokens and words on recordings.

    python -m benchmarks.quantization.study CHECKPOINT MANIFEST [--output DIR]
    python -m benchmarks.quantization.study CHECKPOINT MANIFEST --sensitivity search-4-32
    python -m benchmarks.quantization.study CHECKPOINT MANIFEST --recipe search-4-32+search-8-32

Weights are rounded in memory, and the numpy reference computes everything in float32, so that a
recipe needs no kernel. `--bundles` adds the bundles that `convert` writes, with activations in 8
bits as in use. MANIFEST is any list of recordings that `wheatear evaluate` reads.

A recipe is LAYERS or LAYERS+ENDS, each METHOD-BITS-BLOCK (`benchmarks.quantization.roundings`).
+KIND=METHOD-BITS-BLOCK adds weights with KIND in their name, or those of the `last` layer. A recipe
of KIND=... only leaves all other weights in float32. `gptq` and `activations` are for layers and
need `--calibration`: recordings that are not in MANIFEST.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.quantization.roundings import (
    CALIBRATED,
    Floats,
    Rounding,
    parse_rounding,
    round_weight,
)
from wheatear.convert import convert, reference
from wheatear.convert.architecture import Architecture, read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.convert.checkpoints.weights import Checkpoint, CheckpointWeights, StoredTensor
from wheatear.convert.verify import BundleRunner, edit_distance, mel_of
from wheatear.errors import CheckpointError, WheatearError
from wheatear.evaluate.clips import Clip
from wheatear.evaluate.corpora import read_corpus
from wheatear.evaluate.evaluation import choose
from wheatear.evaluate.normalizer import characters
from wheatear.evaluate.records import Scoring
from wheatear.evaluate.wer import count_edits
from wheatear.model.bundle import open_bundle
from wheatear.model.languages import resolve_language
from wheatear.model.latency import LatencyMode, choose_mode
from wheatear.model.locales import has_spaces
from wheatear.model.native_library import use_native
from wheatear.model.vocabulary import Vocabulary
from wheatear.transcript.detokenizer import Detokenizer

_LAYERS = re.compile(
    r"encoder\.layers\.\d+\.(feed_forward[12]\.linear[12]|self_attn\.linear_(q|k|v|out)"
    r"|conv\.pointwise_conv[12])\.weight"
)
_ENDS = re.compile(r"(encoder\.pre_encode\.out|joint\.enc|joint\.joint_net\.\d)\.weight")
_KINDS = (
    *(f"feed_forward{k}.linear{n}" for k in (1, 2) for n in (1, 2)),
    *(f"self_attn.linear_{part}" for part in ("q", "k", "v", "out", "pos")),
    *("conv.pointwise_conv1", "conv.pointwise_conv2", "pre_encode.out", "joint.enc"),
    *("joint.joint_net", "joint.pred", "dec_rnn", "embed", "prompt_kernel"),
)
_COMPARED = (
    *("nearest-8-32", "k-quant-8-32", "nearest-8-128"),
    *("nearest-4-32", "search-4-32", "search-4-32+search-8-32"),
    *(f"{how}-4-32+search-8-32" for how in ("nearest", "fine", "weighted", "k-quant")),
    *(f"{how}-4-64+search-8-32" for how in ("fine", "k-quant")),
    *(f"{how}-4-128+search-8-32" for how in ("nearest", "fine", "k-quant")),
    *(f"search-4-32+search-8-32+{kind}=search-8-32" for kind in ("linear1", "layers.0.", "last")),
)
_CALIBRATED = tuple(
    f"{how}-4-{block}+search-8-32" for how in ("activations", "gptq") for block in (32, 128)
)
RESULTS = "study.jsonl"


@dataclass(frozen=True)
class Row:
    """Errors of a recipe."""

    recipe: str
    size: float | None
    """Mean bytes of a weight over layers and ends; None for bundles."""
    encoder: float
    """Root mean square error of the encoder output, relative to its root mean square."""
    tokens: int
    """Edit distance to the tokens in float32."""
    of_tokens: int
    errors: int
    """Errors in words, or in characters for languages without spaces."""
    of_words: int


@dataclass(frozen=True)
class _Baseline:
    """A clip and the output of the checkpoint in float32."""

    clip: Clip
    mel: Floats
    prompt: int | None
    encoded: Floats
    tokens: list[int]


Transcriber = Callable[[Floats, int | None], tuple[Floats, list[int]]]
"""Function from mel and prompt to encoder output and tokens."""


class ObservedWeights(CheckpointWeights):
    """Weights that sum the products of the inputs of each linear layer."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        super().__init__(tensors)
        self.grams: dict[str, Floats] = {}

    def linear(self, name: str, x: Floats) -> Floats:
        weight = f"{name}.weight"
        if _LAYERS.fullmatch(weight):
            gram = x.T @ x
            if weight in self.grams:
                gram += self.grams[weight]
            self.grams[weight] = gram
        return super().linear(name, x)


class Study:
    """A checkpoint in float32 and clips, with which recipes are compared."""

    def __init__(
        self,
        source: Checkpoint,
        clips: Sequence[Clip],
        scoring: Scoring,
        latency_ms: int | None = None,
    ) -> None:
        self.arch: Architecture = read_architecture(source)
        self.mode: LatencyMode = choose_mode(self.arch.modes, self.arch.default_mode, latency_ms)
        self._scoring = scoring
        self._vocabulary = Vocabulary(source.vocabulary, self.arch.tags)
        self._exact = _in_memory(source.weights)
        self._grams: dict[str, Floats] = {}
        exact = self._reference(CheckpointWeights(self._exact))
        self._baselines = []
        for clip in clips:
            mel, prompt = mel_of(self.arch, clip.read()), self._prompt(clip)
            self._baselines.append(_Baseline(clip, mel, prompt, *exact(mel, prompt)))

    def calibrate(self, clips: Sequence[Clip]) -> None:
        """Observes the inputs of each linear layer, for methods that need them."""
        observed = ObservedWeights(self._exact)
        for clip in clips:
            mel = mel_of(self.arch, clip.read())
            reference.encode(self.arch, observed, mel, self.mode, self._prompt(clip))
        self._grams = observed.grams

    def float32(self) -> Row:
        return self._row("float32", 4.0, self._reference(CheckpointWeights(self._exact)))

    def recipe(self, recipe: str) -> Row:
        """Measures a recipe; raises CheckpointError for an invalid or unsuitable one."""
        rounded = dict(self._exact)
        roundings = self._roundings(recipe)
        for name, rounding in roundings.items():
            rounded[name] = _stored(self._rounded(name, rounding))
        products = [
            name for name in self._exact if _LAYERS.fullmatch(name) or _ENDS.fullmatch(name)
        ]
        sizes = [roundings[name].size if name in roundings else 4.0 for name in products]
        counts = [float(np.prod(self._exact[name].shape)) for name in products]
        size = float(np.average(sizes, weights=counts))
        return self._row(recipe, size, self._reference(CheckpointWeights(rounded)))

    def bundle(self, folder: Path, name: str) -> Row:
        runner = BundleRunner(open_bundle(folder))
        return self._row(name, None, lambda mel, prompt: runner.run(mel, self.mode, prompt))

    def one_at_a_time(self, rounding: str) -> list[str]:
        """Returns recipes that round the weights of a single kind, or of a single layer."""
        kinds = [k for k in _KINDS if any(k in name for name in self._exact)]
        layers = [f"layers.{i}." for i in range(self.arch.layers)]
        return [f"{kind}={rounding}" for kind in (*kinds, *layers)]

    def _reference(self, weights: CheckpointWeights) -> Transcriber:
        def transcribe(mel: Floats, prompt: int | None) -> tuple[Floats, list[int]]:
            encoded = reference.encode(self.arch, weights, mel, self.mode, prompt)
            return encoded, reference.search(self.arch, weights, encoded)

        return transcribe

    def _prompt(self, clip: Clip) -> int | None:
        prompts = self.arch.prompts
        return prompts[resolve_language(prompts, clip.locale)] if prompts else None

    def _roundings(self, recipe: str) -> dict[str, Rounding]:
        """Returns the rounding of each weight that the recipe names."""
        parts = recipe.split("+")
        plain = [parse_rounding(part) for part in parts if "=" not in part]
        if len(plain) > 2:
            raise CheckpointError(f"{recipe} has more parts than layers and ends")
        found: dict[str, Rounding] = {}
        for kind, rounding in zip((_LAYERS, _ENDS), plain and [plain[0], plain[-1]], strict=False):
            found |= {name: rounding for name in self._exact if kind.fullmatch(name)}
        for part in parts:
            kind, equals, rounding = part.partition("=")
            if equals:
                found |= dict.fromkeys(self._of_kind(kind), parse_rounding(rounding))
        return found

    def _of_kind(self, kind: str) -> list[str]:
        """Returns weights with `kind` in their name: rounded ones, or if none, any matrices."""
        kind = f"layers.{self.arch.layers - 1}." if kind == "last" else kind
        named = [name for name in self._exact if kind in name]
        usual = [name for name in named if _LAYERS.fullmatch(name) or _ENDS.fullmatch(name)]
        matrices = [name for name in named if len(self._exact[name].shape) == 2]
        if not (usual or matrices):
            raise CheckpointError(f"no weight of the checkpoint has {kind!r} in its name")
        return usual or matrices

    def _rounded(self, name: str, rounding: Rounding) -> Floats:
        weight = self._exact[name].read()
        matrix = weight.reshape(weight.shape[0], weight.shape[1])
        return round_weight(matrix, rounding, self._grams.get(name)).reshape(weight.shape)

    def _row(self, recipe: str, size: float | None, transcribe: Transcriber) -> Row:
        different = whole = 0.0
        tokens = of_tokens = errors = of_words = 0
        for exact in self._baselines:
            encoded, emitted = transcribe(exact.mel, exact.prompt)
            different += float(((encoded - exact.encoded) ** 2).sum())
            whole += float((exact.encoded**2).sum())
            tokens += edit_distance(exact.tokens, emitted)
            of_tokens += len(exact.tokens)
            expected, words = (
                self._units(text, exact.clip.locale)
                for text in (exact.clip.reference, self._text(emitted))
            )
            errors += count_edits(expected, words).errors
            of_words += len(expected)
        return Row(recipe, size, (different / whole) ** 0.5, tokens, of_tokens, errors, of_words)

    def _text(self, tokens: Sequence[int]) -> str:
        detokenizer = Detokenizer(self._vocabulary)
        return "".join([*map(detokenizer.add, tokens), detokenizer.finish()])

    def _units(self, text: str, locale: str) -> Sequence[str]:
        normal = self._scoring.normalize(text, locale)
        return normal.split() if has_spaces(locale) else characters(normal)


def _in_memory(weights: CheckpointWeights) -> dict[str, StoredTensor]:
    """Reads all weights, because every clip uses them."""
    return {name: _stored(weights.read(name)) for name in weights.names()}


def _stored(values: Floats) -> StoredTensor:
    return StoredTensor(values.shape, lambda: values)


def bundles(study: Study, checkpoint: Path, done: Callable[[str], bool]) -> Iterator[Row]:
    """Measures the bundles of `convert` in onnxruntime and, if installed, wheatear-native."""
    engines = {"0": "onnxruntime"} | ({"1": "native"} if find_spec("wheatear_native") else {})
    for precision in ("fp32", "int8", "int4"):
        names = {k: f"bundle {precision}, {name}" for k, name in engines.items()}
        names = {k: name for k, name in names.items() if not done(name)}
        with tempfile.TemporaryDirectory() as folder:
            if names:
                convert(checkpoint, Path(folder) / precision, precision)
            for switch, name in names.items():
                with use_native(switch):
                    yield study.bundle(Path(folder) / precision, name)


class Results:
    """Rows of a study, stored in a file of `folder`, so that a study can be resumed."""

    def __init__(self, folder: Path | None, about: Mapping[str, object]) -> None:
        """Raises CheckpointError if the folder holds another study."""
        self.rows: dict[str, Row] = {}
        self._path = folder / RESULTS if folder else None
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            self._write(about)
            return
        first, *lines = map(json.loads, self._path.read_text(encoding="utf-8").splitlines())
        if first != about:
            raise CheckpointError(f"{self._path} is of {first}, not of {dict(about)}")
        self.rows = {line["recipe"]: Row(**line) for line in lines}

    def add(self, row: Row) -> None:
        self.rows[row.recipe] = row
        self._write(asdict(row))

    def _write(self, line: Mapping[str, object]) -> None:
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def table(rows: Sequence[Row]) -> str:
    """Formats the rows as a table in Markdown."""
    lines = ["| recipe | bytes a weight | encoder error | tokens that differ | errors |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for row in rows:
        size = "" if row.size is None else f"{row.size:.3f}"
        tokens = f"{row.tokens} of {row.of_tokens}"
        errors = f"{100 * row.errors / max(1, row.of_words):.1f} %"
        lines.append(f"| {row.recipe} | {size} | {row.encoder:.2%} | {tokens} | {errors} |")
    return "\n".join(lines)


def run(a: argparse.Namespace) -> list[Row]:
    """Runs a study with the options of `main`."""
    clips = choose(read_corpus(a.manifest).clips, (), a.clips)
    about = {
        "checkpoint": str(a.checkpoint), "manifest": str(a.manifest), "clips": len(clips),
        "latency": a.latency, "calibration": str(a.calibration or ""), "numbers": a.numbers,
        "fold_accents": list(a.fold_accents),
    }  # fmt: skip
    results = Results(a.output, about)
    scoring = Scoring(a.numbers == "spoken", frozenset(a.fold_accents))
    with open_checkpoint(a.checkpoint) as source:
        study = Study(source, clips, scoring, a.latency)
    recipes = list(a.recipe)
    if a.sensitivity:
        recipes += study.one_at_a_time(a.sensitivity)
    elif not (recipes or a.bundles):
        recipes = [*_COMPARED, *(_CALIBRATED if a.calibration else ())]
    recipes = [recipe for recipe in recipes if recipe not in results.rows]
    if a.calibration and any(method in recipe for recipe in recipes for method in CALIBRATED):
        study.calibrate(read_corpus(a.calibration).clips)
    if "float32" not in results.rows:
        results.add(study.float32())
    for recipe in recipes:
        print(recipe, file=sys.stderr)
        results.add(study.recipe(recipe))
    if a.bundles:
        for row in bundles(study, a.checkpoint, results.rows.__contains__):
            results.add(row)
    return list(results.rows.values())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compares quantization recipes.")
    parser.add_argument("checkpoint", type=Path, help="any checkpoint that wheatear convert reads")
    parser.add_argument("manifest", type=Path, help="recordings with their transcripts")
    parser.add_argument(
        "--recipe", nargs="*", default=(), help="recipes, in place of the default ones"
    )
    parser.add_argument(
        "--sensitivity", metavar="ROUNDING", help="round one kind of weight, or one layer"
    )
    parser.add_argument(
        "--bundles", action="store_true", help="measure the bundles that convert writes"
    )
    parser.add_argument("--calibration", type=Path, help="other recordings, for gptq")
    parser.add_argument("--clips", type=int, help="maximum number of each locale")
    parser.add_argument("--latency", type=int, help="in milliseconds (default: the checkpoint's)")
    parser.add_argument("--numbers", choices=("written", "spoken"), default="written")
    parser.add_argument(
        "--fold-accents", nargs="*", default=(), help="locales, as in wheatear evaluate"
    )
    parser.add_argument(
        "--output", type=Path, help="folder of the results; an existing study is resumed"
    )
    print(table(run(parser.parse_args(argv))))


if __name__ == "__main__":
    try:
        main()
    except WheatearError as error:
        sys.exit(f"error: {error}")
