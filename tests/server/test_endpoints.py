"""Endpoints of the service itself."""

import asyncio
import json

import pytest
from starlette.requests import Request

from wheatear.server.access.credentials import anonymous_client
from wheatear.server.api_errors import ApiError
from wheatear.server.endpoints import PAGE, ServiceEndpoints


def request(body: bytes = b"", **path_params: str) -> Request:
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    state = {"client": anonymous_client("127.0.0.1")}
    scope = {"type": "http", "headers": [], "path_params": path_params, "state": state}
    return Request(scope, receive)


def answer(endpoint, *arguments, **path_params) -> tuple[int, object]:
    response = asyncio.run(endpoint(request(*arguments, **path_params)))
    return response.status_code, json.loads(response.body)


def test_probes_follow_the_service(service):
    endpoints = ServiceEndpoints(service)
    assert answer(endpoints.health)[0] == 200
    assert answer(endpoints.ready) == (200, {"status": "ready"})
    service.draining.set()
    try:
        assert answer(endpoints.ready) == (503, {"status": "draining"})
    finally:
        service.draining.clear()


def test_models_are_listed_and_described(service):
    endpoints = ServiceEndpoints(service)
    _, models = answer(endpoints.list_models)
    (model,) = models["data"]
    assert model["default"]
    status, described = answer(endpoints.model, name=model["id"])
    assert (status, described) == (200, {k: v for k, v in model.items() if k != "default"})
    with pytest.raises(ApiError, match="there is no model"):
        answer(endpoints.model, name="unknown")


@pytest.mark.parametrize("body", [b"", b"{}", b' {"session": {"type": "transcription"}}'])
def test_client_secret_has_a_session(service, body):
    status, secret = answer(ServiceEndpoints(service).client_secret, body)
    assert (status, secret["value"][:3]) == (200, "ek_")
    assert secret["session"]["type"] == "transcription"


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b" " * 70_000])
def test_body_that_is_no_json_object_is_rejected(service, body):
    with pytest.raises(ApiError):
        answer(ServiceEndpoints(service).client_secret, body)


def test_page_exists():
    assert (PAGE / "index.html").is_file()
