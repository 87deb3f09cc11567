"""Finds the files behind a name, a hub id or a URL.

In a repository, checkpoints in full precision are preferred: a `.nemo` file, then safetensors in
the layout of transformers, then GGUF. A repository or folder with ONNX graphs is a package, which
runs without conversion.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from wheatear.errors import DownloadError
from wheatear.model.hub.download import (
    RemoteFile,
    check_redirects,
    http_client,
    is_secure,
    with_retries,
)
from wheatear.model.hub.licenses import UNSTATED, Origin
from wheatear.model.manifest import LICENSE_FILE
from wheatear.model.published import PUBLISHED, License, PublishedModel, find_repository
from wheatear.model.size_limits import MAX_MODEL_BYTES

Kind = Literal["checkpoint", "transformers", "package", "archive"]

_CHECKPOINTS = (".nemo", ".gguf", ".safetensors")
_ARCHIVES = (".tar.bz2", ".tar.gz", ".tgz", ".tar.xz", ".tar")
PACKAGE_FILES = (".onnx", ".data", ".json", ".txt", ".model")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_TRANSFORMERS_FILES = {
    "config.json", "processor_config.json", "preprocessor_config.json", "tokenizer.json",
    "tokenizer.model", "model.safetensors.index.json",
}  # fmt: skip
_HUB_HOSTS = ("huggingface.co", "hf.co", "www.huggingface.co")


@dataclass(frozen=True)
class Source:
    """Files of a model on a server."""

    name: str
    """Name of the model on this machine, unless another one is given."""
    origin: Origin
    kind: Kind
    main: str
    """Name of the file that is converted, or by which the kind of a folder is recognized."""
    files: tuple[RemoteFile, ...]


def find_source(
    what: str, *, file: str | None = None, revision: str | None = None, sha256: str | None = None
) -> Source:
    """Finds the files of a model. Arguments are those of `pull`.

    Raises:
        DownloadError: The model does not exist or cannot be used.
    """
    if is_offline():
        return _in_cache(what, file, revision)
    if published := PUBLISHED.get(what):
        return replace(_in_repository(published.repo, file, revision), name=what)
    if "://" in what:
        if location := _parse_hub_url(what):
            repo, url_revision, path = location
            return _in_repository(repo, file or path, revision or url_revision)
        return _at_url(what, sha256)
    if _REPOSITORY.fullmatch(what):
        return _in_repository(what, file, revision)
    raise DownloadError(
        f"no model {what!r} is known; give one of {', '.join(PUBLISHED)}, a hub id "
        f"(organization/name) or a URL"
    )


def hub_address() -> str:
    """Returns the address of the hub, or of the mirror in HF_ENDPOINT."""
    from huggingface_hub import constants  # noqa: PLC0415  (an extra)

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def is_offline() -> bool:
    from huggingface_hub import constants  # noqa: PLC0415  (an extra)

    variable = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return variable or constants.HF_HUB_OFFLINE


# -- the hub -------------------------------------------------------------------------------------


def _in_cache(what: str, file: str | None, revision: str | None) -> Source:
    """Finds a published model in the cache of the hub's client. Raises DownloadError."""
    published = PUBLISHED.get(what) or find_repository(what)
    if published is not None and revision in (None, published.revision):
        name = file or published.file
        if path := _cached(published.repo, name, published.revision):
            remote = RemoteFile(
                PurePosixPath(name).name, "", path.stat().st_size, published.sha256.get(name),
                cached=path,
            )  # fmt: skip
            page = f"{hub_address()}/{published.repo}"
            origin = Origin(published.repo, published.revision, page, (published.license,))
            model = what if what in PUBLISHED else published.repo.partition("/")[2]
            return Source(model, origin, "checkpoint", remote.name, (remote,))
    raise DownloadError(_offline_message(what))


def _cached(repo: str, path: str, commit: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  (an extra)

    found = try_to_load_from_cache(repo, path, revision=commit)
    return Path(found) if isinstance(found, str) else None


def _in_repository(repo: str, wanted: str | None, revision: str | None) -> Source:
    """Finds a model in a repository of the hub. Raises DownloadError."""
    from huggingface_hub import HfApi  # noqa: PLC0415  (an extra)
    from huggingface_hub.utils import build_hf_headers  # noqa: PLC0415

    endpoint, published = hub_address(), find_repository(repo)
    if published and revision is None:
        revision = published.revision
    info = with_retries(
        f"{endpoint}/{repo}",
        lambda: HfApi(endpoint=endpoint).model_info(repo, revision=revision, files_metadata=True),
        lambda error: _explain(error, repo, revision, endpoint),
    )
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    if published and wanted is None and published.file in siblings:
        wanted = published.file
    kind, main, names = _choose_files(repo, list(siblings), wanted)
    commit = info.sha or revision
    headers = build_hf_headers()

    def remote(path: str) -> RemoteFile:
        sibling = siblings[path]
        lfs = sibling.lfs
        pinned = published.sha256.get(path) if published else None
        file = RemoteFile(
            name=PurePosixPath(path).name,
            url=f"{endpoint}/{repo}/resolve/{quote(str(commit), safe='')}/{quote(path)}",
            size=lfs.size if lfs else sibling.size,
            sha256=pinned or (lfs.sha256 if lfs else None),
            git_id=None if lfs else sibling.blob_id,
            version=str(commit),
            headers=headers,
            cached=_cached(repo, path, str(commit)),
        )
        return file if file.size is not None and file.has_hash else _with_metadata(file)

    origin = Origin(repo, commit, f"{endpoint}/{repo}", _licenses(info, published))
    files = tuple(map(remote, names))
    return Source(repo.partition("/")[2], origin, kind, PurePosixPath(main).name, files)


def _with_metadata(file: RemoteFile) -> RemoteFile:
    """Returns a file with the size and hash that the listing of its repository lacks."""
    from huggingface_hub import get_hf_file_metadata  # noqa: PLC0415  (an extra)

    found = with_retries(
        file.url, lambda: get_hf_file_metadata(file.url, headers=dict(file.headers))
    )
    tag = found.etag or ""  # of large files a SHA-256, of others the git id
    return replace(
        file,
        size=file.size if found.size is None else found.size,
        sha256=file.sha256 or (tag if re.fullmatch(r"[0-9a-f]{64}", tag) else None),
        git_id=file.git_id or (tag if re.fullmatch(r"[0-9a-f]{40}", tag) else None),
    )


def _choose_files(
    repo: str, names: Sequence[str], wanted: str | None
) -> tuple[Kind, str, list[str]]:
    """Chooses the files of a repository to fetch: their kind, the main one, all of them."""
    folder = ""
    if wanted is not None and wanted not in names:
        folder = wanted.rstrip("/") + "/"
        names = [name for name in names if name.startswith(folder)]
        if not names:
            raise DownloadError(f"{repo} has no file or folder {wanted!r}")
    here = [name for name in names if "/" not in name.removeprefix(folder)]
    texts = [name for name in here if LICENSE_FILE.fullmatch(PurePosixPath(name).name)]
    if wanted is not None and wanted in names:
        if wanted.endswith(_CHECKPOINTS) and not _SHARD.search(wanted):
            return "checkpoint", wanted, [wanted, *texts]
        raise DownloadError(
            f"{repo}: {wanted} is no checkpoint; {', '.join(_CHECKPOINTS)} files can be converted"
        )
    nemo, gguf, weights = (
        [name for name in here if name.endswith(suffix)]
        for suffix in (".nemo", ".gguf", ".safetensors")
    )
    config = f"{folder}config.json"
    if not nemo and weights and config in here:
        settings = [name for name in here if name.removeprefix(folder) in _TRANSFORMERS_FILES]
        return "transformers", config, [*settings, *weights, *texts]
    if checkpoints := nemo or weights or gguf:
        if len(checkpoints) > 1:
            raise DownloadError(
                f"{repo} has several checkpoints; choose one with --file: "
                f"{', '.join(sorted(checkpoints))}"
            )
        return "checkpoint", checkpoints[0], [*checkpoints, *texts]
    if graphs := [name for name in here if re.search(r"encoder[\w.-]*\.onnx$", name)]:
        package = [name for name in here if name.endswith(PACKAGE_FILES)]
        return "package", graphs[0], sorted({*package, *texts})
    raise DownloadError(_nothing_found(repo, names))


def _nothing_found(repo: str, names: Sequence[str]) -> str:
    """Returns the error for a repository without a model; it lists folders that have one."""
    useful = (*_CHECKPOINTS, "encoder.onnx", "encoder.int8.onnx")
    folders = sorted({str(PurePosixPath(n).parent) for n in names if n.endswith(useful)} - {"."})
    if folders:
        return f"{repo} has several models; choose one with --file: {', '.join(folders)}"
    return f"{repo} has neither a checkpoint nor ONNX graphs that are known here"


def _licenses(info: Any, published: PublishedModel | None) -> tuple[License, ...]:
    """Returns known licenses, otherwise those on the model card and those of its base models."""
    if published:
        return (published.license,)
    card = info.card_data
    licenses = []
    if card is not None and (stated := card.get("license_name") or card.get("license")):
        licenses.append(License(str(stated), str(card.get("license_link") or "")))
    bases = card.get("base_model") if card is not None else None
    for base in [bases] if isinstance(bases, str) else bases or []:
        if (known := find_repository(str(base))) and known.license not in licenses:
            licenses.append(known.license)
    return tuple(licenses) or (UNSTATED,)


def _explain(error: Exception, repo: str, revision: str | None, endpoint: str) -> str | None:
    """Returns the message for an error of the hub's client; None if its status suffices."""
    from huggingface_hub import errors  # noqa: PLC0415

    match error:
        case errors.OfflineModeIsEnabled():
            return _offline_message(repo)
        case errors.GatedRepoError():
            return (
                f"{repo} is gated: accept its terms at {endpoint}/{repo}, then run "
                f"'hf auth login' or set HF_TOKEN"
            )
        case errors.RepositoryNotFoundError():
            return (
                f"there is no model {repo} at {endpoint}, or it is private; for a private one run "
                f"'hf auth login' or set HF_TOKEN"
            )
        case errors.RevisionNotFoundError():
            return f"{repo} has no revision {revision!r}; try --revision main"
        case errors.HFValidationError():
            return f"{repo!r} is no hub id (organization/name)"
    return None


def _offline_message(what: str) -> str:
    return (
        f"{what} is not here and HF_HUB_OFFLINE is set, so that nothing is fetched; unset it, or "
        f"copy a bundle into the folder of models ('wheatear models' shows where)"
    )


# -- other servers -------------------------------------------------------------------------------


def _parse_hub_url(url: str) -> tuple[str, str | None, str | None] | None:
    """Returns repository, revision and file of an address on the hub; None for any other."""
    parts = urlsplit(url)
    if parts.hostname not in _HUB_HOSTS and not url.startswith(f"{hub_address()}/"):
        return None
    match [unquote(part) for part in parts.path.strip("/").split("/")]:
        case [owner, name] if not name.endswith((*_CHECKPOINTS, *_ARCHIVES)):
            return f"{owner}/{name}", None, None
        case [owner, name, "resolve" | "blob" | "tree", revision, *path]:
            return f"{owner}/{name}", revision, "/".join(path) or None
    return None


def _at_url(url: str, sha256: str | None) -> Source:
    """Finds a file at a URL. Raises DownloadError."""
    parts = urlsplit(url)
    name = PurePosixPath(unquote(parts.path)).name
    if parts.scheme not in ("http", "https"):
        raise DownloadError(f"{url}: models are fetched over https or http")
    if sha256 is None and not is_secure(url):
        raise DownloadError(
            f"{url}: over http anyone on the way can alter a model; use https, or give the hash of "
            f"the file with --sha256"
        )
    suffix = next((end for end in (*_CHECKPOINTS, *_ARCHIVES) if name.endswith(end)), None)
    if suffix is None:
        raise DownloadError(
            f"{url} is neither a checkpoint ({', '.join(_CHECKPOINTS)}) nor an archive of ONNX "
            f"graphs ({', '.join(_ARCHIVES)})"
        )
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise DownloadError(f"{sha256!r} is no SHA-256: 64 hexadecimal digits")
    file = _with_headers(RemoteFile(name=name, url=url, sha256=sha256))
    origin = Origin(label=url, revision=None, page=url, licenses=(UNSTATED,))
    kind: Kind = "checkpoint" if suffix in _CHECKPOINTS else "archive"
    return Source(name.removesuffix(suffix), origin, kind, name, (file,))


def _with_headers(file: RemoteFile) -> RemoteFile:
    """Returns a file with the size and version in the headers of its server."""

    def request() -> Any:
        response = http_client().head(
            file.url,
            headers={**file.headers, "Accept-Encoding": "identity"},
            follow_redirects=True,
            timeout=30.0,
        )
        response.raise_for_status()
        check_redirects(response, file.url, bool(file.sha256))
        return response

    headers = with_retries(file.url, request).headers
    length = headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > MAX_MODEL_BYTES:
        raise DownloadError(f"{file.url} has {int(length):,} bytes, which is no model")
    return replace(
        file,
        size=int(length) if length.isdecimal() else None,
        version=headers.get("ETag") or headers.get("Last-Modified") or "",
    )
