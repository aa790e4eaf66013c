"""Does a late change touch what it is about, in both tables, and nothing else?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from zvonar.reports.query import Compare, JsonMatch, Op
from zvonar.reports.writing import Change

if TYPE_CHECKING:
    from tests.reports.conftest import World

TAG = {"tag_id": 7, "tag_name": "спам", "tag_type": "manual", "tag_change_time": "2026-11-01T00:00:00Z"}
TAGGED = JsonMatch(field="tags", path="exists($[*] ? (@.tag_id == 7))", ids=(7,), exact=True)


def put(world: World, account: int, first: int, **others: Any) -> None:
    """Two sessions, in two months."""
    world.put(
        *(
            {
                "account_id": account,
                "session_id": first + n,
                "start_time": world.now - timedelta(days=40 * n),
                "is_lost": False,
                "utm_campaign": "весна",
                "communication_comment": "перезвонить",
                "sale_cost": "10.5",
                **others,
            }
            for n in range(2)
        )
    )


def change(world: World, *changes: Change) -> set[int]:
    async def work() -> set[int]:
        async with world.db.transaction() as connection:
            return await world.writer.change(connection, changes)

    return world.run(work())


def versions(world: World, session_id: int) -> tuple[int, int]:
    """Which transactions wrote the narrow and the wide row."""
    found = [
        world.value(f"SELECT xmin::text::bigint FROM {table} WHERE session_id = {session_id}")
        for table in ("report_filters", "report_rows")
    ]
    return found[0], found[1]


SHOWN = ("tags", "utm_campaign", "communication_comment", "sale_cost", "is_lost")


def test_sessions_that_change_in_different_ways_do_so_at_once(world: World) -> None:
    account = world.account()
    put(world, account, 850_000)
    changed = change(
        world,
        Change(account_id=account, session_id=850_000, patch=lambda _: {"tags": [TAG], "sale_cost": "3"}),
        Change(account_id=account, session_id=850_001, patch=lambda _: {"utm_campaign": "осень"}),
    )
    assert changed == {850_000, 850_001}
    _, (older, newer) = world.ask(account, SHOWN)
    assert older == {**newer, "tags": [], "utm_campaign": "осень", "sale_cost": 10.5}
    assert newer["tags"][0]["tag_id"] == 7
    assert (newer["sale_cost"], newer["utm_campaign"]) == (3, "весна")
    assert newer["communication_comment"] == "перезвонить"
    assert world.ask(account, filter=TAGGED)[1] == [{"id": 850_000}]
    autumn = Compare(field="utm_campaign", op=Op.like, value="осень")
    assert world.ask(account, filter=autumn)[1] == [{"id": 850_001}]


def test_what_is_not_there_any_more_is_not_found_either(world: World) -> None:
    account = world.account()
    put(world, account, 851_000, tags=[TAG])
    gone = {"tags": [], "utm_campaign": None, "sale_cost": None}
    for session in (851_000, 851_001):
        change(world, Change(account_id=account, session_id=session, patch=lambda _: gone))
    assert world.ask(account, filter=TAGGED)[0] == 0
    spring = Compare(field="utm_campaign", op=Op.eq, value="весна")
    assert world.ask(account, filter=spring)[0] == 0
    assert world.ask(account, filter=Compare(field="sale_cost", op=Op.is_null))[0] == 2
    _, rows = world.ask(account, SHOWN)
    assert (
        rows
        == [
            {
                "tags": [],
                "utm_campaign": None,
                "communication_comment": "перезвонить",
                "sale_cost": None,
                "is_lost": False,
            }
        ]
        * 2
    )


def test_a_narrow_row_that_says_the_same_is_not_written_again(world: World) -> None:
    account = world.account()
    put(world, account, 852_000)
    before = versions(world, 852_000)
    phrases = [{"id": 1, "phrase": "алло", "start_time": None, "is_operator": True, "edited_phrase": None}]
    assert world.change(account, 852_000, recognized_text=phrases) == {852_000}
    spoken = versions(world, 852_000)
    assert spoken[0] == before[0]
    assert spoken[1] != before[1]
    assert world.change(account, 852_000, sale_cost="10.50") == {852_000}
    assert versions(world, 852_000)[0] == before[0]
    assert world.change(account, 852_000, sale_cost="11") == {852_000}
    assert versions(world, 852_000)[0] != before[0]


def test_a_patch_sees_the_columns_that_it_says_it_reads_and_what_the_one_before_it_did(world: World) -> None:
    account = world.account()
    put(world, account, 853_000)

    def comment(row: dict[str, Any]) -> dict[str, Any]:
        return {"communication_comment": row["communication_comment"] + "!"}

    reads = ("communication_comment",)
    twice = [Change(account_id=account, session_id=853_000, patch=comment, reads=reads) for _ in range(2)]
    change(world, *twice)
    assert world.ask(account, SHOWN)[1][1]["communication_comment"] == "перезвонить!!"
    with pytest.raises(KeyError):
        change(world, Change(account_id=account, session_id=853_000, patch=comment))
    assert world.ask(account, SHOWN)[1][1]["communication_comment"] == "перезвонить!!"


def test_nobody_changes_another_accounts_session(world: World) -> None:
    account, other = world.account(), world.account()
    put(world, account, 854_000)
    assert world.change(other, 854_000, sale_cost="1") == set()
    assert world.ask(account, ("sale_cost",))[1] == [{"sale_cost": 10.5}] * 2
