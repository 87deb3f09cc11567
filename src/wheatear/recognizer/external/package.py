"""Opens packages of ONNX graphs that other projects exported.

A package is a folder with a streaming encoder, a predictor and a joint (or the two in one graph)
and a vocabulary. Names and shapes of the graphs (`tensors.py`) and other files (`files.py`)
determine its dialect. It runs at the one latency that it was exported for.
"""

from collections.abc import Mapping
from typing import Any

from wheatear.audio.mel import LOG_GUARD, MEL_PER_FRAME, SAMPLE_RATE, MelSettings
from wheatear.decoder.networks import Networks
from wheatear.errors import BundleError
from wheatear.model.latency import LatencyMode
from wheatear.model.manifest import BundleManifest, EncoderShape
from wheatear.model.onnx_session import Session
from wheatear.model.pieces import language_tags
from wheatear.model.size_limits import MAX_SYMBOLS, check_size, check_state
from wheatear.model.vocabulary import Vocabulary
from wheatear.recognizer.external.encoder import PRE_ENCODE_CACHE, ExternalEncoder
from wheatear.recognizer.external.files import (
    PackageFiles,
    read_prompts,
    read_record,
    read_vocabulary,
)
from wheatear.recognizer.external.networks import OneGraph, TwoGraphs
from wheatear.recognizer.external.tensors import EncoderTensors, encoder_tensors
from wheatear.recognizer.loaded_model import LoadedModel

_MAX_CHUNK = 128
_BAND_KEYS = ("num_mels", "n_mels", "numMelBins")


def open_package(files: PackageFiles, threads: int) -> LoadedModel:
    """Opens the graphs of a package.

    Raises BundleError, or one of the errors in `MALFORMED` if the graphs compute other shapes than
    they declare.
    """
    origin, license = read_record(files.folder)
    session = Session(files.encoder, threads)
    metadata, name = session.metadata, str(files.encoder)
    tensors = encoder_tensors(session, name)
    axis = _time_axis(tensors, files.settings, metadata, name)
    mode = LatencyMode(tensors.left, _chunk(tensors, axis, files, metadata) - 1)
    features = _features(tensors.mel.shape[3 - axis] or 0, files.settings, metadata, name)
    _check_sizes(tensors, features, name)
    encoder = ExternalEncoder(session, tensors, features.n_mels, mode, time_axis=axis, name=name)
    networks = _open_networks(files, tensors.width)
    prompts = _prompts(files, tensors, metadata)
    pieces = read_vocabulary(files.folder, networks.shape.blank)
    manifest = BundleManifest(
        name=files.folder.resolve().name,
        precision=files.precision,
        source=origin or f"external ONNX graphs ({files.encoder.name})",
        features=features,
        encoder=EncoderShape(
            layers=tensors.axes.layers,
            width=tensors.width,
            heads=0,  # unknown: the graph does not show it
            kernel=tensors.conv_frames + 1,
            left=tensors.left,
            longest_chunk=mode.chunk,
        ),
        decoder=networks.shape,
        modes=(mode,),
        default_mode=mode,
        prompts=prompts,
        tags=language_tags(pieces.pieces, prompts),
        license=license,
    )
    sizes = {p.name: p.stat().st_size for p in sorted(files.folder.iterdir()) if p.is_file()}
    vocabulary = Vocabulary(pieces, manifest.tags)
    return LoadedModel(files.folder, manifest, sizes, vocabulary, encoder, networks)


def _open_networks(files: PackageFiles, width: int) -> Networks:
    symbols = files.settings.get("max_symbols_per_step")
    try:
        symbols = check_size("decoder.max_symbols", MAX_SYMBOLS if symbols is None else symbols)
    except ValueError as error:
        raise BundleError(f"{files.folder} is refused: {error}") from error
    match files.networks:
        case (both,):
            return OneGraph(both, width, symbols)
        case predictor, joint:
            return TwoGraphs(predictor, joint, width, symbols)


def _prompts(
    files: PackageFiles, tensors: EncoderTensors, metadata: Mapping[str, str]
) -> dict[str, int]:
    """Returns the prompt ids, by locale, that the graph has an input for."""
    if tensors.language is None:
        return {}
    prompts = read_prompts(files, metadata)
    if len(tensors.language.shape) == 2:  # one-hot
        ids = tensors.language.shape[1] or 0
        prompts = {locale: number for locale, number in prompts.items() if number < ids}
    return prompts


def _check_sizes(tensors: EncoderTensors, features: MelSettings, name: str) -> None:
    """Raises BundleError for sizes that no model has, before anything is allocated."""
    try:
        check_size("features.bands", features.n_mels)
        check_size("features.fft", features.n_fft)
        check_size("encoder.layers", tensors.axes.layers)
        check_size("encoder.width", tensors.width)
        check_size("encoder.left", tensors.left)
        check_size("encoder.kernel", tensors.conv_frames + 1)
        if tensors.language is not None and len(tensors.language.shape) == 2:
            check_size("encoder.prompt", tensors.language.shape[1] or 1)
        check_state(tensors.axes.layers, tensors.width, tensors.left, tensors.conv_frames + 1)
    except ValueError as error:
        raise BundleError(f"{name} is refused: {error}") from error


# -- geometry ------------------------------------------------------------------------------------


def _time_axis(
    tensors: EncoderTensors, settings: Mapping[str, Any], metadata: Mapping[str, str], name: str
) -> int:
    """Axis of the mel input that is time; the other one is its bands."""
    sizes = tensors.mel.shape[1:]
    if tensors.mel_cache is not None:
        found = [axis for axis in (1, 2) if tensors.mel_cache.shape[axis] == PRE_ENCODE_CACHE]
    elif None in sizes:
        found = [axis for axis in (1, 2) if tensors.mel.shape[axis] is None]
    else:
        bands = next((settings[key] for key in _BAND_KEYS if key in settings), None)
        bands = metadata.get("feat_dim", bands)
        found = [3 - axis for axis in (1, 2) if str(tensors.mel.shape[axis]) == str(bands)]
        if len(found) != 1:  # or by its length
            found = [a for a in (1, 2) if _part((tensors.mel.shape[a] or 0) - PRE_ENCODE_CACHE, 8)]
    if len(found) != 1 or tensors.mel.shape[3 - found[0]] is None:
        raise BundleError(f"{name} does not show which axis of {list(tensors.mel.shape)} is time")
    return found[0]


def _chunk(
    tensors: EncoderTensors, axis: int, files: PackageFiles, metadata: Mapping[str, str]
) -> int:
    """Frames of a chunk, by the length of the window and all settings; they must agree."""
    settings = files.settings
    stated: dict[str, Any] = {
        "chunk_size_output_frames": metadata.get("chunk_size_output_frames"),
        "chunk_shift": _part(metadata.get("chunk_shift"), MEL_PER_FRAME),
        "chunk_samples": _part(settings.get("chunk_samples"), MEL_PER_FRAME * SAMPLE_RATE // 100),
        "config.json": settings.get("chunk_size_output_frames"),
    }
    if (size := tensors.mel.shape[axis]) is not None:
        past = 0 if tensors.mel_cache is not None else PRE_ENCODE_CACHE
        stated["its window"] = _part(size - past, MEL_PER_FRAME) or f"{size} mel frames"
    found = {where: str(n) for where, n in stated.items() if n is not None}
    if not found and len(files.networks) == 1:
        return 7  # the only chunk that parakeet-rs runs
    frames = set(found.values())
    if len(frames) == 1 and (only := frames.pop()).isdecimal() and 0 < int(only) <= _MAX_CHUNK:
        return int(only)
    statements = ", ".join(f"{where}: {n}" for where, n in found.items()) or "nothing"
    raise BundleError(
        f"{files.encoder} does not state clearly the frames of a chunk ({statements}): it is no "
        f"streaming export, or one of a kind that is not known here"
    )


def _part(count: Any, whole: int) -> int | None:
    """Returns count / whole; None if that is not a whole number."""
    if count is None or not str(count).isdecimal() or int(count) % whole:
        return None
    return int(count) // whole


def _features(
    bands: int, settings: Mapping[str, Any], metadata: Mapping[str, str], name: str
) -> MelSettings:
    """Settings of NeMo's front end. Raises BundleError if the package needs another one."""
    wanted = {
        "sample_rate": SAMPLE_RATE,
        "hop_length": 160,
        "subsampling_factor": MEL_PER_FRAME,
        "pre_encode_cache_size": PRE_ENCODE_CACHE,
        "pre_encode_cache": PRE_ENCODE_CACHE,
    }
    for key, value in wanted.items():
        found = settings.get(key, metadata.get(key))
        if found is not None and str(found) != str(value):
            raise BundleError(f"{name}: its {key} is {found}, {value} can be run")
    if metadata.get("normalize_type", "") not in ("", "NA"):
        raise BundleError(
            f"{name} normalizes its features over the whole utterance "
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
