"""Is a request that is repeated done once, and answered as it was?"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from .client import TEXT, Client

if TYPE_CHECKING:
    from tests.dialects.conftest import House

BODY = {"name": "Опрос", "list_id": [{"number": "+70001230001"}], "audio_id": TEXT}
REPLAYED = "idempotent-replayed"


def keyed(client: Client, key: str, body: Any = BODY, path: str = "/autocalls") -> httpx.Response:
    answer: httpx.Response = client.send("POST", path, body, headers={"idempotency-key": key})
    return answer


def test_the_same_request_is_done_once_and_answered_as_it_was(client: Client) -> None:
    first = keyed(client, "a")
    assert (first.status_code, first.headers.get(REPLAYED)) == (201, None)
    before = client.house.picture()
    again = keyed(client, "a")
    assert (again.status_code, again.headers[REPLAYED], again.content) == (201, "true", first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert client.house.picture() == before
    assert keyed(client, "b").json()["id"] != first.json()["id"]


def test_another_body_or_path_under_the_same_key_is_refused(client: Client) -> None:
    made = keyed(client, "a").json()
    before = client.house.picture()
    assert keyed(client, "a", {**BODY, "name": "Другой"}).status_code == 409
    assert keyed(client, "a", {}, f"/autocalls/{made['id']}/pause").status_code == 409
    assert client.house.picture() == before


def test_a_key_is_one_accounts_own(house: House, client: Client) -> None:
    stranger = Client(house, house.tenant())
    assert keyed(client, "a").json()["client_id"] != keyed(stranger, "a").json()["client_id"]


def test_what_was_refused_has_not_used_its_key(client: Client) -> None:
    assert keyed(client, "a", {"name": "x"}).status_code == 422
    assert keyed(client, "a").status_code == 201


@pytest.mark.usefixtures("travelling")
def test_a_key_is_kept_for_24_hours(client: Client) -> None:
    first = keyed(client, "a").json()
    client.house.clock += timedelta(hours=23)
    assert keyed(client, "a").json() == first
    client.house.clock += timedelta(hours=1, minutes=1)
    assert keyed(client, "a").json()["id"] != first["id"]


@pytest.mark.parametrize("key", ["", " ", "x" * 256])
def test_a_key_that_is_none_is_told(client: Client, key: str) -> None:
    assert keyed(client, key).status_code == 422


def test_50_at_once_over_two_processes_make_one_call(client: Client, processes: list[str]) -> None:
    house = client.house
    key = {"authorization": f"Bearer {client.tenant.autocall}", "idempotency-key": "a"}

    async def ask() -> list[httpx.Response]:
        async with contextlib.AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    httpx.AsyncClient(base_url=address, headers=key, timeout=90, trust_env=False)
                )
                for address in processes
            ]
            return await asyncio.gather(
                *(clients[number % 2].post("/api/v1/autocalls", json=BODY) for number in range(50))
            )

    answers = house.run(ask())
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1
    account = [client.tenant.account.account_id]
    assert house.run(house.db.value("SELECT count(*) FROM calls WHERE account_id = %s", account)) == 1
    assert house.run(house.db.value("SELECT count(*) FROM campaigns WHERE account_id = %s", account)) == 1
