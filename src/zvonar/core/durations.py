"""How long did a session wait, talk and last? By the reports' definitions, out of moments on the line."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil

from msgspec import Struct

Span = tuple[datetime, datetime]


class Durations(Struct, frozen=True, kw_only=True):
    """All in seconds. Begun ones count as talk, so that with the wait, which is what is left, they add up:
    wait + talk = total_wait + clean_talk = total - postprocess."""

    wait: int  # from the start to the first talk with an employee, or to the end
    total_wait: int  # all of the time on the line that was not talk
    talk: int  # from the first talk to the start of post-processing, pauses included
    clean_talk: int  # only while talking
    total: int  # from the start to the end of everything
    postprocess: int  # what the employee did after the line was free


def durations(
    *,
    started: datetime,
    hung_up: datetime,
    talks: Sequence[Span],
    holds: Sequence[Span] = (),
    postprocessed: datetime | None = None,
) -> Durations:
    """`talks`: when the subscriber was connected to an employee; `holds`: when he was put on hold meanwhile.

    Post-processing begins where the line is free (UIS, talk_duration: "до начала постобработки").
    """
    spoken = merged([(max(a, started), min(b, hung_up)) for a, b in talks])
    silent = merged(holds)
    clean = sum((_length(span) for span in spoken), timedelta())
    clean -= sum((_common(span, hold) for span in spoken for hold in silent), timedelta())
    finished = max(hung_up, postprocessed or hung_up)
    first = spoken[0][0] if spoken else hung_up
    line, total = _seconds(hung_up - started), _seconds(finished - started)
    talk, clean_talk = _seconds(hung_up - first), _seconds(clean)
    return Durations(
        wait=line - talk,
        total_wait=line - clean_talk,
        talk=talk,
        clean_talk=clean_talk,
        total=total,
        postprocess=total - line,
    )


def merged(spans: Sequence[Span]) -> list[Span]:
    """The same time, each moment of it once, in order; what ends before it begins is none."""
    found: list[Span] = []
    for since, until in sorted(span for span in spans if span[0] < span[1]):
        if found and since <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], until))
        else:
            found.append((since, until))
    return found


def _length(span: Span) -> timedelta:
    return span[1] - span[0]


def _common(one: Span, other: Span) -> timedelta:
    return max(min(one[1], other[1]) - max(one[0], other[0]), timedelta())


def _seconds(length: timedelta) -> int:
    return max(ceil(length.total_seconds()), 0)
