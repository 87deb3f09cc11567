"""Opens models: from a folder to networks that the engine runs."""

from pathlib import Path

from wheatear.decoder.networks import open_networks
from wheatear.encoder.encoder import Encoder
from wheatear.errors import MALFORMED, BundleError
from wheatear.model.bundle import ModelFolder, open_bundle
from wheatear.model.manifest import MANIFEST
from wheatear.model.vocabulary import Vocabulary
from wheatear.recognizer.external.files import PackageFiles, find_files
from wheatear.recognizer.external.package import open_package
from wheatear.recognizer.loaded_model import LoadedModel


def open_model(folder: Path, threads: int) -> LoadedModel:
    """Opens a bundle or an external package with its networks.

    Args:
        folder: The folder of the model.
        threads: Number of threads of a step of the encoder.

    Raises:
        BundleError: The model is damaged, incomplete or of an unknown kind.
    """
    if not (folder / MANIFEST).is_file():
        return _open_package(_package_files(folder), threads)
    bundle = open_bundle(folder)
    return LoadedModel(
        bundle.path,
        bundle.manifest,
        bundle.sizes,
        Vocabulary.from_bundle(bundle),
        Encoder(bundle, threads),
        open_networks(bundle, threads),
    )


def describe_model(folder: Path) -> ModelFolder:
    """Returns manifest and files of a model without opening the networks of a bundle.

    Raises BundleError, as `open_model` does.
    """
    if (folder / MANIFEST).is_file():
        return open_bundle(folder)
    return _open_package(_package_files(folder), threads=1)


def _package_files(folder: Path) -> PackageFiles:
    if (files := find_files(folder)) is None:
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}; nor is it a package of ONNX graphs: "
            f"it has no encoder.onnx with a decoder and a joint"
        )
    return files


def _open_package(files: PackageFiles, threads: int) -> LoadedModel:
    try:
        return open_package(files, threads)
    except BundleError:
        raise
    except MALFORMED as error:
        raise BundleError(
            f"{files.folder} is no package that runs here: its graphs compute other shapes than "
            f"they declare ({error})"
        ) from error
