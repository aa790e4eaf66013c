"""What do the tests of this dialect share? A client with a key, and one of each thing that has an id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from zvonar.store import trunks

from .client import TEXT, Client

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant


@pytest.fixture
def client(house: House, tenant: Tenant) -> Client:
    return Client(house, tenant)


@pytest.fixture
def callers(house: House) -> Iterator[None]:
    """Numbers to call from that end in whatever four digits."""
    new = trunks.NewTrunk(name="callers", settings={}, trial=True, caller_ids=["+7000999XXXX"], priority=200)
    house.run(trunks.put(house.db, new))
    yield
    house.run(trunks.put(house.db, trunks.NewTrunk(name="callers", settings={}, trial=True, enabled=False)))


def one_of_each(client: Client) -> dict[str, int]:
    """An id of every kind, by the name that examples call it by."""
    made = client.ok(
        "POST",
        "/lists",
        {"name": "Люди", "contacts": [{"number": "+70001230001"}, {"number": "+70001230002"}]},
        status=201,
    )
    audio = client.ok("POST", "/audio", {"text": "Добрый день"}, status=201)
    nodes = [{"name": "1", "prompt": {"text": "Да?"}, "reactions": [{"key": "1"}]}]
    running = client.autocall(["+70001230001", "+70001230002"])
    paused = client.autocall(["+70001230001"], start=False)
    [*_, call] = client.ok("GET", f"/autocalls/{running['id']}/calls")["data"]
    [*_, contact] = client.ok("GET", f"/lists/{made['id']}/contacts")["data"]
    client.ok("POST", "/stop-list", {"numbers": ["+70001239999"]}, status=201)
    return {
        "list_id": made["id"],
        "contact_id": contact["id"],
        "audio_id": audio["id"],
        "scenario_id": client.ok("POST", "/scenarios", {"name": "Опрос", "nodes": nodes}, status=201)["id"],
        "autocall_id": running["id"],
        "paused_id": paused["id"],
        "call_id": call["id"],
        "flash_call_id": client.ok("POST", "/flash-calls", {"number": "+70001230001"}, status=201)["id"],
        "test_call_id": client.ok(
            "POST", "/test-calls", {"number": "+70001230000", "audio_id": TEXT}, status=201
        )["id"],
    }
