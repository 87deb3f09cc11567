"""Files that clients send: a form is taken apart as it comes, and what is kept is counted.

A file lies in memory up to a megabyte and then on disk. All of them together are bounded, in all
and for each client.
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
from wheatear.server.api_errors import ApiError, disk_full, note_once, of_system

_IN_MEMORY = 1 << 20  # bytes of a file
_MOST_PARTS = 1100  # with room for a thousand keywords
_MOST_FILES = 4
_LONGEST_HEADERS = 1 << 13  # bytes of one part
_MOST_TEXT = 1 << 20  # bytes of all fields that are no files
_FILE = "file"  # the field that is one whatever its part says
_KINDS = ("audio/", "video/", "application/octet-stream")
_EXTENDED = re.compile(rb";\s*filename\*\s*=\s*\"?(?:[\w-]*'[\w-]*')?([^;\"]*)", re.IGNORECASE)
_SHORT = 1000  # bytes of what may have been meant as the name of a file


class Upload(UploadFile):
    """A file that comes in."""

    def __init__(
        self, slots: ConcurrencyLimits, client: Client, filename: str | None = None, kind: str = ""
    ) -> None:
        headers = Headers({"content-type": kind} if kind else {})
        super().__init__(cast("BinaryIO", io.BytesIO()), size=0, filename=filename, headers=headers)
        self._kept, self._client = slots.spool, client.name
        self._counted = 0

    async def write(self, data: bytes) -> None:
        """Adds to the file.  Raises ApiError where there is no room for it."""
        if len(data) > self._kept.left or not self._kept.is_fair(self._client, len(data)):
            note_once(-1, "uploads have limits.spool_bytes (%d) in use", self._kept.total)
            raise disk_full()
        self._kept.take(self._client, len(data))
        self._counted += len(data)
        self.size = (self.size or 0) + len(data)
        if isinstance(self.file, io.BytesIO) and self.size <= _IN_MEMORY:
            self.file.write(data)
        else:
            await run_in_threadpool(self._write_to_disk, data)

    async def close(self) -> None:
        """Gives back all that it takes."""
        self._kept.give(self._client, self._counted)
        self._counted = 0
        await super().close()

    def _write_to_disk(self, data: bytes) -> None:
        try:
            if isinstance(memory := self.file, io.BytesIO):
                self.file = cast("BinaryIO", tempfile.TemporaryFile())
                self.file.write(memory.getvalue())
            self.file.write(data)
        except OSError as error:
            if (known := of_system(error)) is None:
                note_once(error.errno or 0, "temporary files can't be written: %s", error)
            raise known or disk_full() from error


@dataclass
class _Part:
    """A part of a form."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    text: bytearray = field(default_factory=bytearray)
    file: Upload | None = None


async def read_form(request: Request, slots: ConcurrencyLimits) -> FormData:
    """The form that a request brings.  Raises ApiError, after which nothing of it is left."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise ApiError(415, "send the form as UTF-8", code="not_utf8")
    if kind != b"multipart/form-data":
        raise ApiError(
            415, "send the file as a form: Content-Type: multipart/form-data", code="not_a_form"
        )
    if not (boundary := options.get(b"boundary")):
        raise _wrong("its Content-Type names no boundary")
    form = _Form(slots, request.state.client)
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
    """A form while it is taken apart."""

    def __init__(self, slots: ConcurrencyLimits, client: Client) -> None:
        self._slots, self._client = slots, client
        self.items: list[tuple[str, str | UploadFile]] = []
        self._ended = False
        """True once the last boundary has come."""
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
        """Writes what has come of files."""
        for upload, data in self._to_write:
            await upload.write(data)
        self._to_write.clear()

    def check(self) -> None:
        """Raises ApiError for a form that is cut off, and for a file that is the name of one."""
        if not self._ended:
            raise _wrong("it ends before its last boundary")
        for upload in self._files:
            if upload.filename is None and 0 < (upload.size or 0) <= _SHORT:
                text = _decoded(cast("io.BytesIO", upload.file).getvalue())
                if text.strip().isprintable():
                    raise ApiError(
                        400, f"file holds the text {text.strip()[:80]!r} and no audio; send the "
                        f"file itself (curl -F file=@NAME)", code="invalid_audio", param=_FILE,
                    )  # fmt: skip

    async def close(self) -> None:
        """Lets go of all files."""
        for upload in self._files:
            await upload.close()

    def _begin(self) -> None:
        self._part, self._headers, self._parts = _Part(), 0, self._parts + 1
        if self._parts > _MOST_PARTS:
            raise _wrong(f"it has more than {_MOST_PARTS} parts")

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += self._counted(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._counted(data[start:end])

    def _counted(self, data: bytes) -> bytes:
        self._headers += len(data)
        if self._headers > _LONGEST_HEADERS:
            raise _wrong(f"the headers of a part have more than {_LONGEST_HEADERS} bytes")
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
            if len(self._files) == _MOST_FILES:
                raise _wrong(f"it has more than {_MOST_FILES} files")
            part.file = Upload(self._slots, self._client, filename, kind)
            self._files.append(part.file)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.file is not None:
            self._to_write.append((self._part.file, data[start:end]))
            return
        self._text += end - start
        if self._text > _MOST_TEXT:
            raise ApiError(
                413, f"the fields of the form are larger than {_MOST_TEXT >> 10} KiB with "
                f"{self._part.name[:50]!r}", param=self._part.name[:80],
            )  # fmt: skip
        self._part.text += data[start:end]

    def _part_end(self) -> None:
        part = self._part
        self.items.append((part.name, part.file or _decoded(bytes(part.text))))

    def _end(self) -> None:
        self._ended = True


def _filename(disposition: bytes, options: dict[bytes, bytes]) -> str | None:
    """The name of a part's file, also in the form of RFC 5987; None if it has none."""
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
