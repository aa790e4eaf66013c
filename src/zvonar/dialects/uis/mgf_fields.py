"""Which fields has get.mgf_calls, of what in the store are they made, and what may be asked of each?"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from zvonar.dialects.uis import words
from zvonar.dialects.uis.fields import data
from zvonar.dialects.uis.requests import comparing
from zvonar.dialects.uis.requests.filters import Operator, Rule
from zvonar.dialects.uis.requests.wording import worded
from zvonar.dialects.uis.words import Id, Words
from zvonar.reports.query import Compare, Filter, Op, Tree


class Documented(Struct, frozen=True, kw_only=True):
    """A field as the reference's table has it."""

    name: str
    type: Literal["string", "iso8601", "object", "array", "duration", "numeric"]
    format: str | None
    filter: bool
    sort: bool


Stored = Mapping[str, Any]  # a session's fields as a report has them
Colours = Mapping[int, str]  # by tag


class Made(Struct, frozen=True, kw_only=True):
    """How a field is made."""

    of: tuple[str, ...]  # the store's fields
    show: Callable[[Stored, Colours], Any]
    rule: Rule
    order: str  # the store's field that it is sorted by


def _plain(name: str, rule: Rule) -> Made:
    return Made(of=(name,), show=lambda row, _: row[name], rule=rule, order=name)


def _text(name: str) -> Made:
    return _plain(name, comparing.text(name, contains=True))


def _moment(name: str) -> Made:
    return _plain(name, comparing.when(name))


def _half(name: str, source: str, rule: Rule, part: slice) -> Made:
    """One half of `YYYY-MM-DD hh:mm:ss`."""
    return Made(of=(source,), show=lambda row, _: row[source] and row[source][part], rule=rule, order=name)


def span(seconds: int | None) -> str | None:
    """`00:01:51`; what takes days has more hours."""
    if seconds is None:
        return None
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest:02}"


def _duration(name: str) -> Made:
    return Made(of=(name,), show=lambda row, _: span(row[name]), rule=comparing.duration(name), order=name)


def _worded(
    name: str,
    field: str,
    vocabulary: Words,
    *,
    kept: Mapping[Id, str | bool] | None = None,
    none: Id | None = None,
) -> Made:
    """`none`: what null is called."""
    ids = (
        {stored: known for known, stored in kept.items()} if kept else {known: known for known in vocabulary}
    )

    def show(row: Stored, _: Colours) -> Any:
        value = none if row[field] is None else ids.get(row[field], row[field])
        return None if value is None else {"value": vocabulary.get(value), "value_id": value}

    rule = worded(field, vocabulary, kept=kept, also=words.ALSO.get(name), none=none)
    return Made(of=(field,), show=show, rule=rule, order=field)


def _phone(row: Stored, _: Colours) -> Any:
    extra = {"call_status": _status(row["is_lost"]), "call_direction": row["direction"]}
    return {"extra": extra, "value": row["contact_phone_number"]}


def _status(is_lost: bool | None) -> str | None:
    return None if is_lost is None else "lost" if is_lost else "received"


def _comment(row: Stored, _: Colours) -> Any:
    return {
        "comment": row["communication_comment"],
        "communication_id": row["communication_id"],
        "communication_type": "call",
    }


def _tags(row: Stored, colours: Colours) -> Any:
    items = [
        {"id": tag["tag_id"], "name": tag["tag_name"], "color": colours.get(tag["tag_id"])}
        for tag in row["tags"]
    ]
    return {"items": items, "communication_id": row["communication_id"], "communication_type": "call"}


def _names(row: Stored, _: Colours) -> Any:
    return [employee["employee_full_name"] for employee in row["employees"]] or None


def _waited(row: Stored, _: Colours) -> Any:
    # The sample of a lost call has none: nobody came to talk.
    return None if row["is_lost"] else span(row["wait_duration"])


def _awaited(op: Operator, value: Any, zone: ZoneInfo) -> Filter:
    """By what is shown, so that a lost call has none."""
    test = comparing.duration("wait_duration")(op, value, zone)
    if isinstance(test, Compare) and test.op is Op.is_null:
        return Tree(all=False, of=(test, Compare(field="is_lost", op=Op.eq, value=True)))
    return Tree(all=True, of=(test, Compare(field="is_lost", op=Op.eq, value=False)))


_TAG_NAMES: Final = {"items": "", "id": "tag_id", "name": "tag_name"}

MADE: Final[dict[str, Made]] = {
    "communication_id": _plain("communication_id", comparing.number("communication_id", also_text=True)),
    "call_start_date": _half("start_date", "start_time", comparing.day("start_date"), slice(10)),
    "call_start_time": _half("start_clock", "start_time", comparing.clock("start_clock"), slice(11, None)),
    "call_start_date_time": _moment("start_time"),
    "call_finish_date_time": _moment("finish_time"),
    "contact_phone_number": Made(
        of=("contact_phone_number", "is_lost", "direction"),
        show=_phone,
        rule=comparing.text("contact_phone_number", contains=True),
        order="contact_phone_number",
    ),
    "virtual_phone_number": _text("virtual_phone_number"),
    "virtual_number_comment": _text("virtual_number_comment"),
    "call_direction": _worded("call_direction", "direction", words.DIRECTIONS),
    "call_status": _worded("call_status", "is_lost", words.STATUSES, kept={"lost": True, "received": False}),
    "call_type": _worded("call_type", "source", words.TYPES),
    "call_finish_reason": _worded("call_finish_reason", "finish_reason", words.REASONS),
    "call_is_internal": _worded(
        "call_is_internal",
        "is_internal",
        words.INTERNAL,
        kept={"external": False, "internal": True},
        none="external",
    ),
    "is_coach_handled_call": _worded("is_coach_handled_call", "is_coach_handled", words.YES_NO, none=False),
    "is_blacklisted_phone": _worded("is_blacklisted_phone", "is_blacklisted", words.YES_NO, none=False),
    "employees": Made(
        of=("employees",),
        show=_names,
        rule=comparing.named("employees", {}, objects=True, ids="employee_id"),
        order="employees",
    ),
    "coaches": Made(
        of=("coaches",),
        show=lambda row, _: row["coaches"] or None,
        rule=comparing.named("coaches", {}, objects=False),
        order="coaches",
    ),
    "call_records": Made(
        of=("call_records",),
        show=lambda row, _: row["call_records"] or None,
        rule=comparing.array("call_records", texts=True),
        order="call_records",
    ),
    "tags": Made(
        of=("tags", "communication_id"),
        show=_tags,
        rule=comparing.named("tags", _TAG_NAMES, objects=True, ids="tag_id"),
        order="tags",
    ),
    "call_total_duration": _duration("total_duration"),
    "call_await_talk_duration": Made(
        of=("wait_duration", "is_lost"),
        show=_waited,
        rule=_awaited,
        order="wait_duration",
    ),
    "call_talk_duration": _duration("talk_duration"),
    "call_processed_mark_duration": _duration("processed_mark_duration"),
    "employee_rating": _plain("employee_rating", comparing.number("employee_rating", decimal=True)),
    "communication_comment": Made(
        of=("communication_comment", "communication_id"),
        show=_comment,
        rule=comparing.text("communication_comment", contains=True),
        order="communication_comment",
    ),
    "communication_comment_author": _text("communication_comment_author"),
    "received_call": _text("received_by"),
    "first_employee_for_internal_call": _text("internal_first_employee"),
    "second_employee_for_internal_call": _text("internal_second_employee"),
}

DOCUMENTED: Final = {f.name: f for f in data("get.mgf_calls.fields.json", list[Documented])}
SORTABLE: Final = {f.name: f.sort for f in DOCUMENTED.values()}
RULES: Final[dict[str, Rule | None]] = {
    f.name: MADE[f.name].rule if f.filter else None for f in DOCUMENTED.values()
}


def in_order(names: frozenset[str]) -> tuple[str, ...]:
    """Names as PostgreSQL's jsonb keeps keys, shorter ones first, then by bytes: the order of the samples' rows."""
    return tuple(sorted(names, key=lambda name: (len(name.encode()), name.encode())))
