"""Are the callbacks those of the reference, key by key, and one for each thing worth telling?"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from zvonar.dialects.autocall import answers
from zvonar.dialects.autocall.callbacks import render
from zvonar.store.outbox import Event

GOLDEN = Path(__file__).parents[2] / "golden" / "autocall"
AT = datetime(2020, 3, 17, 9, 30, 45, tzinfo=UTC)
URL = "https://example.com/reports"

CAMPAIGN: dict[str, Any] = {
    "account_id": 1239543,
    "campaign_id": 9,
    "name": "test",
    "type": "regular",
    "status": "running",
    "settings": {
        "script": {"nodes": {"1": {"prompt": {"clip_id": 6}}}},
        "window": {"start": "12:00:00", "end": "18:00:00", "date_from": "2020-03-17"},
        "retry": {"max_attempts": 2, "interval": 3600},
        "max_cost": "5.44",
        "callback_url": URL,
    },
    "created_at": "2020-03-17T09:30:45.123456+00:00",
    "updated_at": "2020-03-17T09:30:45.123456+00:00",
    "started_at": "2020-03-17T09:30:45.123456+00:00",
    "finished_at": None,
    "timezone": "Asia/Almaty",
    "spent": 0,
    "phone_lists": [13, 12, 8],
    "tallies": {"state/queued": 5},
}

BUSY = {"attempt": 1, "started_at": "2020-04-14T03:00:00+00:00", "ended_at": "2020-04-14T03:00:09+00:00",
        "disposition": "busy", "script_result": "none", "talk_seconds": 0}  # fmt: skip
HEARD = {"attempt": 2, "started_at": "2020-04-14T04:00:00+00:00", "ended_at": "2020-04-14T04:00:09+00:00",
         "disposition": "answered", "script_result": "completed", "talk_seconds": 6}  # fmt: skip
PLACED = {"attempt": 2, "started_at": "2020-04-14T04:00:00+00:00", "ended_at": None,
          "disposition": None, "script_result": None, "talk_seconds": 0}  # fmt: skip

CALL: dict[str, Any] = {
    "account_id": 1239543,
    "call_id": 35,
    "campaign_id": 9,
    "phone": "+77010000001",
    "extra": "Тимофеев А.Р.",
    "state": "finished",
    "call_end": "success",
    "disposition": "answered",
    "script_result": "completed",
    "talk_seconds": 6,
    "attempts": [BUSY, HEARD],
    "timezone": "Asia/Almaty",
    "callback_url": URL,
    "created_at": "2020-04-13T22:50:29+00:00",
    "updated_at": "2020-04-14T04:00:00+00:00",
    "before": {"state": "talking", "disposition": "busy", "script_result": "none"},
    "attempt_ended": True,
}


def event(kind: str, payload: dict[str, Any]) -> Event:
    return Event(event_id=1, account_id=1239543, campaign_id=9, call_id=35, kind=kind, at=AT, payload=payload)


def body(kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    (rendered,) = render(event(kind, payload))
    decoded = json.loads(rendered.body)
    assert isinstance(decoded, dict)
    return decoded


def assert_same(ours: object, golden: object, path: str = "$") -> None:
    assert type(ours) is type(golden), path
    if isinstance(ours, dict) and isinstance(golden, dict):
        assert list(ours) == list(golden), path
        for key, value in golden.items():
            assert_same(ours[key], value, f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(golden, list):
        assert len(ours) == len(golden), path
        for index, value in enumerate(golden):
            assert_same(ours[index], value, f"{path}[{index}]")
    else:
        assert ours == golden, path


@pytest.mark.parametrize(
    ("name", "kind", "payload"), [("autocall", "campaign", CAMPAIGN), ("call", "call", CALL)]
)
def test_the_body_is_that_of_the_reference(name: str, kind: str, payload: dict[str, Any]) -> None:
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert_same(body(kind, payload), golden)


def test_it_goes_to_the_callback_url_as_json_in_the_order_of_its_call() -> None:
    (told,) = render(event("call", CALL))
    assert (told.address, told.content_type) == (URL, "application/json")
    assert told.order_key == "call/35"
    (told,) = render(event("campaign", CAMPAIGN))
    assert told.order_key == "campaign/9"


def test_nobody_is_told_without_a_callback_url() -> None:
    settings = {**CAMPAIGN["settings"], "callback_url": None}
    assert render(event("campaign", {**CAMPAIGN, "settings": settings})) == ()
    assert render(event("call", {**CALL, "callback_url": None})) == ()


def test_other_events_are_none_of_its_business() -> None:
    assert render(event("session", {})) == ()


@pytest.mark.parametrize(
    ("state", "now", "before", "ended", "statuses"),
    [
        # dialled and answered: transient
        ("dialing", (None, None), ("queued", None, None), False, None),
        ("talking", (None, None), ("dialing", None, None), False, None),
        ("dialing", ("busy", "none"), ("waiting", "busy", "none"), False, None),
        # each attempt, also one that came to the same
        ("waiting", ("busy", "none"), ("dialing", None, None), True, "busy"),
        ("waiting", ("busy", "none"), ("dialing", "busy", "none"), True, "busy"),
        ("finished", ("answered", "choice"), ("talking", "busy", "none"), True, "success"),
        # taken back before any INVITE
        ("waiting", ("busy", "none"), ("dialing", "busy", "none"), False, None),
        ("queued", (None, None), ("dialing", None, None), False, None),
        # out of the queue: a change where no try had given it a status
        ("removed", (None, None), ("queued", None, None), False, "error"),
        ("expired", (None, None), ("queued", None, None), False, "error"),
        ("blocked", ("blocked", "none"), ("queued", None, None), True, "spam"),
        ("finished", (None, None), ("dialing", None, None), False, "error"),
        ("expired", ("busy", "none"), ("waiting", "busy", "none"), False, None),
    ],
)
def test_a_call_is_told_after_every_attempt_and_at_every_other_change_of_its_status(
    state: str,
    now: tuple[str | None, str | None],
    before: tuple[str, str | None, str | None],
    ended: bool,
    statuses: str | None,
) -> None:
    payload = {
        **CALL,
        "state": state,
        "disposition": now[0],
        "script_result": now[1],
        "before": dict(zip(("state", "disposition", "script_result"), before, strict=True)),
        "attempt_ended": ended,
    }
    told = [json.loads(rendered.body)["call"]["status"] for rendered in render(event("call", payload))]
    assert told == ([statuses] if statuses else [])


def test_an_attempt_that_has_not_ended_is_no_try() -> None:
    told = body("call", {**CALL, "state": "waiting", "disposition": "busy", "attempts": [BUSY, PLACED]})[
        "call"
    ]
    assert (told["tries"], told["status_tries"]) == (1, ["busy"])
    assert told["last_try_at"] == told["date_tries"][-1] == "2020-04-14 09:00:00"


def test_a_call_without_a_try_says_so() -> None:
    told = body(
        "call", {**CALL, "state": "removed", "disposition": None, "script_result": None, "attempts": []}
    )
    assert told["call"]["tries"] == 0
    assert (told["call"]["date_tries"], told["call"]["last_try_at"]) == ([], None)


def test_a_finished_autocall_tells_its_progress_and_what_it_cost() -> None:
    tallies = {
        "state/queued": 0,
        "state/finished": 6,
        "state/removed": 1,
        "state/blocked": 1,
        "result/answered/choice": 2,
        "result/answered/hung_up": 1,
        "result/busy/none": 1,
        "result/no_answer/none": 1,
        "result/invalid_number/none": 1,
        "result/none/none": 1,
        "result/blocked/none": 1,
        "attempts": 9,
        "seconds": 42,
        "cost": 123450,
    }
    told = body(
        "campaign",
        {**CAMPAIGN, "status": "completed", "tallies": tallies, "finished_at": "2020-03-17T11:00:00+00:00"},
    )["autocall"]
    assert (told["status"], told["final_cost"], told["finished_at"]) == (
        "completed",
        "12.35",
        "2020-03-17 17:00:00",
    )
    assert (told["calls_count"], told["processed"], told["processed_percentage"]) == (8, 8, 100)
    assert told["counters"] == {
        "success_percentage": 37,
        "success": 3,
        "recalled": 0,
        "no_answer": 1,
        "busy": 1,
        "error": 2,
        "spam": 1,
        "tries": 9,
        "duration": 42,
        "total": 8,
    }


def test_a_plain_campaign_has_every_key() -> None:
    told = body(
        "campaign", {**CAMPAIGN, "settings": {"callback_url": URL}, "started_at": None, "tallies": {}}
    )
    golden = json.loads((GOLDEN / "autocall.json").read_text(encoding="utf-8"))
    assert list(told["autocall"]) == list(golden["autocall"])
    assert (told["autocall"]["audio_id"], told["autocall"]["max_cost"]) == ([], None)
    assert told["autocall"]["date_from"] == "2020-03-17 00:00:00"
    assert told["autocall"]["processed_percentage"] == 0


def test_a_window_that_lasts_the_whole_day_does_not_look_shut() -> None:
    settings = {"callback_url": URL, "window": {"start": "00:00:00", "end": "00:00:00"}}
    told = body("campaign", {**CAMPAIGN, "settings": settings})["autocall"]
    assert (told["time_from"], told["time_to"]) == ("00:00:00", "23:59:59")


def test_one_switch_turns_every_time_to_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "TIMES_IN_UTC", True)
    assert body("call", CALL)["call"]["date_tries"] == ["2020-04-14 03:00:00", "2020-04-14 04:00:00"]
    assert body("campaign", CAMPAIGN)["autocall"]["created_at"] == "2020-03-17 09:30:45"
