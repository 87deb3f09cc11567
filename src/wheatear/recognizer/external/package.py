"""Packages of ONNX graphs that others have exported, run as they are.

A package is a folder with a streaming encoder, a predictor and a joint (or the two in one) and a
vocabulary.  Which dialect of names and shapes it speaks is read off the graphs (`ports.py`) and
the files beside them (`files.py`); behind `ForeignEncoder` and `ForeignDecoder` it is a model like
any other.  It runs at the one latency that it was exported for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wheatear.audio.mel import LOG_GUARD, MEL_PER_FRAME, SAMPLE_RATE, MelSettings
from wheatear.errors import MALFORMED, BundleError
from wheatear.model.bundle import Bundle, open_bundle
from wheatear.model.latency import LatencyMode
from wheatear.model.manifest import MANIFEST, BundleManifest, EncoderShape, sha256
from wheatear.model.onnx_session import Session
from wheatear.model.pieces import Pieces, language_tags
from wheatear.model.size_limits import MAX_SYMBOLS, check_size, check_state
from wheatear.recognizer.external.encoder import PAST_MEL, ForeignEncoder
from wheatear.recognizer.external.files import (
    PackageFiles,
    find_files,
    read_prompts,
    read_record,
    read_vocabulary,
    write_record,
)
from wheatear.recognizer.external.networks import ForeignDecoder, OneGraph, TwoGraphs
from wheatear.recognizer.external.ports import EncoderPorts, encoder_ports

__all__ = ["Package", "is_package", "open_model", "read_record", "write_record"]

_LONGEST_CHUNK = 128
_BANDS = ("num_mels", "n_mels", "numMelBins")


@dataclass(frozen=True)
class Package(Bundle):
    """A package whose graphs are open."""

    pieces: Pieces
    encoder: ForeignEncoder
    decoder: ForeignDecoder

    @property
    def vocabulary(self) -> Pieces:  # type: ignore[override]
        return self.pieces

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file; a package has no list of them, so they are read for it."""
        return {name: sha256(self.path / name) for name in self.sizes}


def is_package(folder: Path) -> bool:
    """Whether a folder has the files of a package."""
    return not (folder / MANIFEST).is_file() and find_files(folder) is not None


def open_model(folder: Path, threads: int) -> Bundle:
    """A bundle of our own or a package of somebody else's.

    Raises BundleError for what is damaged, incomplete or unknown.
    """
    if (folder / MANIFEST).is_file():
        return open_bundle(folder)
    if (files := find_files(folder)) is None:
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}; nor is it a package of ONNX graphs: "
            f"it has no encoder.onnx with a decoder and a joint"
        )
    try:
        return _open_package(files, threads)
    except MALFORMED as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(
            f"{folder} is no package that runs here: its graphs compute other shapes than they "
            f"declare ({error})"
        ) from error


def _open_package(files: PackageFiles, threads: int) -> Package:
    origin, license = read_record(files.folder)
    session = Session(files.encoder, threads)
    metadata, name = session.metadata, str(files.encoder)
    ports = encoder_ports(session, name)
    axis = _time_axis(ports, files.settings, metadata, name)
    mode = LatencyMode(ports.left, _chunk(ports, axis, files, metadata) - 1)
    features = _features(ports.mel.shape[3 - axis] or 0, files.settings, metadata, name)
    _check_sizes(ports, features, name)
    encoder = ForeignEncoder(session, ports, features.n_mels, mode, time_axis=axis, name=name)
    match files.search:
        case (both,):
            graphs = OneGraph(both, ports.width)
        case predictor, joint:
            graphs = TwoGraphs(predictor, joint, ports.width)
    symbols = files.settings.get("max_symbols_per_step")
    try:
        symbols = check_size("decoder.max_symbols", MAX_SYMBOLS if symbols is None else symbols)
    except ValueError as error:
        raise BundleError(f"{files.folder} is refused: {error}") from error
    decoder = ForeignDecoder(graphs, symbols)
    prompts = read_prompts(files, metadata) if ports.language is not None else {}
    if ports.language is not None and len(ports.language.shape) == 2:
        slots = ports.language.shape[1] or 0
        prompts = {key: number for key, number in prompts.items() if number < slots}
    pieces = read_vocabulary(files.folder, decoder.shape.blank)
    manifest = BundleManifest(
        name=files.folder.resolve().name,
        precision=files.precision,
        source=origin or f"ONNX graphs of others ({files.encoder.name})",
        features=features,
        encoder=EncoderShape(
            layers=ports.axes.layers,
            width=ports.width,
            heads=0,  # the graph does not tell
            kernel=ports.taps + 1,
            left=ports.left,
            longest_chunk=mode.chunk,
        ),
        decoder=decoder.shape,
        modes=(mode,),
        default_mode=mode,
        prompts=prompts,
        tags=language_tags(pieces.pieces, prompts),
        license=license,
    )
    sizes = {p.name: p.stat().st_size for p in sorted(files.folder.iterdir()) if p.is_file()}
    return Package(files.folder, manifest, sizes, pieces, encoder, decoder)


def _check_sizes(ports: EncoderPorts, features: MelSettings, name: str) -> None:
    """Raises BundleError for sizes that no model has, before anything of them is allocated."""
    try:
        check_size("features.bands", features.n_mels)
        check_size("features.fft", features.n_fft)
        check_size("encoder.layers", ports.axes.layers)
        check_size("encoder.width", ports.width)
        check_size("encoder.left", ports.left)
        check_size("encoder.kernel", ports.taps + 1)
        if ports.language is not None and len(ports.language.shape) == 2:
            check_size("encoder.prompt", ports.language.shape[1] or 1)
        check_state(ports.axes.layers, ports.width, ports.left, ports.taps + 1)
    except ValueError as error:
        raise BundleError(f"{name} is refused: {error}") from error


# -- geometry ------------------------------------------------------------------------------------


def _time_axis(
    ports: EncoderPorts, settings: Mapping[str, Any], metadata: Mapping[str, str], name: str
) -> int:
    """Which axis of the mel is time; the other one is its bands."""
    sizes = ports.mel.shape[1:]
    if ports.past_mel is not None:
        found = [axis for axis in (1, 2) if ports.past_mel.shape[axis] == PAST_MEL]
    elif None in sizes:
        found = [axis for axis in (1, 2) if ports.mel.shape[axis] is None]
    else:
        told = next((settings[key] for key in _BANDS if key in settings), None)
        told = metadata.get("feat_dim", told)
        found = [3 - axis for axis in (1, 2) if str(ports.mel.shape[axis]) == str(told)]
        if len(found) != 1:  # or by its length
            found = [a for a in (1, 2) if _part((ports.mel.shape[a] or 0) - PAST_MEL, 8)]
    if len(found) != 1 or ports.mel.shape[3 - found[0]] is None:
        raise BundleError(f"{name} does not tell which axis of {list(ports.mel.shape)} is time")
    return found[0]


def _chunk(ports: EncoderPorts, axis: int, files: PackageFiles, metadata: Mapping[str, str]) -> int:
    """Frames of a chunk, from the window's length and from whoever else tells; all must agree."""
    settings = files.settings
    told: dict[str, Any] = {
        "chunk_size_output_frames": metadata.get("chunk_size_output_frames"),
        "chunk_shift": _part(metadata.get("chunk_shift"), MEL_PER_FRAME),
        "chunk_samples": _part(settings.get("chunk_samples"), MEL_PER_FRAME * SAMPLE_RATE // 100),
        "config.json": settings.get("chunk_size_output_frames"),
    }
    if (size := ports.mel.shape[axis]) is not None:
        past = 0 if ports.past_mel is not None else PAST_MEL
        told["its window"] = _part(size - past, MEL_PER_FRAME) or f"{size} mel frames"
    found = {where: str(n) for where, n in told.items() if n is not None}
    if not found and len(files.search) == 1:
        return 7  # parakeet-rs takes that for granted
    frames = set(found.values())
    if len(frames) == 1 and (only := frames.pop()).isdecimal() and 0 < int(only) <= _LONGEST_CHUNK:
        return int(only)
    says = ", ".join(f"{where}: {n}" for where, n in found.items()) or "nothing"
    raise BundleError(
        f"{files.encoder} does not tell clearly how many frames a chunk has ({says}): it is no "
        f"streaming export, or one of a kind that is not known here"
    )


def _part(count: Any, whole: int) -> int | None:
    """How many whole ones there are in a count that is made of them."""
    if count is None or not str(count).isdecimal() or int(count) % whole:
        return None
    return int(count) // whole


def _features(
    bands: int, settings: Mapping[str, Any], metadata: Mapping[str, str], name: str
) -> MelSettings:
    """NeMo's front end; refused if the package was made for another."""
    wanted = {
        "sample_rate": SAMPLE_RATE,
        "hop_length": 160,
        "subsampling_factor": MEL_PER_FRAME,
        "pre_encode_cache_size": PAST_MEL,
        "pre_encode_cache": PAST_MEL,
    }
    for key, value in wanted.items():
        found = settings.get(key, metadata.get(key))
        if found is not None and str(found) != str(value):
            raise BundleError(f"{name}: its {key} is {found}, {value} can be run")
    if metadata.get("normalize_type", "") not in ("", "NA"):
        raise BundleError(
            f"{name} normalises its features over the whole utterance "
            f"({metadata['normalize_type']}): it cannot be streamed"
        )
    guard = settings.get("log_eps", LOG_GUARD)
    if not isinstance(guard, float) or abs(guard - LOG_GUARD) > 1e-12:
        raise BundleError(f"{name}: its log_eps is {guard}, {LOG_GUARD} can be run")
    fft, window = settings.get("fft_size", 512), settings.get("win_length", 400)
    emphasis = settings.get("preemph", 0.97)
    if type(fft) is not int or type(window) is not int or not 0 < window <= fft <= 1 << 16:
        raise BundleError(f"{name}: its window of {window} does not fit its transform of {fft}")
    if not isinstance(emphasis, float) or not 0 <= emphasis < 1:
        raise BundleError(f"{name}: its preemph is {emphasis!r}")
    return MelSettings(n_mels=bands, n_fft=fft, win_length=window, preemphasis=emphasis)
