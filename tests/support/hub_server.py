"""A server on loopback with the protocol of the hub, and with faults.

GET  /api/models/REPO[/revision/REV]?blobs=True    files with sizes and hashes, the card
HEAD,GET /REPO/resolve/REV/FILE                    large files are redirected to /cdn/..., as
                                                   the hub does; parts are served
GET  /plain/FILE                                   any server
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = 1000  # bytes from which on a file is in large file storage
COMMIT = "c0ffee00" * 5


@dataclass
class Answer:
    """Fault of the answer to one request."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Bytes after which the connection breaks."""
    change: Callable[[bytes], bytes] | None = None
    """Changes the bytes that are sent."""
    whole: bool = False
    """True if the range of the request is ignored."""
    shift: int = 0
    """Bytes between the range of the request and the one that is sent."""


@dataclass
class Repository:
    files: dict[str, bytes]
    card: dict[str, Any] = field(default_factory=dict)
    commit: str = COMMIT
    gated: bool = False
    private: bool = False
    listed: bool = True
    """True if the listing has sizes and hashes."""


class StandIn:
    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.plain: dict[str, bytes] = {}
        self.faults: dict[str, list[Answer]] = {}
        """By a part of the path: what the next requests get; methods other than GET never."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.url = ""

    def fail(self, part: str, *answers: Answer) -> None:
        self.faults.setdefault(part, []).extend(answers)

    def requests_for(self, part: str, method: str = "GET") -> list[dict[str, str]]:
        """Returns the headers of the requests for a path."""
        return [h for m, path, h in self.requests if m == method and part in path]

    def answer(self, method: str, path: str) -> Answer:
        for part, answers in self.faults.items():
            if method == "GET" and part in path and answers:
                return answers.pop(0)
        return Answer()


@contextmanager
def serving() -> Iterator[StandIn]:
    hub = StandIn()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            self.reply()

        def do_HEAD(self) -> None:
            self.reply()

        def reply(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append((self.command, path, dict(self.headers)))
            answer = hub.answer(self.command, path)
            if answer.status is not None:
                self.send({"Content-Length": "0", **answer.headers}, b"", answer, answer.status)
            elif path.startswith("/api/models/"):
                self.list(path.removeprefix("/api/models/"), answer)
            elif path.startswith("/plain/"):
                data = hub.plain.get(path.removeprefix("/plain/"))
                if data is None:
                    self.send({}, b"", answer, 404)
                else:
                    self.serve(data, {"ETag": f'"{hashlib.sha256(data).hexdigest()[:32]}"'}, answer)
            else:
                self.resolve(path, answer)

        def list(self, path: str, answer: Answer) -> None:
            repo, _, revision = path.partition("/revision/")
            found = hub.repositories.get(repo)
            if found is None or found.private:
                error = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
                self.send(error, b"{}", answer, 401 if found else 404)
                return
            if revision == "nowhere":
                error = {"X-Error-Code": "RevisionNotFound"}
                self.send(error, b"{}", answer, 404)
                return
            siblings = [_sibling(name, data, found.listed) for name, data in found.files.items()]
            body = {
                "id": repo,
                "sha": found.commit,
                "gated": "manual" if found.gated else False,
                "cardData": found.card,
                "siblings": siblings,
                "tags": [],
            }
            data = json.dumps(body).encode()
            self.send({"Content-Type": "application/json"}, data, answer)

        def resolve(self, path: str, answer: Answer) -> None:
            cdn = path.startswith("/cdn/")
            repo, _, rest = path.removeprefix("/cdn").strip("/").partition("/resolve/")
            _revision, _, name = rest.partition("/")
            found = hub.repositories.get(repo)
            if found is None or name not in found.files:
                self.send({"X-Error-Code": "EntryNotFound"}, b"", answer, 404)
                return
            if found.gated and not cdn and "authorization" not in map(str.lower, self.headers):
                self.send({"X-Error-Code": "GatedRepo"}, b"", answer, 401)
                return
            data = found.files[name]
            tag = hashlib.sha256(data).hexdigest() if len(data) >= LARGE else _git_id(data)
            headers = {"X-Repo-Commit": found.commit, "ETag": f'"{tag}"'}
            if len(data) < LARGE or cdn:
                self.serve(data, headers, answer)
                return
            headers |= {"X-Linked-Etag": f'"{tag}"', "X-Linked-Size": str(len(data))}
            self.send({**headers, "Location": f"{hub.url}/cdn{path}"}, b"", answer, 302)

        def serve(self, data: bytes, headers: dict[str, str], answer: Answer) -> None:
            start = 0
            if (span := self.headers.get("Range")) and not answer.whole:
                start = int(span.removeprefix("bytes=").removesuffix("-")) + answer.shift
            if start >= len(data) > 0 and span:
                self.send({}, b"", answer, 416)
                return
            headers = {**headers, "Accept-Ranges": "bytes"}
            if span and not answer.whole:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
                self.send(headers, data[start:], answer, 206)
            else:
                self.send(headers, data, answer)

        def send(
            self, headers: dict[str, str], body: bytes, answer: Answer, status: int = 200
        ) -> None:
            body = answer.change(body) if answer.change else body
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "GET":
                return
            if answer.cut is None:
                self.wfile.write(body)
            else:
                self.wfile.write(body[: answer.cut])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _sibling(name: str, data: bytes, listed: bool) -> dict[str, Any]:
    if not listed:
        return {"rfilename": name}
    about: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": _git_id(data)}
    if len(data) >= LARGE:
        digest = hashlib.sha256(data).hexdigest()
        about["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
    return about
