"""Uploads: forms are parsed while they arrive, and their files count against the spool.

A file is kept in memory up to a megabyte, and then on disk.  The spool is bounded, in total and
per client.
"""

import io
import re
import tempfile
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.requests import Request

from wheatear.server.access.keys import Client
from wheatear.server.access.limits import ConcurrencyLimits
from wheatear.server.api_errors import ApiError, disk_full, log_rarely, resource_error

_IN_MEMORY = 1 << 20  # bytes of a file
_MAX_PARTS = 1100  # a thousand keywords, and all other fields
_MAX_FILES = 4
_MAX_HEADER_BYTES = 1 << 13  # bytes of one part
MAX_FIELD_BYTES = 1 << 20
"""Maximum bytes of all fields that are not files."""
_FILE = "file"  # always a file, whatever the headers of its part
_KINDS = ("audio/", "video/", "application/octet-stream")
_EXTENDED = re.compile(rb";\s*filename\*\s*=\s*\"?(?:[\w-]*'[\w-]*')?([^;\"]*)", re.IGNORECASE)
_MAX_NAME = 1000  # bytes of text that may be meant as the name of a file


class Upload(UploadFile):
    """File that is being received, in memory or on disk."""

    def __init__(
        self,
        concurrency: ConcurrencyLimits,
        client: Client,
        filename: str | None = None,
        kind: str = "",
    ) -> None:
        headers = Headers({"content-type": kind} if kind else {})
        super().__init__(cast("BinaryIO", io.BytesIO()), size=0, filename=filename, headers=headers)
        self._spool, self._client = concurrency.spool, client.name
        self._counted = 0

    async def write(self, data: bytes) -> None:
        """Appends to the file.  Raises ApiError if the spool is full."""
        if len(data) > self._spool.free or not self._spool.is_fair(self._client, len(data)):
            log_rarely(-1, "uploads have limits.spool_bytes (%d) in use", self._spool.total)
            raise disk_full()
        self._spool.take(self._client, len(data))
        self._counted += len(data)
        self.size = (self.size or 0) + len(data)
        if isinstance(self.file, io.BytesIO) and self.size <= _IN_MEMORY:
            self.file.write(data)
        else:
            await run_in_threadpool(self._write_to_disk, data)

    async def close(self) -> None:
        """Closes the file and releases its space."""
        self._spool.give(self._client, self._counted)
        self._counted = 0
        await super().close()

    def _write_to_disk(self, data: bytes) -> None:
        try:
            if isinstance(memory := self.file, io.BytesIO):
                self.file = cast("BinaryIO", tempfile.TemporaryFile())
                self.file.write(memory.getvalue())
            self.file.write(data)
        except OSError as error:
            if (known := resource_error(error)) is None:
                log_rarely(error.errno or 0, "temporary files can't be written: %s", error)
            raise known or disk_full() from error


@dataclass
class _Part:
    """Part of a form."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    text: bytearray = field(default_factory=bytearray)
    file: Upload | None = None


async def read_form(request: Request, concurrency: ConcurrencyLimits) -> FormData:
    """Reads the form of a request.  Raises ApiError, after which all of its files are closed."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise ApiError(415, "send the form as UTF-8", code="not_utf8")
    if kind != b"multipart/form-data":
        raise ApiError(
            415, "send the file as a form: Content-Type: multipart/form-data", code="not_a_form"
        )
    if not (boundary := options.get(b"boundary")):
        raise _wrong("its Content-Type names no boundary")
    form = _Form(concurrency, request.state.client)
    try:
        parser = MultipartParser(boundary, cast("Any", form.callbacks))
        async for data in request.stream():
            parser.write(data)
            await form.write()
        parser.finalize()
        form.check()
    except BaseException as error:
        await form.close()
        if isinstance(error, FormParserError):
            raise _wrong(str(error)) from error
        raise
    return FormData(form.items)


class _Form:
    """Form that is being parsed."""

    def __init__(self, concurrency: ConcurrencyLimits, client: Client) -> None:
        self._concurrency, self._client = concurrency, client
        self.items: list[tuple[str, str | UploadFile]] = []
        self._ended = False
        """True after the last boundary."""
        self._part = _Part()
        self._files: list[Upload] = []
        self._name, self._value = b"", b""
        self._parts = self._headers = self._text = 0
        self._to_write: list[tuple[Upload, bytes]] = []
        self.callbacks = {
            "on_part_begin": self._begin, "on_header_field": self._header_name,
            "on_header_value": self._header_value, "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end, "on_part_data": self._data,
            "on_part_end": self._part_end, "on_end": self._end,
        }  # fmt: skip

    async def write(self) -> None:
        """Writes the data of files that has arrived."""
        for upload, data in self._to_write:
            await upload.write(data)
        self._to_write.clear()

    def check(self) -> None:
        """Raises ApiError for an incomplete form, and for a file that holds the name of a file."""
        if not self._ended:
            raise _wrong("it ends before its last boundary")
        for upload in self._files:
            if upload.filename is None and 0 < (upload.size or 0) <= _MAX_NAME:
                text = _decoded(cast("io.BytesIO", upload.file).getvalue())
                if text.strip().isprintable():
                    raise ApiError(
                        400, f"file holds the text {text.strip()[:80]!r} and no audio; send the "
                        f"file itself (curl -F file=@NAME)", code="invalid_audio", param=_FILE,
                    )  # fmt: skip

    async def close(self) -> None:
        """Closes all files."""
        for upload in self._files:
            await upload.close()

    def _begin(self) -> None:
        self._part, self._headers, self._parts = _Part(), 0, self._parts + 1
        if self._parts > _MAX_PARTS:
            raise _wrong(f"it has more than {_MAX_PARTS} parts")

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += self._counted(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._counted(data[start:end])

    def _counted(self, data: bytes) -> bytes:
        self._headers += len(data)
        if self._headers > _MAX_HEADER_BYTES:
            raise _wrong(f"the headers of a part have more than {_MAX_HEADER_BYTES} bytes")
        return data

    def _header_end(self) -> None:
        self._part.headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _headers_end(self) -> None:
        part = self._part
        _, options = parse_options_header(part.headers.get(b"content-disposition"))
        if b"name" not in options:
            raise _wrong("one of its parts has no name (Content-Disposition)")
        part.name = _decoded(options[b"name"])
        encoding = part.headers.get(b"content-transfer-encoding", b"binary").strip().lower()
        if encoding not in (b"binary", b"8bit", b"7bit"):
            raise _wrong(f"{part.name[:50]!r} comes encoded; send it as it is")
        kind = _decoded(part.headers.get(b"content-type", b"")).lower()
        filename = _filename(part.headers.get(b"content-disposition", b""), options)
        if filename is not None or part.name == _FILE or kind.startswith(_KINDS):
            if len(self._files) == _MAX_FILES:
                raise _wrong(f"it has more than {_MAX_FILES} files")
            part.file = Upload(self._concurrency, self._client, filename, kind)
            self._files.append(part.file)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.file is not None:
            self._to_write.append((self._part.file, data[start:end]))
            return
        self._text += end - start
        if self._text > MAX_FIELD_BYTES:
            raise ApiError(
                413, f"the fields of the form are larger than {MAX_FIELD_BYTES >> 10} KiB with "
                f"{self._part.name[:50]!r}", param=self._part.name[:80],
            )  # fmt: skip
        self._part.text += data[start:end]

    def _part_end(self) -> None:
        part = self._part
        self.items.append((part.name, part.file or _decoded(bytes(part.text))))

    def _end(self) -> None:
        self._ended = True


def _filename(disposition: bytes, options: dict[bytes, bytes]) -> str | None:
    """Returns the name of a part's file, also as of RFC 5987; None if it has none."""
    if b"filename" in options:
        return _decoded(options[b"filename"])
    if not (extended := _EXTENDED.search(disposition)):
        return None
    return unquote_to_bytes(extended[1]).decode("utf-8", "replace")


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _wrong(what: str) -> ApiError:
    return ApiError(400, f"the form cannot be read: {what}", code="bad_form")
