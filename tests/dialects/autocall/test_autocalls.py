"""Can a client create an autocall and steer it to its end, as the reference has it?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from zvonar.core.facts import TransferReport
from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.core.script import Step
from zvonar.dialects.autocall.callbacks import render
from zvonar.store.outbox import Event

from .client import TEXT, Client

if TYPE_CHECKING:
    from tests.dialects.conftest import House

PUT_THROUGH = TransferReport(
    to="+70001239999", began=1.0, ended=9.0, disposition=Disposition.answered, talk_seconds=7
)
BUSY = Outcome(disposition=Disposition.busy)
HEARD = Outcome(disposition=Disposition.answered, script_result=ScriptResult.completed, talk_seconds=6)


def test_what_was_created_has_every_field_of_the_reference_and_its_type(client: Client, golden: Any) -> None:
    reference = golden("autocall.json")["autocall"]
    made = client.autocall(
        max_cost="5.44", max_tries=2, tries_interval=60, time_from="12:00", time_to="18:00:00"
    )
    assert list(made) == list(reference)
    assert list(made["counters"]) == list(reference["counters"])
    assert made["client_id"] == str(client.tenant.account.account_id)
    assert made["max_cost"] == "5.44"
    assert (made["time_from"], made["time_to"]) == ("12:00:00", "18:00:00")
    assert (made["max_tries"], made["tries_interval"]) == (2, 60)
    [audio] = made["audio_id"]
    assert isinstance(audio, str)
    [list_id] = made["list_id"]
    assert isinstance(list_id, int)
    assert made["calls_count"] == made["counters"]["total"] == 3
    assert client.ok("GET", f"/autocalls/{made['id']}") == made


def test_counters_are_exact_after_every_attempt(client: Client) -> None:
    made = client.autocall(max_tries=2, tries_interval=0)
    client.house.dial(client.tenant, made["id"], BUSY, attempts=2)
    client.house.dial(client.tenant, made["id"], HEARD, attempts=2)
    now = client.ok("GET", f"/autocalls/{made['id']}")
    assert now["counters"] == {
        "success_percentage": 33,
        "success": 1,
        "recalled": 0,
        "no_answer": 0,
        "busy": 0,
        "error": 0,
        "spam": 0,
        "tries": 2,
        "duration": 6,
        "total": 3,
    }
    assert (now["processed"], now["processed_percentage"]) == (1, 33)


def test_calls_show_their_tries_and_are_found_by_status_number_and_label(client: Client, golden: Any) -> None:
    made = client.ok(
        "POST",
        "/autocalls",
        {
            "name": "Опрос",
            "audio_id": TEXT,
            "max_tries": 2,
            "tries_interval": 0,
            "list_id": [{"number": "+70001230001", "extra": "Анна"}, {"number": "+70001230002"}],
        },
        status=201,
    )
    called = client.house.dial(client.tenant, made["id"], BUSY, attempts=2)
    calls = client.ok("GET", f"/autocalls/{made['id']}/calls")
    assert calls["total"] == 2
    assert [call["number"] for call in calls["data"]] == ["+70001230002", "+70001230001"]
    first = calls["data"][1]
    assert list(first) == list(golden("call.json")["call"])
    assert (first["id"], first["status_tries"], first["tries"]) == (called, ["busy"], 1)
    for query in ({"status": "busy"}, {"number": "8 000 123-00-01"}, {"extra": "Анна"}):
        found = client.ok("GET", f"/autocalls/{made['id']}/calls", params=query)
        assert [call["id"] for call in found["data"]] == [called], query
        assert found["total"] == 1
    assert client.ok("GET", f"/autocalls/{made['id']}/calls", params={"status": "awaiting"})["total"] == 1
    assert client.ok("GET", f"/autocalls/{made['id']}/calls/{called}") == first


def test_it_is_changed_only_while_it_is_paused(client: Client) -> None:
    made = client.autocall()
    path = f"/autocalls/{made['id']}"
    refused = client.send("PATCH", path, {"max_tries": 3})
    assert refused.status_code == 422
    assert list(refused.json()["errors"]) == ["status"]
    client.ok("POST", f"{path}/pause")
    changed = client.ok("PATCH", path, {"max_tries": 3, "comment": "позже", "sms": True, "text": "Спасибо"})
    assert (changed["max_tries"], changed["comment"]) == (3, "позже")
    assert (changed["sms"], changed["text"]) == (True, "Спасибо")
    assert client.ok("PUT", path, {"sms": False})["text"] is None
    assert changed["audio_id"] == made["audio_id"]


def test_it_is_paused_resumed_cancelled_and_then_archived(client: Client) -> None:
    made = client.autocall()
    path = f"/autocalls/{made['id']}"
    assert client.ok("POST", f"{path}/pause")["status"] == "paused"
    assert client.ok("POST", f"{path}/resume")["status"] in ("running", "awaiting")
    cancelled = client.ok("POST", f"{path}/cancel")
    assert cancelled["status"] == "cancelled"
    assert client.send("POST", f"{path}/start").status_code == 422
    client.ok("POST", f"{path}/archive")
    assert made["id"] not in [one["id"] for one in client.ok("GET", "/autocalls")["data"]]
    assert [one["id"] for one in client.ok("GET", "/autocalls", params={"archived": "true"})["data"]] == [
        made["id"]
    ]
    client.ok("POST", f"{path}/unarchive")
    assert client.ok("GET", "/autocalls")["data"][0]["id"] == made["id"]


def test_a_copy_has_the_same_settings_and_none_of_the_tries(client: Client) -> None:
    made = client.autocall(max_tries=1, comment="первый")
    client.house.dial(client.tenant, made["id"], BUSY)
    copied = client.ok("POST", f"/autocalls/{made['id']}/copy", {"name": "Ещё раз"}, status=201)
    assert copied["id"] != made["id"]
    assert copied["status"] == "paused"
    assert copied["counters"]["total"] == 3
    assert copied["counters"]["tries"] == 0
    same = ("audio_id", "list_id", "comment", "max_tries", "time_from")
    assert {name: copied[name] for name in same} == {name: made[name] for name in same}
    busy = client.ok("POST", f"/autocalls/{made['id']}/copy", {"statuses": ["busy"]}, status=201)
    assert busy["calls_count"] == 1


def test_a_call_is_removed_or_held_back(client: Client) -> None:
    made = client.autocall()
    path = f"/autocalls/{made['id']}/calls"
    third, second, first = client.ok("GET", path)["data"]
    assert client.ok("POST", f"{path}/{first['id']}/lock")["lock"] is True
    client.ok("DELETE", f"{path}/{second['id']}", status=204)
    assert client.send("DELETE", f"{path}/{second['id']}").status_code == 422
    assert client.house.dial(client.tenant, made["id"], HEARD) == third["id"]
    assert client.ok("POST", f"{path}/{first['id']}/unlock")["lock"] is False
    assert client.house.dial(client.tenant, made["id"], HEARD) == first["id"]


def test_calls_are_added_while_it_runs(client: Client) -> None:
    made = client.autocall()
    path = f"/autocalls/{made['id']}/calls"
    more = client.ok("POST", path, {"list_id": [{"number": "+70001230004"}]}, status=201)
    assert more["calls_count"] == 4
    assert len(more["list_id"]) == 2


def test_everything_that_is_wrong_is_told_by_field(client: Client) -> None:
    before = client.house.picture()
    refused = client.send(
        "POST",
        "/autocalls",
        {
            "list_id": [{"number": "112"}, {"number": "+70001230001"}, {"extra": "x"}],
            "audio_id": TEXT,
            "max_tries": 0,
            "time_from": "25:00",
        },
    )
    assert refused.status_code == 422
    assert sorted(refused.json()["errors"]) == ["max_tries", "name"]
    refused = client.send(
        "POST",
        "/autocalls",
        {
            "name": "x",
            "audio_id": TEXT,
            "list_id": [{"number": "112"}, {"number": "+70001230001"}, {"extra": "x"}],
        },
    )
    assert sorted(refused.json()["errors"]) == ["list_id.0.number", "list_id.2.number"]
    assert client.house.picture() == before


def test_without_money_there_is_no_autocall(client: Client) -> None:
    before = client.house.picture()
    body = {"name": "x", "list_id": [{"number": "+70001230001"}], "audio_id": TEXT, "max_cost": 5000}
    refused = client.send("POST", "/autocalls", body)
    assert (refused.status_code, list(refused.json())) == (402, ["message"])
    assert client.house.picture() == before


def test_one_unknown_key_is_401_and_300_requests_a_minute_are_enough(house: House, client: Client) -> None:
    assert house.send("GET", "/api/v1/autocalls").status_code == 401
    assert house.send("GET", "/api/v1/autocalls", headers={"authorization": "Bearer x"}).status_code == 401
    for _ in range(300):
        assert client.send("GET", "/autocalls", pause=0.0).status_code == 200
    refused = client.send("GET", "/autocalls", pause=0.0)
    assert (refused.status_code, refused.json()) == (429, {"message": "Too Many Attempts."})
    assert refused.headers["retry-after"] == "60"
    assert client.send("GET", "/autocalls", pause=61.0).status_code == 200


def test_a_max_cost_that_nobody_gave_is_the_worst_case_and_grows_with_the_calls(client: Client) -> None:
    made = client.autocall(max_tries=2)
    forecast = client.ok("GET", f"/autocalls/{made['id']}/preflight")
    assert forecast["would_dial"] == 3
    assert forecast["worst_case"] == made["max_cost"]
    more = client.ok(
        "POST", f"/autocalls/{made['id']}/calls", {"list_id": [{"number": "+70001230004"}]}, status=201
    )
    assert float(more["max_cost"]) == pytest.approx(float(made["max_cost"]) * 4 / 3)
    poor = client.send("POST", "/autocalls", {"name": "x", "list_id": [made["list_id"][0]], "audio_id": TEXT,
                                              "max_tries": 100, "settings": {"max_call_time": 3600}})  # fmt: skip
    assert poor.status_code == 402


def test_it_says_why_it_stands_where_it_stands(client: Client) -> None:
    made = client.autocall(date_from="2099-01-01")
    said = client.ok("GET", f"/autocalls/{made['id']}/status")
    assert (made["status"], said["status"], said["reason"]) == ("awaiting", "awaiting", "window_closed")
    client.ok("POST", f"/autocalls/{made['id']}/pause")
    assert client.ok("GET", f"/autocalls/{made['id']}/status")["reason"] == "by_hand"
    assert client.ok("GET", "/autocalls", params={"status": "awaiting"})["total"] == 0
    assert client.ok("GET", "/autocalls", params={"status": "paused"})["total"] == 1


def test_the_first_bodies_are_generating_and_then_what_it_is(client: Client) -> None:
    made = client.autocall(callback_url="https://example.com/x")
    told = client.house.run(
        client.house.db.value(
            """SELECT array_agg(concat(payload ->> 'status', '/', payload ->> 'waits') ORDER BY event_id)
            FROM outbox WHERE campaign_id = %s AND kind = 'campaign'""",
            [made["id"]],
        )
    )
    assert told == ["paused/generating", "running/"]


def test_a_text_is_each_callees_own_and_nobody_may_lack_a_word(client: Client) -> None:
    text = [{"data": {"text": "Здравствуйте, {{name}}!"}}]
    people = [{"number": "+70001230001", "variables": {"name": "Анна"}}, {"number": "+70001230002"}]
    refused = client.send("POST", "/autocalls", {"name": "x", "audio_id": text, "list_id": people})
    assert refused.status_code == 422
    assert "name" in refused.json()["errors"]["list_id"][0]
    made = client.ok("POST", "/autocalls", {"name": "x", "audio_id": text, "list_id": people[:1]}, status=201)
    assert len(made["audio_id"]) == 1
    own = client.house.run(
        client.house.db.value("SELECT overrides FROM calls WHERE campaign_id = %s", [made["id"]])
    )
    assert own == {"variables": {"name": "Анна"}}


def test_dates_are_the_accounts(house: House) -> None:
    client = Client(house, house.tenant(timezone="Asia/Almaty"))
    made = client.autocall()
    assert made["created_at"] == house.clock.astimezone(ZoneInfo("Asia/Almaty")).strftime("%Y-%m-%d %H:%M:%S")


def test_a_text_follows_a_success_and_another_one_its_want(client: Client) -> None:
    people = [
        {"number": f"+7000123000{number}", "variables": {"name": name}}
        for number, name in ((1, "Анна"), (2, "{{name}}"), (3, "Олег"))
    ]
    words = {
        "sms": True,
        "text": "Спасибо, {{name}}!",
        "sms_unanswered": True,
        "text_unanswered": "Ждём, {{ name }}",
    }
    made = client.ok(
        "POST", "/autocalls", {"name": "x", "list_id": people, "audio_id": TEXT, **words}, status=201
    )
    client.house.dial(client.tenant, made["id"], HEARD)
    client.house.dial(client.tenant, made["id"], BUSY)
    [call] = client.ok("GET", f"/autocalls/{made['id']}/calls", params={"number": "+70001230003"})["data"]
    client.ok("DELETE", f"/autocalls/{made['id']}/calls/{call['id']}", status=204)
    sent = client.house.run(
        client.house.db.value(
            """SELECT jsonb_agg(jsonb_build_array(payload ->> 'phone', payload #> '{reaction,sms,text}')
                ORDER BY event_id)
            FROM outbox WHERE campaign_id = %s AND kind = 'reaction'""",
            [made["id"]],
        )
    )
    assert sent == [["+70001230001", "Спасибо, Анна!"], ["+70001230002", "Ждём, {{name}}"]]


def test_what_was_chosen_is_told_the_same_by_callback_and_by_a_look(client: Client) -> None:
    made = client.autocall(callback_url="https://example.com/x")
    steps = (
        Step(node="1"),
        Step(node="1", key="2", status_name="Да"),
        Step(node="2", word="нет", transfer=PUT_THROUGH),
    )
    called = client.house.dial(client.tenant, made["id"], HEARD, steps=steps)
    looked = client.ok("GET", f"/autocalls/{made['id']}/calls/{called}")
    assert looked["r_duration"] == 7
    assert looked["data"] == [
        {"node": "1", "key": "2", "name": "Да"},
        {"node": "2", "key": "нет", "name": None},
    ]
    payload = client.house.run(
        client.house.db.value(
            "SELECT payload FROM outbox WHERE call_id = %s AND kind = 'call' ORDER BY event_id DESC LIMIT 1",
            [called],
        )
    )
    event = Event(
        event_id=1,
        account_id=1,
        campaign_id=made["id"],
        call_id=called,
        kind="call",
        at=client.house.clock,
        payload=payload,
    )
    [body] = [json.loads(rendered.body) for rendered in render(event)]
    assert body == {"call": looked}
