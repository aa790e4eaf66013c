"""Does every result that we can have become a word of autocall, and do its counters add up?"""

from itertools import product

import pytest

from zvonar.core.call import FINAL, CallState
from zvonar.core.campaign import CampaignStatus, Waits
from zvonar.core.result import CallEnd, Disposition, Outcome, ScriptResult
from zvonar.dialects.autocall.outcomes import (
    AutocallStatus,
    CallStatus,
    autocall_status,
    call_status,
    ended_by_status,
    try_status,
)

COUNTED = {"success", "recalled", "no_answer", "busy", "error", "spam"}


def test_the_whole_product_of_results_and_states_has_a_status() -> None:
    seen = set()
    for disposition, script_result, state in product([None, *Disposition], [None, *ScriptResult], CallState):
        status = call_status(state, disposition, script_result)
        seen.add(status)
        if disposition is None:
            assert (status is CallStatus.awaiting) == (state not in FINAL)
        else:
            assert status == try_status(disposition, script_result or ScriptResult.none)
            assert status in COUNTED
    # Of what comes from a try; the rest comes from a call back.
    assert seen == set(CallStatus) - {CallStatus.recalled}


@pytest.mark.parametrize("call_end", CallEnd)
def test_a_call_is_counted_by_the_status_that_its_own_body_shows(call_end: CallEnd) -> None:
    for disposition, script_result, state in product([None, *Disposition], [None, *ScriptResult], FINAL):
        # What the store counts when such a call ends.
        result = f"result/{disposition or 'none'}/{script_result or 'none'}"
        tallies = {f"state/{state}": 1, f"end/{call_end}": 1, result: 1}
        counted = ended_by_status(tallies)
        assert {status: n for status, n in counted.items() if n} == {
            call_status(state, disposition, script_result): 1
        }


def test_what_the_core_calls_a_success_is_one_here() -> None:
    for disposition, script_result in product(Disposition, ScriptResult):
        if Outcome(disposition=disposition, script_result=script_result).succeeded:
            assert try_status(disposition, script_result) is CallStatus.success


@pytest.mark.parametrize(
    ("disposition", "script_result", "status"),
    [
        ("busy", "none", "busy"),
        ("declined", "none", "busy"),
        ("no_answer", "none", "no_answer"),
        ("unreachable", "none", "no_answer"),
        ("invalid_number", "none", "error"),
        ("blocked", "none", "spam"),
        ("lost", "none", "error"),
        ("answered", "hung_up", "success"),
        ("answered", "machine", "no_answer"),
        ("answered", "error", "error"),
    ],
)
def test_tries_are_called_what_they_were(disposition: str, script_result: str, status: str) -> None:
    assert try_status(Disposition(disposition), ScriptResult(script_result)) == status


def test_a_campaign_has_the_status_of_its_name_or_of_what_it_waits_for() -> None:
    for status in CampaignStatus:
        assert str(autocall_status(status, None)) == str(status)
        for waits in Waits:
            assert str(autocall_status(status, waits)) == str(waits)
    assert set(AutocallStatus) == {*map(str, CampaignStatus), *map(str, Waits)}


def test_who_called_back_counts_as_that_and_as_nothing_else() -> None:
    for disposition, script_result, state in product([None, *Disposition], [None, *ScriptResult], FINAL):
        result = f"{disposition or 'none'}/{script_result or 'none'}"
        counted = ended_by_status({f"result/{result}": 3, f"recalled/{result}": 1})
        before = call_status(state, disposition, script_result)
        assert call_status(state, disposition, script_result, recalled=True) is CallStatus.recalled
        assert {status: n for status, n in counted.items() if n} == {before: 2, CallStatus.recalled: 1}


def test_counters_leave_out_what_has_not_ended() -> None:
    assert sum(ended_by_status({"state/waiting": 3, "attempts": 7, "cost": 12}).values()) == 0
    counted = ended_by_status({"result/busy/none": 2, "result/declined/none": 1, "result/none/none": 4})
    assert (counted[CallStatus.busy], counted[CallStatus.error]) == (3, 4)
