"""Does the API keep to its document whatever is sent: no 500, no undocumented status, nothing half-done?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi import checks

from zvonar.dialects.autocall.openapi import document
from zvonar.dialects.autocall.routes import OPERATIONS, PREFIX

from .client import Client
from .conftest import one_of_each

if TYPE_CHECKING:
    from tests.dialects.conftest import House

DOCUMENT = document(OPERATIONS, prefix=PREFIX, version="0")
# The key is always right here; that none is refused is a test of its own.
schema = schemathesis.openapi.from_dict({**DOCUMENT, "security": []})


@pytest.fixture(scope="module")
def known(house: House) -> tuple[Client, dict[str, int]]:
    """A key that is right, and one of each thing that has an id."""
    client = Client(house, house.tenant(balance="1000000"))
    return client, one_of_each(client)


@schema.parametrize()
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_whatever_is_sent_is_answered_as_documented(
    case: schemathesis.Case, house: House, known: tuple[Client, dict[str, int]]
) -> None:
    client, ids = known
    for name in list(case.path_parameters or {}):
        # Half of the ids are right, so that what is behind them is reached.
        if name in ids and isinstance(case.path_parameters[name], int) and case.path_parameters[name] % 2:
            case.path_parameters[name] = ids[name]
    changes = case.method.upper() != "GET"
    before = _picture(client) if changes else ""
    answer = _send(client, case)
    case.validate_response(
        answer,
        headers={"authorization": f"Bearer {client.tenant.autocall}"},
        excluded_checks=[
            checks.positive_data_acceptance,  # what is well-formed may still make no sense
            checks.missing_required_header,
            checks.unsupported_method,  # also of methods that the server itself refuses
            # In a form everything is a text.
            *([checks.negative_data_rejection] if case.media_type == "multipart/form-data" else []),
            checks.ignored_auth,
        ],
    )
    if changes and answer.status_code >= 400:
        assert _picture(client) == before, "a refusal has changed something"


def _picture(client: Client) -> str:
    """What this account has, more quickly told than the whole house."""
    account = f"account_id = {client.tenant.account.account_id}"
    rows = ("accounts", "campaigns", "phone_lists", "scenarios", "stop_list", "campaign_lists")
    counts = ("calls", "outbox", "clips", "contacts", "idempotency_keys", "phone_list_rejects")
    parts = [
        *(
            f"(SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {name} t WHERE {account})"
            for name in rows
        ),
        *(f"(SELECT count(*) FROM {name} WHERE {account})" for name in counts),
    ]
    return str(client.house.run(client.house.db.value(f"SELECT concat_ws('/', {', '.join(parts)})")))  # type: ignore[arg-type]


def _send(client: Client, case: schemathesis.Case) -> httpx.Response:
    """The very bytes that would go over a wire."""
    kwargs = case.as_transport_kwargs(base_url="http://house.test")
    for name in ("cookies", "timeout", "verify", "cert", "proxies", "allow_redirects", "stream"):
        kwargs.pop(name, None)
    prepared = requests.Request(**kwargs).prepare()
    body = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body
    headers = {**prepared.headers, "authorization": f"Bearer {client.tenant.autocall}"}
    target = httpx.URL(str(prepared.url))
    return client.house.send(
        case.method,
        target,
        content=body,
        headers={k: str(v).encode("latin-1", "replace") for k, v in headers.items()},
    )
