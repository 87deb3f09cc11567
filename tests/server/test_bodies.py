"""Bodies of JSON: whatever they hold, they are understood or refused."""

import pytest
import raw_socket as raw
from raw_socket import request

PATH = "/v1/realtime/client_secrets"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff", b'{"a": "\xff"}', b'{"session": "\xc3\x28"}', b'{"\xff": 1}', b'"\xed\xa0\x80"',
        b'{"session": "\\ud800"}', b'{"\\udfff": 1}', b"NaN", b'{"expires_after": NaN}',
        b"Infinity", b"[" * 60_000, b'{"a":' * 10_000, b'{"session":' * 5000 + b"1" + b"}" * 5000,
        b'{"expires_after": {"seconds": 1e400}}', b"\0", b"\xfe\xff{\0}\0", b'"a"', b"[]", b"null",
        b'{"expires_after": {"seconds": ' + b"9" * 5000 + b"}}",
        b'{"session": {"type": "\x1b[31m"}}',
        b"{", b'{"a": 1} {"b": 2}',
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(quiet_server, body):
    answer = raw.answer(quiet_server.port, request("POST", PATH, body))
    assert raw.status(answer) == 400, (body[:50], answer[-300:])


def test_an_empty_body_is_an_empty_object(quiet_server):
    assert raw.status(raw.answer(quiet_server.port, request("POST", PATH, b""))) == 200
