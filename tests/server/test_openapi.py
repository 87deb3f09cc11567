"""The OpenAPI document: complete, valid, and true of real answers."""

import json
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from server_process import SAMPLE
from starlette.routing import Mount, WebSocketRoute

from wheatear import __version__
from wheatear.server.access.credentials import FOR_KEYS, OPEN, OPEN_FOLDER
from wheatear.server.app import routes_of
from wheatear.server.openapi import describe
from wheatear.server.service import Service
from wheatear.server.settings import Settings


@pytest.fixture(scope="module", params=[True, False])
def service(request) -> Iterator[Service]:
    service = Service(Settings(page=request.param))
    yield service
    service.close()


def test_the_document_has_every_route_and_no_other(service):
    routes = {}
    for route in routes_of(service):
        if isinstance(route, Mount):
            routes[f"{route.path}/{{path}}"] = {"get"}
        elif not isinstance(route, WebSocketRoute):
            path = route.path.replace("{name:path}", "{name}")
            routes[path] = {method.lower() for method in route.methods} - {"head"}
    documented = describe(service.settings.page)["paths"]
    assert {path: set(documented[path]) for path in documented} == routes


def test_the_document_marks_routes_that_need_a_key():
    for path, item in describe()["paths"].items():
        for operation in item.values():
            is_open = path in OPEN or path.startswith(OPEN_FOLDER)
            assert (operation.get("security") == [{}]) == is_open, path
            assert ("401" in operation["responses"]) != is_open, path
    assert set(FOR_KEYS) <= set(describe()["paths"])


def test_the_document_is_valid_and_served(quiet_server):
    status, text = quiet_server.get("/openapi.json")
    document = json.loads(text)
    assert status == 200
    assert document == describe()
    assert document["info"]["version"] == __version__
    schema = schemathesis.openapi.from_dict(document)
    schema.validate()
    names = [op.ok().definition.raw["operationId"] for op in schema.get_all_operations()]
    assert len(names) == len(set(names))
    refs = set(_refs(document))
    assert refs == {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses", "headers")
        for name in document["components"][kind]
    }


def _refs(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for inner in node.values():
            yield from _refs(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _refs(inner)


# -- and true

schema = schemathesis.openapi.from_dict(describe())
CHECKS = (
    checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_headers_conformance, checks.response_schema_conformance,
)  # fmt: skip


few = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@schema.parametrize()
@few
def test_any_request_is_answered_as_documented(case, quiet_server):
    response = case.call(base_url=quiet_server.url, timeout=60)
    case.validate_response(response, checks=CHECKS)


@schema.include(operation_id="transcribe").parametrize()
@few
def test_any_request_with_a_real_file_is_answered_as_documented(case, quiet_server):
    if isinstance(case.body, dict):
        case.body["file"] = SAMPLE.read_bytes()
    response = case.call(base_url=quiet_server.url, timeout=60)
    case.validate_response(response, checks=CHECKS)
