"""Has every outcome a name in Callo's reference, and one that does not contradict it?"""

from decimal import Decimal
from itertools import product

import pytest

from zvonar.core.call import CallState
from zvonar.core.result import CallEnd, Cause, Disposition, Outcome, ScriptResult, flashed
from zvonar.dialects.callo import errors, ours
from zvonar.dialects.callo.answers import money
from zvonar.dialects.callo.errors import at_least, at_most
from zvonar.dialects.callo.outcomes import (
    OUTCOMES,
    CallStatus,
    DialStatus,
    attempt_status,
    call_status,
    dial_status,
    dial_status_is_known,
)
from zvonar.dialects.callo.words import Text, language_of
from zvonar.store.results import outcome_key

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
        assert not status.display("uk").isascii()
        for state, cause in product(CallState, [None, *Cause]):
            dialled = dial_status(*triple, state, cause)
            assert dialled.display("en").isascii()
            assert not dialled.display("ru").isascii()
            assert not dialled.display("uk").isascii()


def test_the_map_reaches_the_whole_table() -> None:
    table = set(range(36)) - {7, 9, 32, 33, 34}
    assert set(DialStatus) == table
    reached = {
        dial_status(*triple, state, cause)
        for triple in product([None, *Disposition], ScriptResult, [None, *CallEnd])
        for state, cause in product(CallState, [None, *Cause])
    }
    assert reached == table
    said = {call_status(*triple) for triple in product([None, *Disposition], ScriptResult, [None, *CallEnd])}
    assert said == set(CallStatus)


def test_a_filter_by_status_finds_the_outcomes_that_have_it_and_no_others() -> None:
    for disposition, script_result, end in product(
        [None, *Disposition], [None, *ScriptResult], [None, *CallEnd]
    ):
        key = outcome_key(end, disposition, script_result)
        status = call_status(disposition, script_result or ScriptResult.none, end)
        assert [found for found in CallStatus if key in OUTCOMES[found]] == [status]


@pytest.mark.parametrize(
    ("disposition", "cause", "dialled"),
    [
        (Disposition.blocked, Cause.stop_list, 11),
        (Disposition.blocked, Cause.global_stop_list, 12),
        (Disposition.blocked, Cause.destination, 26),
        (Disposition.no_route, None, 24),
        (Disposition.no_route, Cause.no_tariff, 29),
        (Disposition.failed, Cause.internal, 18),
        (Disposition.failed, None, 1),
        (Disposition.lost, None, 18),
        (Disposition.busy, Cause.internal, 4),
    ],
)
def test_a_cause_tells_apart_what_a_disposition_does_not(
    disposition: Disposition, cause: Cause | None, dialled: int
) -> None:
    assert dial_status(disposition, ScriptResult.none, cause=cause) == dialled


def test_the_sample_statistics_are_of_outcomes_that_we_have() -> None:
    heard = (Disposition.answered, ScriptResult.completed, CallEnd.success)
    assert (call_status(*heard), dial_status(*heard)) == (CallStatus.compl_finished, 10)
    pressed = (Disposition.answered, ScriptResult.choice, CallEnd.success)
    assert (call_status(*pressed), dial_status(*pressed)) == (CallStatus.user, 5)
    busy = (Disposition.busy, ScriptResult.none, CallEnd.attempts_exhausted)
    assert (call_status(*busy), dial_status(*busy)) == (CallStatus.attempts_exc, 4)


def test_no_dial_status_is_told_of_a_first_attempt_on_the_line_alone() -> None:
    for state, disposition in product(CallState, [None, *Disposition]):
        on_the_line = state in (CallState.dialing, CallState.talking)
        assert dial_status_is_known(state, disposition) == (disposition is not None or not on_the_line)


def test_every_text_is_there_in_three_languages() -> None:
    texts = [value for module in (ours, errors) for value in vars(module).values() if isinstance(value, Text)]
    texts += [at_most(1), at_least(1), errors.too_long(1, 2), errors.too_short(2, 1), errors.no_choice("x")]
    texts += [ours.both("a", "b"), ours.too_many(1)]
    for text in texts:
        assert text.en.isascii()
        assert not text.ru.isascii()
        assert not text.uk.isascii()
        assert text.ru != text.uk or text is ours.BUTTON


def test_an_attempts_dial_status_tells_an_answer_and_its_status_a_success() -> None:
    for disposition, script_result in product(Disposition, ScriptResult):
        status = attempt_status(disposition, script_result)
        succeeded = Outcome(disposition=disposition, script_result=script_result).succeeded
        reached = disposition is Disposition.answered or flashed(disposition, script_result)
        assert (dial_status(disposition, script_result) in ANSWERED) == reached
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
        ("RU;Q=0.1", "ru"),
        ("uk", "uk"),
        ("uk-UA,uk;q=0.9,ru;q=0.8", "uk"),
        ("ru;q=0.5,uk;q=0.7", "uk"),
    ],
)
def test_the_preferred_language_is_english_unless_the_client_says_russian(
    header: str | None, language: str
) -> None:
    assert language_of(header) == language
