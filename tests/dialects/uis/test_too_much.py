"""What does a client read whose report takes too long, or who asks for too many at once?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from zvonar.dialects.uis import limits, streams
from zvonar.reports.query import ReportBusy, ReportTooSlow

from .rpc import PERIOD, call, result

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant


def asked(house: House, tenant: Tenant) -> dict[str, Any]:
    return call(house, "get.calls_report", {"access_token": tenant.uis, **PERIOD})


def test_a_report_past_its_deadline_is_cancelled_and_says_so(
    house: House, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database waits for a lock, as it would for anything that takes long."""
    house.put(tenant)
    before = result(house, tenant, "get.calls_report", **PERIOD)["metadata"]["limits"]["day_remaining"]
    monkeypatch.setattr(limits, "DEADLINE", 0.3)

    async def meanwhile() -> dict[str, Any]:
        async with house.db.transaction() as connection:
            await connection.execute("LOCK TABLE report_filters IN ACCESS EXCLUSIVE MODE")
            request = {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "get.calls_report",
                "params": {"access_token": tenant.uis, **PERIOD},
            }
            answer = await house.client.post("/v2.0", json=request)
            # Nothing of it runs on once it was answered.
            running = await connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            found = await running.fetchone()
            assert found is not None
            assert found[0] == 0
            return dict(answer.json())

    error = house.run(meanwhile())["error"]
    assert error["code"] == -32602
    assert error["data"]["mnemonic"] == "error"
    assert error["message"] == str(ReportTooSlow())
    assert error["data"]["params"] == {"error_message": error["message"]}
    assert error["data"]["metadata"]["limits"]["day_remaining"] == before
    monkeypatch.undo()
    assert len(result(house, tenant, "get.calls_report", **PERIOD)["data"]) == 1


def test_too_many_reports_at_once_say_so(
    house: House, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise ReportBusy

    monkeypatch.setattr(type(house.store), "report", busy)
    error = asked(house, tenant)["error"]
    assert (error["data"]["mnemonic"], error["message"]) == ("error", str(ReportBusy()))


def test_a_large_report_is_sent_as_it_comes_and_is_whole(
    house: House, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(7):
        house.put(tenant, scenario_name=f"{n} " + "щ" * 50)
    whole = result(house, tenant, "get.calls_report", **PERIOD)["data"]
    mgf = result(house, tenant, "get.mgf_calls", **PERIOD, report_id=1, fields=["communication_id"])["data"]
    monkeypatch.setattr(streams, "WHOLE", 0)
    assert result(house, tenant, "get.calls_report", **PERIOD)["data"] == whole
    assert (
        result(house, tenant, "get.mgf_calls", **PERIOD, report_id=1, fields=["communication_id"])["data"]
        == mgf
    )
    assert len(whole) == len(mgf) == 7


def test_a_report_that_breaks_off_does_not_look_like_a_whole_one() -> None:
    """What has been sent cannot be taken back: the body ends without its end."""
    sent: list[dict[str, Any]] = []

    async def rows() -> Any:
        yield b"more"
        raise RuntimeError("the database went away")

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def run() -> None:
        from contextlib import AsyncExitStack

        answer = streams.Streamed(b"begun", rows(), AsyncExitStack())
        with pytest.raises(RuntimeError):
            await answer({}, None, send)  # type: ignore[arg-type]

    asyncio.run(run())
    assert [message.get("body") for message in sent] == [None, b"begun", b"more"]
    assert sent[-1]["more_body"] is True
