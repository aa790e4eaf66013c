"""Does every session that ends come into the report, once, with all that is known of it?"""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.types.json import Jsonb

from zvonar.core.result import Disposition, ScriptResult
from zvonar.dialects.uis import fields as uis
from zvonar.reports import rules
from zvonar.reports.filling import Filling
from zvonar.reports.query import Compare, JsonMatch, Op, Order
from zvonar.reports.rules import Condition
from zvonar.reports.words import Words
from zvonar.reports.writing import Change

if TYPE_CHECKING:
    from tests.reports.conftest import World

ALL = tuple(uis.FIELDS)
ATTEMPT = """
WITH campaign AS (
    INSERT INTO campaigns (account_id, name, type, status, settings, created_at, updated_at)
    VALUES (%(account_id)s, 'Опрос', 'regular', 'running', '{}', %(now)s, %(now)s) RETURNING campaign_id
), call AS (
    INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, due_at, created_at, updated_at)
    SELECT %(account_id)s, new_call_id(%(now)s), campaign_id, 1, '+79000000001', 'RU', %(now)s, %(now)s, %(now)s
    FROM campaign RETURNING call_id, campaign_id
), attempt AS (
    INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, answered_at, ended_at,
        disposition, script_result, hangup_cause, caller_id, steps, recording, session_id)
    SELECT %(account_id)s, call_id, 1, campaign_id, '+79000000001', %(now)s, %(now)s + interval '8.4 s',
        %(now)s + interval '30 s', %(disposition)s, %(script_result)s, 16, '+74950000000', %(steps)s, %(recording)s,
        nextval('session_ids')
    FROM call RETURNING account_id, call_id, attempt, session_id
)
INSERT INTO ended_sessions (session_id, account_id, call_id, attempt)
SELECT session_id, account_id, call_id, attempt FROM attempt RETURNING session_id
"""


def attempt(world: World, account: int, **others: Any) -> int:
    params = {
        "account_id": account,
        "now": world.now,
        "disposition": "answered",
        "script_result": "choice",
        "steps": None,
        "recording": None,
        **others,
    }
    # The campaign has to be there before its call.
    return int(world.value(ATTEMPT, params))


@pytest.fixture
def account(world: World) -> int:
    world.execute("ALTER TABLE calls DROP CONSTRAINT IF EXISTS calls_account_id_campaign_id_fkey")
    world.execute("ALTER TABLE attempts DROP CONSTRAINT IF EXISTS attempts_account_id_call_id_fkey")
    return world.account()


def test_an_outbound_attempt_is_a_session_of_its_campaign(world: World, account: int) -> None:
    steps = Jsonb([{"node": "1", "key": "1"}, {"node": "2", "key": None}])
    session = attempt(world, account, steps=steps, recording="a.wav")
    assert world.fill() == 1
    total, [row] = world.ask(account, ALL)
    assert total == 1
    expected = {
        "id": session,
        "communication_id": session,
        "communication_number": 1,
        "start_time": "2026-11-20 15:00:00",
        "finish_time": "2026-11-20 15:00:30",
        "direction": "out",
        "source": "auto_out_calls",
        "finish_reason": "success_finish",
        "is_lost": False,
        "is_transfer": False,
        "contact_phone_number": "79000000001",
        "virtual_phone_number": "74950000000",
        "cpn_country_id": "RU",
        "cpn_country_name": "Россия",
        "auto_call_campaign_name": "Опрос",
        "scenario_name": "Опрос",
        "wait_duration": 8,
        "talk_duration": 22,
        "clean_talk_duration": 22,
        "total_duration": 30,
    }
    assert {name: row[name] for name in expected} == expected
    assert [one["name"] for one in row["scenario_operations"]] == ["1", "2"]
    tokens = world.value(
        "SELECT array_agg(token ORDER BY kind) FROM recording_links WHERE communication_id = %(s)s",
        {"s": session},
    )
    assert row["full_record_file_link"].endswith(tokens[0])
    assert row["call_records"] == row["wav_call_records"] == [tokens[1]]


def test_a_session_is_written_once_by_many_workers(world: World, account: int) -> None:
    ids = {attempt(world, account) for _ in range(30)}
    others = [Filling(world.db, world.filling._describe, clock=lambda: world.now, batch=7) for _ in range(3)]

    async def work() -> None:
        while sum(await asyncio.gather(*(one.once() for one in others))):
            pass

    world.run(work())
    total, rows = world.ask(account)
    assert total == len(rows) == 30
    assert {row["id"] for row in rows} == ids
    assert world.value("SELECT count(*) FROM ended_sessions") == 0


def test_an_inbound_call_that_is_put_through_names_its_employees(world: World, account: int) -> None:
    world.execute(
        """INSERT INTO employees (account_id, employee_id, full_name, phone, extension) VALUES
        (%(a)s, 1, 'Иванов Иван', '+79110000001', '101'), (%(a)s, 2, 'Петров Пётр', '+79110000002', '102')""",
        {"a": account},
    )
    start = world.now
    world.ended(
        account,
        direction="in",
        start_time=start.isoformat(),
        answered_at=(start + timedelta(seconds=2)).isoformat(),
        finish_time=(start + timedelta(seconds=100)).isoformat(),
        disposition="answered",
        script_result="transferred",
        contact_phone="+79000000005",
        own_phone="+74950000000",
        country="RU",
        operations=[
            {"kind": "play", "node": "Приветствие", "began": 0, "ended": 1},
            {"kind": "transfer", "began": 1, "ended": 98},
        ],
        transfers=[
            {"to": "+79110000001", "began": 1, "ended": 5, "disposition": "no_answer"},
            {"to": "102", "began": 5, "ended": 58, "answered": 6, "disposition": "answered"},
            {"to": "+79110000001", "began": 60, "ended": 98, "answered": 68, "disposition": "answered"},
        ],
        holds=[[28, 38]],
        postprocess_seconds=20,
        rating=4,
    )
    world.fill()
    _, [row] = world.ask(account, ALL)
    expected = {
        "direction": "in",
        "source": "va",
        "communication_number": None,
        "finish_reason": "operator_answer",
        "is_transfer": True,
        "is_lost": False,
        "employees": [
            {"employee_id": 1, "employee_full_name": "Иванов Иван", "is_answered": True, "is_talked": True},
            {"employee_id": 2, "employee_full_name": "Петров Пётр", "is_answered": True, "is_talked": True},
        ],
        "first_answered_employee_id": 2,
        "last_answered_employee_id": 1,
        "first_talked_employee_full_name": "Петров Пётр",
        "last_talked_employee_full_name": "Иванов Иван",
        "last_answered_employee_rating": 4,
        "operator_phone_number": "79110000001",
        "wait_duration": 8,
        "total_wait_duration": 28,
        "talk_duration": 92,
        "clean_talk_duration": 72,
        "total_duration": 120,
        "postprocess_duration": 20,
    }
    assert {name: row[name] for name in expected} == expected


def test_an_operation_has_one_number_in_every_session_of_its_campaign(world: World, account: int) -> None:
    walked = [{"node": "1", "key": "1"}, {"node": "2", "key": None}]
    for steps in (walked, list(reversed(walked)), walked[1:]):
        attempt(world, account, steps=Jsonb(steps))
    # The three campaigns of these attempts become one.
    world.execute(
        """UPDATE attempts SET campaign_id = (SELECT min(campaign_id) FROM attempts WHERE account_id = %(a)s)
        WHERE account_id = %(a)s""",
        {"a": account},
    )
    world.fill()
    _, rows = world.ask(account, ("id", "scenario_operations"))
    ids = {one["name"]: one["id"] for one in rows[0]["scenario_operations"]}
    assert len(set(ids.values())) == 2
    assert all(one["id"] == ids[one["name"]] for row in rows for one in row["scenario_operations"])
    second = JsonMatch(
        field="scenario_operations", path=f"exists($[*] ? (@.id == {ids['1']}))", ids=(ids["1"],), exact=True
    )
    assert world.ask(account, filter=second)[0] == 2
    assert set(ids.values()).isdisjoint(_other_ids(world))


def _other_ids(world: World) -> set[int]:
    other = world.account()
    attempt(world, other, steps=Jsonb([{"node": "1", "key": "1"}]))
    world.fill()
    _, [row] = world.ask(other, ("scenario_operations",))
    return {one["id"] for one in row["scenario_operations"]}


def inbound(world: World, account: int, seconds: float, *, lost: bool, contact: str = "+79000000009") -> int:
    start = world.now + timedelta(seconds=seconds)
    answered = None if lost else (start + timedelta(seconds=3)).isoformat()
    return world.ended(
        account,
        direction="in",
        start_time=start.isoformat(),
        answered_at=answered,
        finish_time=(start + timedelta(seconds=10)).isoformat(),
        disposition="no_answer" if lost else "answered",
        script_result="none" if lost else "completed",
        contact_phone=contact,
    )


def processed(world: World, account: int) -> dict[int, int | None]:
    _, rows = world.ask(account, ("id", "lost_call_processing_duration"))
    return {row["id"]: row["lost_call_processing_duration"] for row in rows}


def test_a_lost_call_is_dealt_with_by_the_first_that_succeeds_after_it(world: World, account: int) -> None:
    lost = inbound(world, account, 0, lost=True)
    other = inbound(world, account, 0, lost=True, contact="+79000000010")
    world.fill()
    assert processed(world, account) == {lost: None, other: None}
    again = inbound(world, account, 100, lost=True)
    success = inbound(world, account, 200, lost=False)
    world.fill()
    later = inbound(world, account, 400, lost=False)
    world.fill()
    expected = {lost: 193, again: 93, other: None, success: None, later: None}
    assert processed(world, account) == expected
    # The other one ended before its lost call was written.
    inbound(world, account, 50, lost=False, contact="+79000000010")
    world.fill()
    late = inbound(world, account, -20, lost=True, contact="+79000000010")
    world.fill()
    assert processed(world, account)[other] == 43
    assert processed(world, account)[late] == 63


def test_a_rule_tags_what_fits_it_and_nothing_else(world: World, account: int) -> None:
    world.execute("INSERT INTO tags (account_id, tag_id, name) VALUES (%(a)s, 5, 'потерян')", {"a": account})
    conditions = [
        Condition(field="is_lost", operator="=", value=True),
        Condition(field="total_duration", operator=">=", value=10),
    ]
    rule = world.run(rules.add(world.db, account, 5, conditions))
    lost = inbound(world, account, 0, lost=True)
    inbound(world, account, 0, lost=False)
    world.fill()
    assert world.run(rules.remove(world.db, account, rule))
    inbound(world, account, 5, lost=True)
    world.fill()
    _, rows = world.ask(account, ("id", "tags"))
    tagged = {row["id"]: row["tags"] for row in rows if row["tags"]}
    assert tagged.keys() == {lost}
    [tag] = tagged[lost]
    assert (tag["tag_id"], tag["tag_name"], tag["tag_type"]) == (5, "потерян", "auto")
    assert tag["tag_change_time"] == "2026-11-20 15:00:00"


@pytest.mark.parametrize(
    ("row", "condition", "fitting"),
    [
        ({}, Condition(field="x", operator="=", value=None), True),
        ({}, Condition(field="x", operator="!=", value=1), False),
        ({"x": 2}, Condition(field="x", operator="!=", value=1), True),
        ({"x": "Москва"}, Condition(field="x", operator="contains", value="моск"), True),
        ({"x": "a"}, Condition(field="x", operator="<", value=5), False),
        ({"x": 4}, Condition(field="x", operator="<=", value=4), True),
        ({"x": 4}, Condition(field="x", operator="in", value=[1, 4]), True),
        ({"x": 4}, Condition(field="x", operator="in", value=4), False),
        ({"sale_cost": "99.50"}, Condition(field="sale_cost", operator=">", value=99), True),
        ({"sale_cost": "99.50"}, Condition(field="sale_cost", operator="=", value=99.5), True),
    ],
)
def test_conditions_of_rules(row: dict[str, Any], condition: Condition, *, fitting: bool) -> None:
    assert rules.fits(row, condition) is fitting


def test_what_changes_late_is_in_the_report_at_once_and_so_is_its_total(world: World, account: int) -> None:
    session = attempt(world, account)
    world.fill()
    sold = Compare(field="sale_cost", op=Op.gt, value=10)
    assert world.ask(account, filter=sold)[0] == 0
    assert world.change(account, session, sale_cost="99.50", utm_source="ya") == {session}
    assert world.ask(account, ("sale_cost", "utm_source"), filter=sold) == (
        1,
        [{"sale_cost": 99.5, "utm_source": "ya"}],
    )
    assert world.change(account + 1, session, sale_cost="1") == set(), "of another account"
    assert world.change(account, session, sale_cost=None) == {session}
    assert world.ask(account, filter=sold) == (0, [])


def test_every_end_of_ours_has_a_reason_of_the_reference(world: World) -> None:
    account = world.account()
    for disposition in Disposition:
        for result in ScriptResult if disposition is Disposition.answered else [ScriptResult.none]:
            world.ended(
                account,
                start_time=world.now.isoformat(),
                disposition=disposition,
                script_result=result,
                contact_phone="+79000000001",
            )
    count = world.fill()
    total, rows = world.ask(account, ("finish_reason",))
    assert total == count
    assert {row["finish_reason"] for row in rows} <= uis.FINISH_REASONS.keys()


def test_accounts_are_apart(world: World, account: int) -> None:
    attempt(world, account)
    world.fill()
    assert world.ask(world.account())[0] == 0


def test_a_session_that_makes_no_sense_is_set_aside_and_holds_up_no_other(world: World, account: int) -> None:
    bad = world.ended(account, transfers="nonsense", start_time=world.now.isoformat())
    empty = world.ended(account)
    huge = inbound(world, account, 0, lost=False, contact="79" * 2000)
    world.execute(
        """UPDATE ended_sessions SET facts = facts || '{"talk_duration": 99999999999}' WHERE session_id = %(s)s""",
        {"s": huge},
    )
    good = inbound(world, account, 0, lost=False)
    world.fill()
    world.fill()
    _, rows = world.ask(account)
    assert {row["id"] for row in rows} == {good}
    kept = "SELECT array_agg(session_id ORDER BY session_id) FROM ended_sessions WHERE fault IS NOT NULL"
    assert world.value(kept) == [bad, empty, huge]
    assert world.fill() == 0
    world.execute("DELETE FROM ended_sessions WHERE fault IS NOT NULL")


def test_calls_that_are_up_are_rows_where_they_are_asked_for(world: World, account: int) -> None:
    attempt(world, account)
    world.fill()
    attempt(world, account)
    world.execute(
        """WITH live AS (
            UPDATE attempts SET ended_at = NULL, started_at = now() - interval '30 s',
                answered_at = now() - interval '20 s'
            WHERE account_id = %(a)s AND session_id IN (SELECT session_id FROM ended_sessions) RETURNING *
        ), trunk AS (
            INSERT INTO trunks (name, settings, max_channels) VALUES ('ongoing', '{}', 1) RETURNING trunk_id
        ), gone AS (DELETE FROM ended_sessions RETURNING 1)
        INSERT INTO legs (account_id, leg_id, call_id, attempt, leg, trunk_id, gateway, epoch, phase, caller_id, hold,
            held_by, guarded, rate, placed_at)
        SELECT account_id, 'x', call_id, attempt, 1, trunk_id, 'gateway', 1, 'answered', '+74950000000', 0, 'account',
            false, '{}', started_at FROM live, trunk""",
        {"a": account},
    )
    assert world.ask(account)[0] == 1
    fields = (
        "id",
        "finish_time",
        "direction",
        "auto_call_campaign_name",
        "contact_phone_number",
        "talk_duration",
    )
    total, rows = world.ask(account, fields, ongoing=True)
    assert total == len(rows) == 2
    live = next(row for row in rows if row["finish_time"] is None)
    assert (live["direction"], live["auto_call_campaign_name"]) == ("out", "Опрос")
    assert live["contact_phone_number"] == "79000000001"
    assert live["talk_duration"] >= 19
    called = Compare(field="auto_call_campaign_name", op=Op.eq, value="Опрос")
    order = (Order(field="auto_call_campaign_name"),)
    assert world.ask(account, filter=called, order=order, ongoing=True)[0] == 2


def test_what_was_said_comes_to_the_report_when_it_is_written_down(world: World, account: int) -> None:
    session = attempt(world, account, recording="a.wav")
    world.execute(
        """INSERT INTO transcripts (account_id, call_id, attempt, claimed_at, done_at, segments)
        SELECT account_id, call_id, attempt, %(now)s, %(now)s, %(said)s FROM attempts WHERE session_id = %(s)s""",
        {
            "now": world.now,
            "s": session,
            "said": Jsonb(
                [
                    {"channel": 0, "start": 0.6, "end": 2.0, "text": "Здравствуйте"},
                    {"channel": 1, "start": 2.6, "end": 3.0, "text": "да"},
                ]
            ),
        },
    )
    assert world.run(world.filling.listen()) == 0, "its session is not there yet"
    world.fill()
    assert world.run(world.filling.listen()) == 1
    assert world.run(world.filling.listen()) == 0
    _, [row] = world.ask(account, ("recognized_text",))
    robot = {"id": 1, "phrase": "Здравствуйте", "start_time": "2026-11-20 15:00:09", "is_operator": True}
    subscriber = {"id": 2, "phrase": "да", "start_time": "2026-11-20 15:00:11", "is_operator": False}
    assert row["recognized_text"] == [robot | {"edited_phrase": None}, subscriber | {"edited_phrase": None}]


def test_writers_of_the_same_rows_and_months_never_wait_for_each_other_in_a_ring(
    world: World, account: int
) -> None:
    ids = [inbound(world, account, n, lost=n % 2 == 0, contact="+79000000044") for n in range(20)]
    world.fill()

    async def change(n: int) -> None:
        some = [ids[(n * 7 + i) % 20] for i in range(10)]
        changes = [
            Change(account_id=account, session_id=one, patch=lambda _: {"utm_term": f"слово {n % 5}"})
            for one in some
        ]
        async with world.db.transaction() as connection:
            await world.writer.change(connection, changes)

    async def put(n: int) -> None:
        start = world.now - timedelta(days=31 * (n % 6 + 1))
        row = {
            "account_id": account,
            "session_id": 800_000 + n,
            "start_time": start,
            "is_lost": False,
            "contact_phone_number": "79000000044",
            "utm_term": f"слово {n % 5}",
        }
        await world.writer.prepare([start])
        async with world.db.transaction() as connection:
            await world.writer.put(connection, [row], again=True)

    async def work() -> None:
        await asyncio.gather(*(change(n) for n in range(20)), *(put(n) for n in range(20)))

    world.run(work())
    assert world.ask(account)[0] == 40


def test_a_text_that_is_known_is_not_written_again_unless_a_later_month_says_it(
    world: World, account: int
) -> None:
    month = date(2026, 11, 1)
    held = "SELECT count(*) FROM report_words WHERE account_id = %(a)s AND xmin::text = %(xmin)s AND seen = %(seen)s"
    wrote = "SELECT max(xmin::text::bigint)::text FROM report_words WHERE account_id = %(a)s"

    def ask(*months: date) -> set[int]:
        said = [
            (account, field, text, one)
            for one in months
            for field, text in (("source", "a"), ("channel", "b"))
        ]
        return set(world.run(Words(world.db).codes(said)).values())

    codes = ask(month, date(2026, 10, 1))
    first = world.value(wrote, {"a": account})
    assert len(codes) == 2
    assert world.value(held, {"a": account, "xmin": first, "seen": month}) == 2
    assert ask(date(2026, 10, 1), month) == ask(month) == codes
    assert world.value(held, {"a": account, "xmin": first, "seen": month}) == 2
    later = date(2026, 12, 1)
    assert ask(later, month) == codes
    assert world.value(held, {"a": account, "xmin": world.value(wrote, {"a": account}), "seen": later}) == 2
