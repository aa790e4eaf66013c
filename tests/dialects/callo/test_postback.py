"""Does a client's address hear of each end of a call once, in its own template, with every value encoded?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.campaign import Postback, PostbackMethod
from zvonar.core.result import Disposition, Outcome, ScriptResult
from zvonar.dialects.callo import postback
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.service.wiring import RENDERERS
from zvonar.store.outbox import Event, Rendered

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

NAMES = (
    *("ct_campaign_id", "ct_phone", "ct_call_id", "ct_completed", "ct_status", "ct_dial_status"),
    *("ct_button_num", "ct_duration", "ct_user_choice"),
)
ALL = "https://client.example/zvonok/call_status_events?" + "&".join(f"{n}={{{n}}}" for n in NAMES)
BUSY = Outcome(disposition=Disposition.busy)
PRESSED = Outcome(
    disposition=Disposition.answered, script_result=ScriptResult.choice, talk_seconds=7, choice="1"
)


def add(house: House, tenant: Tenant, campaign_id: int) -> int:
    form = {"public_key": tenant.callo, "phone": "+70001230001", "campaign_id": campaign_id}
    answer = house.send("POST", PREFIXES[0] + "/phones/call/", data=form)
    call_id = answer.json()["call_id"]
    assert isinstance(call_id, int)
    return call_id


def told(house: House, campaign_id: int) -> list[Rendered]:
    """Everything that the renderer made of the campaign's events, in their order."""
    events = house.run(
        house.db.rows(
            Event,
            """SELECT event_id, account_id, campaign_id, call_id, kind, at, payload FROM outbox
            WHERE campaign_id = %(campaign_id)s ORDER BY event_id""",
            {"campaign_id": campaign_id},
        )
    )
    return [rendered for event in events for rendered in postback.render(event)]


def query(rendered: Rendered) -> dict[str, str]:
    assert rendered.url is not None
    return dict(parse_qsl(urlsplit(rendered.url).query, keep_blank_values=True))


def test_the_worker_knows_it() -> None:
    assert postback.render in RENDERERS


def test_a_final_status_is_told_with_every_value(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant, postback=Postback(url=ALL))
    call_id = add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, PRESSED, status_name="Да & нет + 100%")
    [rendered] = told(house, campaign_id)
    assert (rendered.method, rendered.body, rendered.address) == ("GET", b"", ALL)
    completed = query(rendered)["ct_completed"]
    assert query(rendered) == {
        "ct_campaign_id": str(campaign_id),
        "ct_phone": "+70001230001",
        "ct_call_id": str(call_id),
        "ct_completed": completed,
        "ct_status": "user",
        "ct_dial_status": "5",
        "ct_button_num": "1",
        "ct_duration": "7.0",
        "ct_user_choice": "Да & нет + 100%",
    }
    asked = {"public_key": tenant.callo, "call_id": call_id}
    [row] = house.send("GET", PREFIXES[0] + "/phones/call_by_id/", params=asked).json()
    assert (row["completed"], row["status"], row["dial_status"]) == (completed, "user", 5)
    assert rendered.url is not None
    assert rendered.url.isascii()


def test_a_post_also_carries_the_values_as_a_form(house: House, tenant: Tenant) -> None:
    wanted = Postback(url="https://client.example/hook?s={ct_status}", method=PostbackMethod.post)
    campaign_id = house.campaign(tenant, postback=wanted)
    add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, BUSY)
    [rendered] = told(house, campaign_id)
    assert rendered.method == "POST"
    assert rendered.url == "https://client.example/hook?s=attempts_exc"
    body = dict(parse_qsl(rendered.body.decode(), keep_blank_values=True))
    assert list(body) == list(NAMES)
    assert (body["ct_button_num"], body["ct_user_choice"], body["ct_dial_status"]) == ("", "", "4")
    assert rendered.content_type == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(("every", "statuses"), [(False, ["user"]), (True, ["in_process", "user"])])
def test_attempts_are_told_only_where_that_is_wanted(
    house: House, tenant: Tenant, every: bool, statuses: list[str]
) -> None:
    campaign_id = house.campaign(tenant, attempts=2, postback=Postback(url=ALL, every_attempt=every))
    add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, BUSY, attempts=2)
    house.dial(tenant, campaign_id, PRESSED, attempts=2, history=(BUSY,))
    rendered = told(house, campaign_id)
    assert [query(each)["ct_status"] for each in rendered] == statuses
    assert len({each.order_key for each in rendered}) == 1


@pytest.mark.parametrize("every", [False, True])
def test_what_ends_without_an_attempt_is_told_once(house: House, tenant: Tenant, every: bool) -> None:
    campaign_id = house.campaign(tenant, postback=Postback(url=ALL, every_attempt=every))
    removed, blocked = add(house, tenant, campaign_id), add(house, tenant, campaign_id)
    asked = {"public_key": tenant.callo, "campaign_id": campaign_id, "call_id": removed}
    house.send("POST", PREFIXES[0] + "/phones/remove_call/", data=asked)
    house.dial_as(tenant, blocked, Outcome(disposition=Disposition.blocked))
    said = [query(each) for each in told(house, campaign_id)]
    assert [(each["ct_call_id"], each["ct_status"], each["ct_dial_status"]) for each in said] == [
        (str(removed), "deleted", "15"),
        (str(blocked), "interrupted", "26"),
    ]


def test_a_campaign_without_a_postback_tells_nothing(house: House, tenant: Tenant) -> None:
    campaign_id = house.campaign(tenant)
    add(house, tenant, campaign_id)
    house.dial(tenant, campaign_id, BUSY)
    assert told(house, campaign_id) == []


def event(url: str, **changed: Any) -> Event:
    payload = {
        "call_id": 1,
        "campaign_id": 2,
        "phone": "+70001230001",
        "state": "finished",
        "call_end": "success",
        "disposition": "answered",
        "script_result": "choice",
        "choice": "1",
        "status_name": None,
        "talk_seconds": 1,
        "completed_at": "2026-01-01T00:00:00+00:00",
        "postback": {"url": url},
        "attempts": [{"cause": None}],
        "before": {"state": "talking"},
        "attempt_ended": True,
        **changed,
    }
    return Event(
        event_id=1,
        account_id=1,
        campaign_id=2,
        call_id=1,
        kind="call",
        at=payload["completed_at"],  # type: ignore[arg-type]
        payload=payload,
    )


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40))
def test_no_value_can_leave_its_place_in_the_template(name: str) -> None:
    [rendered] = postback.render(event("https://client.example/{ct_user_choice}/x?y=1", status_name=name))
    assert rendered.url is not None
    parts = urlsplit(rendered.url)
    assert (parts.netloc, parts.query, parts.fragment) == ("client.example", "y=1", "")
    assert parts.path.startswith("/")
    assert parts.path.endswith("/x")
    assert unquote(parts.path[1:-2]) == name


def test_what_is_no_placeholder_stays_as_it_stands() -> None:
    [rendered] = postback.render(event("https://client.example/?a={b}&c={ct_nothing}&d={ct_phone"))
    assert rendered.url == "https://client.example/?a={b}&c=&d={ct_phone"
