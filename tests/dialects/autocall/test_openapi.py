"""Is the document what the API does: valid, offline, and true in every example?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from zvonar.dialects.autocall.openapi import document, filled
from zvonar.dialects.autocall.operations import Example, Operation
from zvonar.dialects.autocall.routes import OPERATIONS, PREFIX

from .client import Client
from .conftest import one_of_each

if TYPE_CHECKING:
    from tests.dialects.conftest import House

DOCUMENT = document(OPERATIONS, prefix=PREFIX, version="0")
EXAMPLES = [
    pytest.param(operation, example, id=f"{operation.name} {example.name}")
    for operation in OPERATIONS
    for example in operation.examples
]


def path_of(operation: Operation, example: Example, ids: dict[str, int]) -> str:
    """Where the example goes."""
    given = {name: str(filled(value, ids)) for name, value in example.path.items()}
    return operation.path.format(**given)


def check(operation: Operation, answer: Any) -> None:
    """Whether an answer is what the document says."""
    described = DOCUMENT["paths"][PREFIX + operation.path][operation.method.lower()]
    told = described["responses"][str(answer.status_code)]
    content = told.get("content", {}).get("application/json")
    if content is not None:
        schema = {**content["schema"], "components": DOCUMENT["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json())


def test_it_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_every_operation_and_every_body_has_an_example() -> None:
    form_only = {"importStopList"}  # of files, which stand in tests of their own
    assert {operation.name for operation in OPERATIONS if not operation.examples} == form_only


@pytest.mark.parametrize(("operation", "example"), EXAMPLES)
@pytest.mark.usefixtures("callers")
def test_an_example_does_what_it_says(operation: Operation, example: Example, house: House) -> None:
    client = Client(house, house.tenant(balance="100000"))
    ids = one_of_each(client)
    answer = client.send(
        operation.method,
        path_of(operation, example, ids),
        filled(example.body, ids),
        params=dict(example.query),
    )
    assert answer.status_code == operation.status, answer.text
    check(operation, answer)


@pytest.mark.usefixtures("callers")
def test_the_ids_of_another_account_lead_nowhere(house: House) -> None:
    client = Client(house, house.tenant(balance="100000"))
    stranger = Client(house, house.tenant(balance="100000"))
    ids = one_of_each(client)
    own = one_of_each(stranger)
    looked_at = set()
    for operation in OPERATIONS:
        if "_id}" not in operation.path:
            continue
        example = operation.examples[0]
        before = house.picture()
        answer = stranger.send(operation.method, path_of(operation, example, ids), filled(example.body, own))
        assert (answer.status_code, operation.name) == (404, operation.name)
        check(operation, answer)
        assert house.picture() == before
        looked_at.add(operation.name)
    assert len(looked_at) > 20


def test_ids_of_another_account_in_a_body_are_as_unknown_as_any(house: House, client: Client) -> None:
    stranger = Client(house, house.tenant())
    audio = client.ok("POST", "/audio", {"text": "Добрый день"}, status=201)["id"]
    people = client.ok("POST", "/lists", {"name": "x", "contacts": [{"number": "+70001230001"}]}, status=201)
    new = {"name": "x", "list_id": [{"number": "+70001230001"}]}
    for body in (
        {**new, "audio_id": [audio]},
        {**new, "audio_id": [{"data": {"text": "Да"}}], "list_id": [people["id"]]},
        {**new, "scenario_id": 1},
    ):
        before = house.picture()
        assert stranger.send("POST", "/autocalls", body).status_code == 422
        assert house.picture() == before
    nodes = [{"name": "1", "prompt": {"audio_id": audio}}]
    refused = stranger.send("POST", "/scenarios", {"name": "x", "nodes": nodes})
    assert list(refused.json()["errors"]) == ["nodes.0.prompt.audio_id"]


def test_the_page_fetches_nothing_from_elsewhere(house: House) -> None:
    page = house.send("GET", "/docs")
    assert page.status_code == 200
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(sources) == 3
    for source in sources:
        assert source.startswith("/docs/")
        assert house.send("GET", source).status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert house.send("GET", "/docs/openapi.json").json()["paths"] == DOCUMENT["paths"]
    assert house.send("GET", "/docs/assets/README.md").status_code == 404
