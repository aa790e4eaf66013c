"""Does every way in which a leg can end have its disposition?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.result import Disposition, Outcome, ScriptResult, disposition_of, goes_to_next_leg

OURS = {  # decided before or instead of a leg's end: no SIP code may produce them
    Disposition.answered,
    Disposition.no_route,
    Disposition.no_money,
    Disposition.blocked,
    Disposition.synth_failed,
    Disposition.cancelled,
    Disposition.lost,
}


@pytest.mark.parametrize(
    ("sip_code", "cause", "expected"),
    [
        (486, 17, "busy"),
        (600, None, "busy"),
        (603, 21, "declined"),
        (607, None, "declined"),
        (404, 1, "invalid_number"),
        (410, 22, "invalid_number"),
        (484, 28, "invalid_number"),
        (604, None, "invalid_number"),
        (480, 20, "unreachable"),
        (408, 18, "no_answer"),
        (487, 127, "no_answer"),
        (503, 34, "congestion"),
        (500, 41, "congestion"),
        (580, None, "congestion"),
        (403, 21, "failed"),
        (486, 34, "busy"),  # the code says more than the cause derived from it
        (488, 17, "busy"),  # a code that says nothing leaves it to the cause
        (183, 34, "congestion"),  # a provisional code is no end
        (None, 17, "busy"),
        (None, 38, "congestion"),
        (None, 16, "failed"),
        (None, None, "failed"),
    ],
)
def test_network_answer_becomes_disposition(sip_code: int | None, cause: int | None, expected: str) -> None:
    assert disposition_of(sip_code=sip_code, hangup_cause=cause, rang_out=False) == expected


@given(sip_code=st.none() | st.integers(), cause=st.none() | st.integers(-1, 200))
def test_our_ring_timeout_is_believed_before_the_network(sip_code: int | None, cause: int | None) -> None:
    assert disposition_of(sip_code=sip_code, hangup_cause=cause, rang_out=True) == "no_answer"


@given(sip_code=st.none() | st.integers(), cause=st.none() | st.integers(), rang_out=st.booleans())
def test_no_network_answer_makes_a_disposition_that_is_ours(
    sip_code: int | None, cause: int | None, rang_out: bool
) -> None:
    assert disposition_of(sip_code=sip_code, hangup_cause=cause, rang_out=rang_out) not in OURS


def test_only_the_networks_own_failures_go_to_the_next_leg() -> None:
    assert {d for d in Disposition if goes_to_next_leg(d)} == {"congestion", "failed"}


def test_only_an_answer_with_what_the_script_asked_is_success() -> None:
    succeeded = {
        (d, s) for d in Disposition for s in ScriptResult if Outcome(disposition=d, script_result=s).succeeded
    }
    assert succeeded == {
        *(("answered", s) for s in ("completed", "no_input", "choice", "pin_ok", "transferred")),
        ("cancelled", "completed"),  # a flashcall has rung
    }
