"""Do durations follow the reports' definitions?"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.durations import Durations, Span, durations, merged

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def span(since: float, until: float) -> Span:
    return at(since), at(until)


def test_hold_transfer_and_post_processing_give_five_different_numbers() -> None:
    # Rings 8 s, talks to one, is held for 10, is put through to another, who works on for 20 after the hang-up.
    found = durations(
        started=START,
        hung_up=at(100),
        talks=[span(8, 60), span(70, 100)],
        holds=[span(30, 40)],
        postprocessed=at(120),
    )
    assert found == Durations(wait=8, total_wait=28, talk=92, clean_talk=72, total=120, postprocess=20)
    assert len({found.wait, found.total_wait, found.talk, found.clean_talk, found.total}) == 5


def test_a_call_that_nobody_took_is_all_wait() -> None:
    found = durations(started=START, hung_up=at(24), talks=[])
    assert found == Durations(wait=24, total_wait=24, talk=0, clean_talk=0, total=24, postprocess=0)


def test_two_employees_at_once_are_one_talk() -> None:
    found = durations(started=START, hung_up=at(50), talks=[span(10, 40), span(20, 30)])
    assert (found.clean_talk, found.talk, found.total_wait) == (30, 40, 20)


SPANS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda s: span(*s)), max_size=5)


@given(talks=SPANS, holds=SPANS, lasted=st.integers(0, 300), after=st.integers(0, 60))
def test_what_is_not_talk_is_wait(talks: list[Span], holds: list[Span], lasted: int, after: int) -> None:
    found = durations(
        started=START, hung_up=at(lasted), talks=talks, holds=holds, postprocessed=at(lasted + after)
    )
    assert found.total_wait + found.clean_talk == lasted
    assert found.wait + found.talk == lasted
    assert found.total == lasted + found.postprocess == lasted + after
    assert 0 <= found.clean_talk <= found.talk
    assert found.wait <= found.total_wait


LENGTHS = st.integers(0, 300_000).map(lambda milliseconds: milliseconds / 1000)


@given(
    talks=st.lists(st.tuples(LENGTHS, LENGTHS).map(lambda s: span(*s)), max_size=5),
    lasted=LENGTHS,
    after=LENGTHS,
)
def test_durations_of_no_whole_seconds_add_up_all_the_same(
    talks: list[Span], lasted: float, after: float
) -> None:
    found = durations(started=START, hung_up=at(lasted), talks=talks, postprocessed=at(lasted + after))
    assert found.wait + found.talk == found.total_wait + found.clean_talk == found.total - found.postprocess
    assert 0 <= found.clean_talk <= found.talk
    assert 0 <= found.wait <= found.total_wait
    assert 0 <= found.postprocess <= found.total
    assert lasted + after <= found.total + 0.001 < lasted + after + 1.002


@given(SPANS)
def test_merged_spans_are_apart_and_in_order(spans: list[Span]) -> None:
    found = merged(spans)
    assert all(a < b for a, b in found)
    assert all(one[1] < other[0] for one, other in pairwise(found))
