"""What does the report say of a session that has ended on our own lines? Out of its attempt and the facts beside it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from zvonar.core.durations import Durations, Span, durations
from zvonar.core.result import Disposition, ScriptResult
from zvonar.reports.columns import COLUMNS


class Transfer(Struct, frozen=True, kw_only=True):
    """An employee was called for the subscriber. Times are seconds from the answer."""

    to: str  # E.164, or a name on the exchange
    began: float
    ended: float
    disposition: Disposition
    answered: float | None = None
    leg: str | None = None
    recording: str | None = None


class Operation(Struct, frozen=True, kw_only=True):
    """A step of the scenario that was walked."""

    kind: str = "play"
    node: str | None = None
    choice: str | None = None


class Employee(Struct, frozen=True, kw_only=True):
    """Whom a number or an inner name belongs to."""

    employee_id: int
    full_name: str
    phone: str | None
    extension: str | None


class Facts(Struct, frozen=True, kw_only=True):
    """What goes before what the attempt says. An inbound session has nothing else."""

    direction: str = "out"
    source: str | None = None
    start_time: datetime | None = None
    answered_at: datetime | None = None
    finish_time: datetime | None = None
    disposition: Disposition | None = None
    script_result: ScriptResult | None = None
    cause: str | None = None
    hangup_cause: int | None = None
    sip_code: int | None = None
    contact_phone: str | None = None  # E.164, as own_phone
    own_phone: str | None = None
    country: str | None = None
    recording: str | None = None
    voice_mail: str | None = None  # a recording that is a message
    operations: tuple[Operation, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    holds: tuple[tuple[float, float], ...] = ()  # seconds from the answer
    postprocess_seconds: float = 0.0
    rating: float | None = None  # what the subscriber thought of the last employee
    row: dict[str, Any] = {}  # columns of the report, as they are


class Ended(Struct, frozen=True, kw_only=True):
    """A session that has ended, with what its attempt knows of it."""

    session_id: int
    account_id: int
    call_id: int | None
    attempt: int | None
    facts: dict[str, Any] | None
    call_facts: dict[str, Any] | None  # of the attempt
    started_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime | None
    disposition: str | None
    script_result: str | None
    cause: str | None
    hangup_cause: int | None
    sip_code: int | None
    phone: str | None
    caller_id: str | None
    recording: str | None
    steps: list[dict[str, Any]] | None
    country: str | None
    campaign_id: int | None
    campaign_name: str | None


class Came(Struct, frozen=True, kw_only=True):
    """What came of a session, for whoever names its end."""

    direction: str
    disposition: Disposition
    script_result: ScriptResult
    cause: str | None
    hangup_cause: int | None
    transfer: Disposition | None  # of the last one


class Described(Struct, frozen=True, kw_only=True):
    """An end in the words of a report."""

    finish_reason: str
    source: str
    country_name: str | None


def facts_of(ended: Ended) -> Facts:
    """Both kinds of facts as one; what is not a fact of ours is an error of whoever wrote it."""
    told = {**(ended.call_facts or {}), **(ended.facts or {})}
    own = {name: told.pop(name) for name in list(told) if name in Facts.__struct_fields__}
    # Whatever else has the name of a column is the report's own; the rest is for others.
    told.update(own.pop("row", {}))
    row = {name: value for name, value in told.items() if name in COLUMNS}
    return msgspec.convert({**own, "row": row}, Facts, strict=False)


def second(at: datetime) -> datetime:
    """The second in which it was: what a report shows is what it is asked by."""
    return at.replace(microsecond=0)


def row(
    ended: Ended,
    came: Came,
    described: Described,
    facts: Facts,
    employees: Sequence[Employee],
) -> dict[str, Any]:
    """The wide row."""
    start = facts.start_time or ended.started_at
    assert start is not None, "a session has begun"
    finish = facts.finish_time or ended.ended_at or start
    answered = facts.answered_at or ended.answered_at
    lasted = _durations(start, answered, finish, facts)
    met = _employees(facts, employees)
    contact = facts.contact_phone or ended.phone
    own = facts.own_phone or ended.caller_id
    found: dict[str, Any] = {
        "account_id": ended.account_id,
        "session_id": ended.session_id,
        "start_time": second(start),
        "finish_time": second(finish + timedelta(seconds=facts.postprocess_seconds)),
        "call_id": ended.call_id,
        "attempt": ended.attempt,
        "dial_campaign_id": ended.campaign_id,
        "disposition": str(came.disposition),
        "script_result": str(came.script_result),
        "cause": came.cause,
        "hangup_cause": came.hangup_cause,
        "sip_code": facts.sip_code or ended.sip_code,
        "communication_id": ended.session_id,
        "finish_reason": described.finish_reason,
        "direction": came.direction,
        "source": facts.source or described.source,
        "is_lost": _is_lost(came, met),
        "is_transfer": bool(facts.transfers) or came.script_result is ScriptResult.transferred,
        "contact_phone_number": None if contact is None else contact.lstrip("+"),
        "virtual_phone_number": None if own is None else own.lstrip("+"),
        "cpn_country_id": facts.country or ended.country,
        "cpn_country_name": described.country_name,
        "wait_duration": lasted.wait,
        "total_wait_duration": lasted.total_wait,
        "talk_duration": lasted.talk,
        "clean_talk_duration": lasted.clean_talk,
        "total_duration": lasted.total,
        "postprocess_duration": lasted.postprocess,
        "auto_call_campaign_name": ended.campaign_name,
        "scenario_id": ended.campaign_id,
        "scenario_name": ended.campaign_name,
        "scenario_operations": _operations(ended, facts) or None,
        "is_internal": False,
        "is_blacklisted": False,
        **_met(met, facts),
        **facts.row,
    }
    return {name: value for name, value in found.items() if value is not None}


def _is_lost(came: Came, met: Sequence["_Met"]) -> bool:
    """Nobody was reached; inbound, nobody of ours spoke where somebody was called."""
    if came.disposition is not Disposition.answered:
        return True
    return came.direction == "in" and bool(met) and not any(one.talks for one in met)


def _durations(start: datetime, answered: datetime | None, finish: datetime, facts: Facts) -> Durations:
    """Where nobody of ours was called, the scenario itself is whom the subscriber talked to."""
    talks: list[Span] = []
    holds: list[Span] = []
    if answered is not None:
        if facts.transfers:
            talks = [
                _talk(answered, transfer) for transfer in facts.transfers if transfer.answered is not None
            ]
        else:
            talks = [(answered, finish)]
        holds = [(answered + timedelta(seconds=a), answered + timedelta(seconds=b)) for a, b in facts.holds]
    after = finish + timedelta(seconds=facts.postprocess_seconds)
    return durations(started=start, hung_up=finish, talks=talks, holds=holds, postprocessed=after)


def _talk(answered: datetime, transfer: Transfer) -> Span:
    assert transfer.answered is not None
    return (
        answered + timedelta(seconds=transfer.answered),
        answered + timedelta(seconds=transfer.ended),
    )


class _Met(Struct, kw_only=True):
    """An employee, or a number that nobody of ours has, in one session."""

    employee_id: int | None
    full_name: str | None
    phone: str | None
    answered: list[float]
    talks: list[tuple[float, float]]


def _employees(facts: Facts, employees: Sequence[Employee]) -> list[_Met]:
    """Who was called, in the order of their first calls."""
    known = {one.phone: one for one in employees if one.phone}
    known |= {one.extension: one for one in employees if one.extension}
    met: dict[object, _Met] = {}
    for transfer in facts.transfers:
        who = known.get(transfer.to)
        one = met.setdefault(
            who.employee_id if who else transfer.to,
            _Met(
                employee_id=who.employee_id if who else None,
                full_name=who.full_name if who else None,
                phone=(who.phone if who else None) or transfer.to,
                answered=[],
                talks=[],
            ),
        )
        if transfer.answered is not None:
            one.answered.append(transfer.answered)
            if transfer.ended > transfer.answered:
                one.talks.append((transfer.answered, transfer.ended))
    return list(met.values())


def _met(met: Sequence[_Met], facts: Facts) -> Mapping[str, Any]:
    if not met:
        return {}
    staff = [one for one in met if one.employee_id is not None]
    answered = [one for one in staff if one.answered]
    talked = [one for one in staff if one.talks]
    heard = [one for one in met if one.answered]
    found: dict[str, Any] = {
        "employees": [
            {
                "employee_id": one.employee_id,
                "employee_full_name": one.full_name,
                "is_answered": bool(one.answered),
                "is_talked": bool(one.talks),
            }
            for one in staff
        ]
        or None,
    }
    if heard:
        last = max(heard, key=lambda one: max(one.answered))
        found["operator_phone_number"] = (last.phone or "").lstrip("+") or None
    for word, among, when in (
        ("answered", answered, lambda one: one.answered),
        ("talked", talked, lambda one: [a for a, _ in one.talks]),
    ):
        if among:
            for which, pick in (
                ("first", min(among, key=lambda one: min(when(one)))),
                ("last", max(among, key=lambda one: max(when(one)))),
            ):
                found[f"{which}_{word}_employee_id"] = pick.employee_id
                found[f"{which}_{word}_employee_full_name"] = pick.full_name
    if facts.rating is not None and talked:
        found["last_answered_employee_rating"] = str(facts.rating)
    if answered:
        found["received_by"] = min(answered, key=lambda one: min(one.answered)).full_name
    return found


def _operations(ended: Ended, facts: Facts) -> list[dict[str, Any]]:
    """What of the scenario was walked. A call in which one prompt was played and nothing else says no more."""
    walked = list(facts.operations)
    if not walked and facts.direction == "out" and (facts.answered_at or ended.answered_at):
        walked = [Operation(kind="menu", node=step["node"]) for step in ended.steps or []]
        walked = walked or [Operation()]
    names = [operation.node or operation.kind for operation in walked]
    return [{"id": _operation_id(ended.campaign_id, name), "name": name} for name in names]


def _operation_id(campaign_id: int | None, name: str) -> int:
    """The same number wherever this campaign does the same, so that sessions can be asked for that went through it.

    Of 48 bits, which every client's numbers hold.
    """
    return int.from_bytes(blake2b(f"{campaign_id or ''}/{name}".encode(), digest_size=6).digest())
