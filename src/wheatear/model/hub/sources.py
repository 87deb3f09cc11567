"""What a name, a hub id or a URL stands for: files to be fetched, and where they come from.

In a repository the checkpoint in full precision is preferred: a `.nemo` file, then transformers'
safetensors, then GGUF.  A repository (or a folder of one) with ONNX graphs is a package that is
run as it is.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from wheatear.errors import DownloadError
from wheatear.model.hub.download import RemoteFile, check_way, http_client, is_private, patiently
from wheatear.model.hub.licenses import UNSTATED, Origin
from wheatear.model.manifest import LICENSE_FILE
from wheatear.model.published import PUBLISHED, License, PublishedModel, find_repository
from wheatear.model.size_limits import MAX_MODEL_BYTES

Kind = Literal["checkpoint", "transformers", "package", "archive"]

_CHECKPOINTS = (".nemo", ".gguf", ".safetensors")
_ARCHIVES = (".tar.bz2", ".tar.gz", ".tgz", ".tar.xz", ".tar")
PACKAGE_FILES = (".onnx", ".data", ".json", ".txt", ".model")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_SETTINGS = ("config.json", "processor_config.json", "preprocessor_config.json")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model")
_HUB_HOSTS = ("huggingface.co", "hf.co", "www.huggingface.co")


@dataclass(frozen=True)
class Source:
    name: str
    """What the model is called here unless another name is given."""
    origin: Origin
    kind: Kind
    main: str
    """The file that is converted, or the one that gives a folder its kind."""
    files: tuple[RemoteFile, ...]


def find_source(
    what: str, *, file: str | None = None, revision: str | None = None, sha256: str | None = None
) -> Source:
    """Raises DownloadError if there is nothing of that kind, or nothing that we can use."""
    if is_offline():
        return _in_cache(what, file, revision)
    if published := PUBLISHED.get(what):
        return replace(_in_repository(published.repo, file, revision), name=what)
    if "://" in what:
        if location := _on_the_hub(what):
            repo, at, inside = location
            return _in_repository(repo, file or inside, revision or at)
        return _at_url(what, sha256)
    if _REPOSITORY.fullmatch(what):
        return _in_repository(what, file, revision)
    raise DownloadError(
        f"nothing is known of {what!r}; give one of {', '.join(PUBLISHED)}, a hub id "
        f"(organisation/name) or a URL"
    )


def hub_address() -> str:
    """Where the hub is, or the mirror of it that HF_ENDPOINT names."""
    from huggingface_hub import constants  # noqa: PLC0415  (an extra)

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def is_offline() -> bool:
    from huggingface_hub import constants  # noqa: PLC0415  (an extra)

    asked = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    return asked or constants.HF_HUB_OFFLINE


# -- the hub -------------------------------------------------------------------------------------


def _in_cache(what: str, file: str | None, revision: str | None) -> Source:
    """A model that the hub's own cache has, as others have fetched it; DownloadError if not."""
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
            called = what if what in PUBLISHED else published.repo.partition("/")[2]
            return Source(called, origin, "checkpoint", remote.name, (remote,))
    raise DownloadError(offline(what))


def _cached(repo: str, path: str, commit: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  (an extra)

    found = try_to_load_from_cache(repo, path, revision=commit)
    return Path(found) if isinstance(found, str) else None


def _in_repository(repo: str, wanted: str | None, revision: str | None) -> Source:
    from huggingface_hub import HfApi  # noqa: PLC0415  (an extra)
    from huggingface_hub.utils import build_hf_headers  # noqa: PLC0415

    endpoint, published = hub_address(), find_repository(repo)
    if published and revision is None:
        revision = published.revision
    info = patiently(
        f"{endpoint}/{repo}",
        lambda: HfApi(endpoint=endpoint).model_info(repo, revision=revision, files_metadata=True),
        lambda error: _explained(error, repo, revision, endpoint),
    )
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    if published and wanted is None and published.file in siblings:
        wanted = published.file
    kind, main, names = _chosen(repo, list(siblings), wanted)
    commit = info.sha or revision
    headers = build_hf_headers()

    def remote(path: str) -> RemoteFile:
        sibling = siblings[path]
        lfs = sibling.lfs
        pinned = published.sha256.get(path) if published else None
        return RemoteFile(
            name=PurePosixPath(path).name,
            url=f"{endpoint}/{repo}/resolve/{quote(str(commit), safe='')}/{quote(path)}",
            size=lfs.size if lfs else sibling.size,
            sha256=pinned or (lfs.sha256 if lfs else None),
            git_id=None if lfs else sibling.blob_id,
            version=str(commit),
            headers=headers,
            cached=_cached(repo, path, str(commit)),
        )

    files = [remote(path) for path in names]
    files = [
        file if file.size is not None and (file.sha256 or file.git_id) else _looked_up(file)
        for file in files
    ]
    origin = Origin(
        label=repo,
        revision=commit,
        page=f"{endpoint}/{repo}",
        licenses=_licenses(info, published),
        gated=bool(info.gated),
    )
    return Source(repo.partition("/")[2], origin, kind, PurePosixPath(main).name, tuple(files))


def _looked_up(file: RemoteFile) -> RemoteFile:
    """A file of which the repository's listing does not tell size and hash."""
    from huggingface_hub import get_hf_file_metadata  # noqa: PLC0415  (an extra)

    def ask() -> Any:
        return get_hf_file_metadata(file.url, headers=dict(file.headers))

    told = patiently(file.url, ask)
    tag = told.etag or ""  # a hash, of large files a SHA-256
    return replace(
        file,
        size=file.size if told.size is None else told.size,
        sha256=file.sha256 or (tag if re.fullmatch(r"[0-9a-f]{64}", tag) else None),
        git_id=file.git_id or (tag if re.fullmatch(r"[0-9a-f]{40}", tag) else None),
    )


def _chosen(repo: str, names: Sequence[str], wanted: str | None) -> tuple[Kind, str, list[str]]:
    """Which of a repository's files to fetch: their kind, the main one, all of them."""
    if wanted is not None and wanted not in names:
        folder = wanted.rstrip("/") + "/"
        names = [name for name in names if name.startswith(folder)]
        if not names:
            raise DownloadError(f"{repo} has no file or folder {wanted!r}")
        folder_of = folder
    else:
        folder_of = ""
    here = [name for name in names if "/" not in name.removeprefix(folder_of)]
    texts = [name for name in here if LICENSE_FILE.fullmatch(PurePosixPath(name).name)]
    if wanted is not None and wanted in names:
        if wanted.endswith(_CHECKPOINTS) and not _is_shard(wanted):
            return "checkpoint", wanted, [wanted, *texts]
        raise DownloadError(
            f"{repo}: {wanted} is no checkpoint; {', '.join(_CHECKPOINTS)} files can be converted"
        )
    nemo = [name for name in here if name.endswith(".nemo")]
    weights = [name for name in here if name.endswith(".safetensors")]
    gguf = [name for name in here if name.endswith(".gguf")]
    if nemo or (gguf and not weights):
        return "checkpoint", _only(repo, nemo or gguf), [_only(repo, nemo or gguf), *texts]
    if weights and f"{folder_of}config.json" in here:
        beside = {*_SETTINGS, *_TOKENIZERS, "model.safetensors.index.json"}
        settings = [name for name in here if name.removeprefix(folder_of) in beside]
        return "transformers", f"{folder_of}config.json", [*settings, *weights, *texts]
    if weights:
        return "checkpoint", _only(repo, weights), [_only(repo, weights), *texts]
    if graphs := [n for n in here if re.search(r"encoder[\w.-]*\.onnx$", n)]:
        package = [name for name in here if name.endswith(PACKAGE_FILES)]
        return "package", graphs[0], sorted({*package, *texts})
    raise DownloadError(_nothing(repo, names))


def _nothing(repo: str, names: Sequence[str]) -> str:
    """What to say of a place without a model: which other folders have one."""
    useful = (*_CHECKPOINTS, "encoder.onnx", "encoder.int8.onnx")
    folders = sorted({str(PurePosixPath(n).parent) for n in names if n.endswith(useful)} - {"."})
    if folders:
        return f"{repo} has several models; choose one with --file: {', '.join(folders)}"
    return f"{repo} has neither a checkpoint nor ONNX graphs that are known here"


def _only(repo: str, names: Sequence[str]) -> str:
    if len(names) > 1:
        raise DownloadError(
            f"{repo} has several checkpoints; choose one with --file: {', '.join(sorted(names))}"
        )
    return names[0]


def _is_shard(name: str) -> bool:
    return re.search(r"-\d{5}-of-\d{5}\.", name) is not None


def _licenses(info: Any, published: PublishedModel | None) -> tuple[License, ...]:
    """What the table here knows; else what the card states, and the table of what it is made
    from."""
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


def _explained(error: Exception, repo: str, revision: str | None, endpoint: str) -> str | None:
    """What an error of the hub's client means; None if its status tells enough."""
    from huggingface_hub import errors  # noqa: PLC0415

    match error:
        case errors.OfflineModeIsEnabled():
            return offline(repo)
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
            return f"{repo!r} is no hub id (organisation/name)"
    return None


def offline(what: str) -> str:
    return (
        f"{what} is not here and HF_HUB_OFFLINE is set, so that nothing is fetched; unset it, or "
        f"copy a bundle into the folder of models ('wheatear models' tells where)"
    )


# -- other places --------------------------------------------------------------------------------


def _on_the_hub(url: str) -> tuple[str, str | None, str | None] | None:
    """Repository, revision and file of an address on the hub; None for any other."""
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
    parts = urlsplit(url)
    name = PurePosixPath(unquote(parts.path)).name
    if parts.scheme not in ("http", "https"):
        raise DownloadError(f"{url}: models are fetched over https or http")
    if sha256 is None and not is_private(url):
        raise DownloadError(
            f"{url}: over http anyone on the way can alter a model; use https, or give the hash of "
            f"the file with --sha256"
        )
    if not name.endswith((*_CHECKPOINTS, *_ARCHIVES)):
        raise DownloadError(
            f"{url} is neither a checkpoint ({', '.join(_CHECKPOINTS)}) nor an archive of ONNX "
            f"graphs ({', '.join(_ARCHIVES)})"
        )
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise DownloadError(f"{sha256!r} is no SHA-256: 64 hexadecimal digits")
    file = _measured(RemoteFile(name=name, url=url, sha256=sha256))
    origin = Origin(label=url, revision=None, page=url, licenses=(UNSTATED,))
    kind: Kind = "checkpoint" if name.endswith(_CHECKPOINTS) else "archive"
    stem = next(name.removesuffix(end) for end in (*_CHECKPOINTS, *_ARCHIVES) if name.endswith(end))
    return Source(stem, origin, kind, name, (file,))


def _measured(file: RemoteFile) -> RemoteFile:
    """The file with the size and the version that its server tells."""

    def ask() -> Any:
        response = http_client().head(
            file.url,
            headers={**file.headers, "Accept-Encoding": "identity"},
            follow_redirects=True,
            timeout=30.0,
        )
        response.raise_for_status()
        check_way(response, file.url, bool(file.sha256))
        return response

    headers = patiently(file.url, ask).headers
    length = headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > MAX_MODEL_BYTES:
        raise DownloadError(f"{file.url} has {int(length):,} bytes, which is no model")
    return replace(
        file,
        size=int(length) if length.isdecimal() else None,
        version=headers.get("ETag") or headers.get("Last-Modified") or "",
    )
