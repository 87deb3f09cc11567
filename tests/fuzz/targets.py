"""Targets of fuzzing: each writes a hostile input into a folder and reads it as a user would.

Whatever is not read must end in a WheatearError; anything else is a find.
"""

import gzip
import io
import json
import pickletools
import random
import shutil
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import cache
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

import wheatear
from wheatear.audio.file_type import has_ffmpeg
from wheatear.audio.reader import open_audio

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from checkpoints import ORACLE
from hostile_bundles import seal
from mutations import NUMBERS, changed, changed_json, written
from source_weights import read_source, write_gguf, write_own, write_transformers

from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.convert.pipeline import convert

Make = Callable[[random.Random, Path], Path]
MODELS = ("tiny-multi", "tiny-en", "prompt16")


class Target(NamedTuple):
    make: Make
    """Writes the input into an empty folder; its path."""
    read: Callable[[Path, random.Random], None]


# -- checkpoints ---------------------------------------------------------------------------------


@cache
def members(model: str) -> Mapping[str, bytes]:
    """The files of a .nemo checkpoint."""
    with tarfile.open(ORACLE / f"{model}.nemo") as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}


def packed(parts: Mapping[str, bytes], rng: random.Random) -> bytes:
    out = io.BytesIO()
    form = rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in parts.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def nemo(suffix: str, change: Callable[[bytes, random.Random], bytes]) -> Make:
    """A checkpoint with the member of that suffix changed."""

    def make(rng: random.Random, folder: Path) -> Path:
        parts = dict(members(rng.choice(MODELS)))
        name = next(name for name in parts if name.endswith(suffix))
        parts[name] = change(parts[name], rng)
        data = packed(parts, rng)
        path = folder / "x.nemo"
        path.write_bytes(gzip.compress(data, 1) if rng.random() < 0.05 else data)
        return path

    return make


def changed_pickle(data: bytes, rng: random.Random) -> bytes:
    """The pickle inside a torch file, in its bytes or in its operations."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            if entry.endswith("data.pkl"):
                content = (changed if rng.random() < 0.5 else changed_program)(content, rng)
            new.writestr(entry, content)
    return out.getvalue()


OPERATIONS = [operation.code.encode("latin-1") for operation in pickletools.opcodes]
ARGUMENTS = (b"", b"\0", b"\1\n", b"\xff\xff\xff\x7f", b"\5\0\0\0", b"0\n", b"os\nsystem\n")


def changed_program(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 5, 30))):
        at = rng.randrange(2, len(out))
        operation = rng.choice(OPERATIONS) + rng.choice(ARGUMENTS)
        out[at : at + rng.randrange(2)] = operation * rng.choice((1, 1, 1, 20_000))
    return bytes(out)


def changed_zip(data: bytes, rng: random.Random) -> bytes:
    """The list of records at the end, where zips keep it."""
    tail = rng.choice((22, 80, 400, 4000))
    return data[:-tail] + changed(data[-tail:], rng)


def changed_yaml(data: bytes, rng: random.Random) -> bytes:
    lines = data.decode().split("\n")
    at = rng.randrange(len(lines))
    key, colon, _value = lines[at].partition(": ")
    odd = (
        *map(str, NUMBERS), "[" * 3000, "{a: " * 500, "&a [*a]", "!!binary aa", "1" + ":59" * 9000,
        "!!python/name:os.system", ".inf", ".nan", "2001-99-01", "<<: x", "|", "'", "? [a]", "-1",
    )  # fmt: skip
    match rng.randrange(4):
        case 0 if colon:
            lines[at] = f"{key}: {rng.choice(odd)}"
        case 1:
            del lines[at]
        case 2:
            lines.insert(at, rng.choice(lines))
        case _:
            return changed(data, rng)
    return "\n".join(lines).encode()


def changed_tar(rng: random.Random, folder: Path) -> Path:
    """A header changed, with its checksum made right again."""
    data = bytearray(packed(members(rng.choice(MODELS)), rng))
    heads = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    at = rng.choice(heads)
    header = bytearray(changed(bytes(data[at : at + 512]), rng)[:512].ljust(512, b"\0"))
    if rng.random() < 0.4:
        size = rng.choice(NUMBERS)
        header[124:136] = rng.choice(
            (
                b"\x80" + size.to_bytes(11, "big"),
                b"\xff" + (256**11 - size % 5000 - 1).to_bytes(11, "big"),
                b"%011o\0" % (size % 8**11),
                b"-0000000001\0",
            )
        )
    if rng.random() < 0.4:
        header[156:157] = rng.choice((b"S", b"x", b"L", b"g", b"1", b"2", b"K", b"5", b"7", b"M"))
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % (sum(header) % 8**6)
    data[at : at + 512] = header
    path = folder / "x.nemo"
    path.write_bytes(data)
    return path


def gguf(rng: random.Random, folder: Path) -> Path:
    path = folder / "x.gguf"
    data = seed("gguf")
    reach = rng.choice((64, 4000, len(data)))
    path.write_bytes(changed(data[:reach], rng) + data[reach:])
    return path


def safetensors(rng: random.Random, folder: Path) -> Path:
    data = seed("safetensors")
    size = struct.unpack("<Q", data[:8])[0]
    head, rest = data[8 : 8 + size], data[8 + size :]
    if rng.random() < 0.3:
        head = changed(head, rng)
    else:
        header = json.loads(head)
        inner = json.loads(header["__metadata__"]["wheatear"])
        if rng.random() < 0.5:
            header["__metadata__"]["wheatear"] = json.dumps(changed_json(inner, rng))
        else:
            header = changed_json(header, rng)
        head = written(header)
    size = len(head) if rng.random() < 0.9 else rng.choice(NUMBERS)
    path = folder / "x.safetensors"
    path.write_bytes(struct.pack("<Q", size) + head + rest)
    return path


@cache
def seed(kind: str) -> bytes:
    """A good file in another container."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path, source = Path(folder) / f"seed.{kind}", read_source("tiny-multi")
        if kind == "gguf":
            write_gguf(path, source)
        else:
            write_own(path, source, source.tensors, "seed")
        return path.read_bytes()


def transformers(rng: random.Random, folder: Path) -> Path:
    out = folder / "checkpoint"
    write_transformers(out, read_source(rng.choice(("tiny-en", "tiny-multi"))))
    path = rng.choice(sorted(out.glob("*.json")))
    data = path.read_bytes()
    good = (
        changed(data, rng) if rng.random() < 0.3 else written(changed_json(json.loads(data), rng))
    )
    path.write_bytes(good)
    return out


def read_checkpoint(path: Path, rng: random.Random) -> None:
    if rng.random() < 0.05:
        convert(path, path.parent / "out", "int8")
        return
    with open_checkpoint(path) as checkpoint:
        read_architecture(checkpoint)
        names = checkpoint.weights.names()
        for name in rng.sample(names, min(4, len(names))):
            if prod(checkpoint.weights.shape(name)) < 1 << 24:
                checkpoint.weights.read(name)


# -- model folders -------------------------------------------------------------------------------


@cache
def bundle(model: str) -> Path:
    import tempfile

    out = Path(tempfile.mkdtemp(prefix="wheatear-fuzz-")) / "bundle"
    convert(ORACLE / f"{model}.nemo", out, "int8")
    return out


def folder_with(*names: str) -> Make:
    """A bundle with one of those files changed, sealed again."""

    def make(rng: random.Random, folder: Path) -> Path:
        out = Path(shutil.copytree(bundle(rng.choice(MODELS[:2])), folder / "bundle"))
        path = rng.choice([out / name for name in names if (out / name).exists()])
        data = path.read_bytes()
        if path.suffix == ".json" and rng.random() < 0.9:
            parsed = json.loads(data)
            files = parsed.pop("files", None)
            parsed = changed_json(parsed, rng)
            if files is not None and isinstance(parsed, dict):
                parsed["files"] = files
            path.write_bytes(written(parsed))
        else:
            path.write_bytes(changed(data, rng))
        if path.name != "manifest.json":
            seal(out)
        return out

    return make


SOUND = np.random.default_rng(0).normal(0, 0.1, 6000).astype(np.float32)


def read_folder(path: Path, rng: random.Random) -> None:
    recognizer = wheatear.load(path, threads=1)
    recognizer.transcribe(SOUND, latency_ms=rng.choice(recognizer.latencies_ms))


# -- sound ---------------------------------------------------------------------------------------


@cache
def sounds() -> tuple[tuple[str, bytes], ...]:
    """The shipped sample, two seconds of it, in the formats that libsndfile writes."""
    samples, rate = soundfile.read(
        Path(wheatear.__file__).parent / "data" / "samples" / "en-US.flac"
    )
    made = []
    for form in ("wav", "flac", "ogg", "mp3", "aiff", "au", "w64", "caf"):
        out = io.BytesIO()
        soundfile.write(out, samples[: 2 * rate], rate, format=form.upper())
        made.append((form, out.getvalue()))
    return tuple(made)


@cache
def containers() -> tuple[tuple[str, bytes], ...]:
    import av

    samples = (np.random.default_rng(0).normal(0, 0.1, (1, 32000))).astype(np.float32)
    made = []
    for form, codec in (("mp4", "aac"), ("webm", "libopus"), ("mpegts", "aac"), ("avi", "mp3")):
        out = io.BytesIO()
        with av.open(out, "w", format=form) as container:
            stream = container.add_stream(codec, rate=48000, layout="mono")
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.sample_rate = 48000
            for packet in (*stream.encode(frame), *stream.encode(None)):
                container.mux(packet)
        made.append((form, out.getvalue()))
    return tuple(made)


def sound_of(seeds: Callable[[], tuple[tuple[str, bytes], ...]]) -> Make:
    def make(rng: random.Random, folder: Path) -> Path:
        form, data = rng.choice(seeds())
        path = folder / f"x.{form}"
        path.write_bytes(changed(data, rng))
        return path

    return make


def read_sound(path: Path, _rng: random.Random) -> None:
    with closing(open_audio(path)) as reader:
        for block in reader:
            np.isfinite(block).all()


TARGETS: dict[str, Target] = {
    "pickle": Target(nemo(".ckpt", changed_pickle), read_checkpoint),
    "zip": Target(nemo(".ckpt", changed_zip), read_checkpoint),
    "yaml": Target(nemo(".yaml", changed_yaml), read_checkpoint),
    "tokenizer": Target(nemo(".model", changed), read_checkpoint),
    "tar": Target(changed_tar, read_checkpoint),
    "gguf": Target(gguf, read_checkpoint),
    "safetensors": Target(safetensors, read_checkpoint),
    "transformers": Target(transformers, read_checkpoint),
    "manifest": Target(folder_with("manifest.json"), read_folder),
    "graph": Target(folder_with("encoder.onnx", "predictor.onnx", "joint.onnx"), read_folder),
    "weights": Target(
        folder_with("encoder.weights", "predictor.weights", "languages.npy", "pieces.json"),
        read_folder,
    ),
    "sound": Target(sound_of(sounds), read_sound),
}
if has_ffmpeg():
    TARGETS["container"] = Target(sound_of(containers), read_sound)
