"""Has every outcome a name in Callo's reference, and one that does not contradict it?"""

from decimal import Decimal
from itertools import product

import pytest

from zvonar.core.call import CallState
from zvonar.core.result import CallEnd, Disposition, Outcome, ScriptResult
from zvonar.dialects.callo.answers import money
from zvonar.dialects.callo.errors import language_of
from zvonar.dialects.callo.outcomes import (
    CallStatus,
    DialStatus,
    attempt_status,
    call_status,
    dial_status,
)

ANSWERED = {
    DialStatus.answered,
    DialStatus.machine,
    DialStatus.invalid_button,
    DialStatus.no_action,
    DialStatus.max_time,
    DialStatus.heard_out,
    DialStatus.menu_error,
}
SUCCESSFUL = {CallStatus.user, CallStatus.compl_finished, CallStatus.pincode_ok}


def test_every_triple_has_a_status_with_words() -> None:
    for triple in product([None, *Disposition], ScriptResult, [None, *CallEnd]):
        status, end = call_status(*triple), triple[2]
        assert (status is CallStatus.in_process) == (end is None), triple
        assert (status is CallStatus.expires) == (end is CallEnd.expired), triple
        assert (status is CallStatus.deleted) == (end is CallEnd.removed), triple
        assert status.display("en").isascii()
        assert not status.display("ru").isascii()
        for state in CallState:
            dialled = dial_status(*triple, state)
            assert dialled.display("en").isascii()
            assert not dialled.display("ru").isascii()


def test_an_attempts_dial_status_tells_an_answer_and_its_status_a_success() -> None:
    for disposition, script_result in product(Disposition, ScriptResult):
        status = attempt_status(disposition, script_result)
        succeeded = Outcome(disposition=disposition, script_result=script_result).succeeded
        assert (dial_status(disposition, script_result) in ANSWERED) == (disposition is Disposition.answered)
        assert (status in SUCCESSFUL) == succeeded
        assert status is not CallStatus.in_process


def test_a_stopped_number_is_told_from_a_stopped_call() -> None:
    stopped = (Disposition.busy, ScriptResult.none, CallEnd.stopped)
    assert dial_status(*stopped, CallState.blocked) is DialStatus.stop_list
    assert dial_status(*stopped, CallState.finished) is DialStatus.removed
    assert dial_status(None, ScriptResult.none) is DialStatus.waiting


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("0.17", "0.17"),
        ("0.1705", "0.1705"),
        ("0.175", "0.175"),
        ("1000", "1000.00"),
        ("0.0001", "0.0001"),
    ],
)
def test_money_has_two_decimals_unless_more_say_something(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("*", "en"),
        ("ru", "ru"),
        ("ru-RU,ru;q=0.9,en-US;q=0.8", "ru"),
        ("en;q=0.5, ru;q=0.9", "ru"),
        ("de, en;q=0.7, ru;q=0.3", "en"),
        ("ru;q=x", "en"),
        ("ru;q=nan", "en"),
        ("RU;Q=0.1", "en"),
    ],
)
def test_the_preferred_language_is_english_unless_the_client_says_russian(
    header: str | None, language: str
) -> None:
    assert language_of(header) == language
