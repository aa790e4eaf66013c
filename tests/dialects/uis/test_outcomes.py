"""Has every outcome a name in the UIS reference, and do the dialects tell the same of every call?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, Any

from zvonar.core.result import Disposition, Outcome, ScriptResult, flashed
from zvonar.dialects.callo.outcomes import DialStatus, dial_status
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.dialects.uis.outcomes import FINISH_REASONS, finish_reason, is_lost, is_transfer

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

UNREACHED = {
    DialStatus.failed,
    DialStatus.declined,
    DialStatus.no_answer,
    DialStatus.busy,
    DialStatus.internal,
    DialStatus.stop_list,
    DialStatus.removed,
    DialStatus.no_money,
    DialStatus.no_trunk,
    DialStatus.synth_failed,
}


def test_every_outcome_has_a_finish_reason_of_the_reference(golden: Callable[[str], Any]) -> None:
    reasons = golden("finish_reasons.json")
    for disposition, script_result in product(Disposition, ScriptResult):
        reason = finish_reason(disposition, script_result)
        assert reason in reasons
        assert FINISH_REASONS[f"{disposition}/{script_result}"] == reason
        assert is_transfer(script_result) == (script_result is ScriptResult.transferred)


def test_a_session_is_lost_exactly_where_callo_says_nobody_was_reached() -> None:
    for disposition, script_result in product(Disposition, ScriptResult):
        if not flashed(disposition, script_result):  # nobody answers, and nobody was to
            assert is_lost(disposition) == (dial_status(disposition, script_result) in UNREACHED)


def test_both_tell_the_same_of_every_call_that_was_dialled(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    outcomes = {}
    pairs = [(d, ScriptResult.none) for d in Disposition if d is not Disposition.answered]
    pairs += [(Disposition.answered, s) for s in ScriptResult]
    for n, (disposition, script_result) in enumerate(pairs):
        talked = n + 1 if disposition is Disposition.answered else 0
        outcome = Outcome(disposition=disposition, script_result=script_result, talk_seconds=talked)
        form = {"public_key": tenant.callo, "phone": f"+7000123{n:04}", "campaign_id": campaign_id}
        house.send("POST", PREFIXES[0] + "/phones/call/", data=form)
        outcomes[house.dial(tenant, campaign_id, outcome)] = outcome
    params = {
        "access_token": tenant.uis,
        "date_from": "2026-11-22 00:00:00",
        "date_till": "2026-11-24 00:00:00",
    }
    request = {"jsonrpc": "2.0", "id": 1, "method": "get.calls_report", "params": params}
    sessions = house.send("POST", "/v2.0", json=request).json()["result"]
    query = {"public_key": tenant.callo, "call_ids": ",".join(map(str, outcomes)), "expand": "1"}
    results = house.send("GET", PREFIXES[0] + "/phones/call_by_id/", params=query).json()
    assert sessions["metadata"]["total_items"] == len(results) == len(outcomes)
    by_phone = {session["contact_phone_number"]: session for session in sessions["data"]}
    for row in results:
        outcome = outcomes[row["call_id"]]
        session = by_phone[row["phone"].removeprefix("+")]
        [attempt] = row["attempts"]
        assert row["duration"] == attempt["billsec"] == session["talk_duration"] == outcome.talk_seconds
        assert session["total_duration"] == session["wait_duration"] + session["talk_duration"]
        assert session["is_lost"] == is_lost(outcome.disposition) == (row["dial_status"] in UNREACHED)
        assert session["finish_reason"] == finish_reason(outcome.disposition, outcome.script_result)
        assert float(row["cost"]) == attempt["cost"]
        assert (attempt["cost"] > 0) == (session["talk_duration"] > 0)
