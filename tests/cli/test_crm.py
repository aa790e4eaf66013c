"""Can an operator connect a CRM, say what goes there, and see what went where?"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.delivery.crm.sink import Sink, token

from zvonar.store.server import PostgresServer

from .commands import Run

Crm = Callable[..., Any]

CALLS = """
INSERT INTO campaigns (account_id, campaign_id, name, type, status, settings, created_at, updated_at)
VALUES (%(account)s, %(account)s + 9000, 'crm', 'regular', 'paused', '{}', now(), now()) ON CONFLICT DO NOTHING;
"""
CALL = """
WITH put AS (
    INSERT INTO calls (account_id, call_id, campaign_id, ordinal, phone, country, state, call_end, due_at, attempts,
        created_at, updated_at)
    VALUES (%(account)s, %(call)s, %(account)s + 9000, %(call)s, '+79160000001', 'RU', 'finished', 'success', now(), 1,
        now(), now()) RETURNING 1
), tried AS (
    INSERT INTO attempts (account_id, call_id, attempt, campaign_id, phone, started_at, ended_at, disposition,
        script_result, talk_seconds, recording)
    VALUES (%(account)s, %(call)s, 1, %(account)s + 9000, '+79160000001', %(at)s, %(at)s, 'answered', 'completed', 5,
        'x.wav') RETURNING 1
)
INSERT INTO report_rows (account_id, session_id, start_time, direction, is_lost, disposition, script_result, call_id,
    attempt)
VALUES (%(account)s, %(call)s, %(at)s, 'out', false, 'answered', 'completed', %(call)s, 1)
"""


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """A CRM that is up, on a loop of its own."""
    loop, ready, stop = asyncio.new_event_loop(), Future[Sink](), asyncio.Event()

    async def run() -> None:
        async with Sink() as up:
            ready.set_result(up)
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    yield ready.result(30)
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    loop.close()


@pytest.fixture
def owner(zvonar: Run) -> int:
    """An account of this test's own."""
    name = f"crm-{next(_numbers)}"
    added = zvonar("account", "add", name, "--timezone", "Europe/Moscow", "--json")
    assert added.code == 0, added.err
    return int(added.document["account_id"])


_numbers = iter(range(1, 100))


@pytest.fixture
def crm(zvonar: Run) -> Crm:
    """A `crm` command that must succeed; its document."""

    def run(*words: object, **variables: str) -> Any:
        said = zvonar("crm", *words, "--json", ZVONAR_ALLOW_NETWORKS="127.0.0.0/8", **variables)
        assert said.code == 0, said.err
        return said.document

    return run


def sql(home: Path, statement: str, **params: object) -> list[tuple[object, ...]]:
    with psycopg.connect(PostgresServer(home).dsn(), autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), params or None)
        return cursor.fetchall() if cursor.description else []


def test_a_long_lived_token_connects_and_is_not_readable_in_the_database(
    crm: Crm, home: Path, owner: int, sink: Sink, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(token(0) + "\n")
    made = crm("connect", "--account", owner, "--domain", sink.url, "--token", f"@{tmp_path / 'token'}")
    assert (made["kind"], made["crm_account_id"], made["crm_account"]) == ("long_lived", 28805383, "Example")
    assert made["expires_at"].startswith("2033-05-18")
    shown = crm("show", "--account", owner)
    assert (shown["state"], shown["trouble"], shown["base_url"]) == ("connected", None, sink.url)
    assert shown["calls"] == dict.fromkeys(("waiting", "disabled", "dead", "logged", "skipped", "refused"), 0)
    assert shown["settings"]["push"][0] == "answered"
    ((kept,),) = sql(home, "SELECT credentials FROM push_connections WHERE account_id = %(a)s", a=owner)
    assert isinstance(kept, bytes)
    assert token(0).encode() not in kept
    key = home / "secrets/crm-key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_code_connects_once_and_its_tokens_are_kept(
    crm: Crm, zvonar: Run, home: Path, owner: int, sink: Sink
) -> None:
    words = ("--account", owner, "--domain", sink.url, "--client-id", "id")
    keys = {"ZVONAR_CRM_CLIENT_SECRET": "secret", "ZVONAR_CRM_CODE": "code-0"}
    made = crm("connect", *words, **keys)
    assert made["kind"] == "oauth"
    again = zvonar("crm", "connect", *words, ZVONAR_ALLOW_NETWORKS="127.0.0.0/8", **keys)
    assert again.code == 1
    assert "Authorization code has been revoked" in again.err
    assert "secret" not in again.err
    assert crm("show", "--account", owner)["kind"] == "oauth"
    sink.tokens.add(token(0))


def test_what_cannot_be_connected_says_why(zvonar: Run, owner: int, sink: Sink) -> None:
    def refused(domain: str, *words: str, allow: str = "127.0.0.0/8") -> str:
        said = zvonar(
            "crm", "connect", "--account", owner, "--domain", domain, *words, ZVONAR_ALLOW_NETWORKS=allow
        )
        assert said.code == 1
        assert "Traceback" not in said.err
        return said.err

    assert "give a long-lived token" in refused(sink.url)
    assert "401" in refused(sink.url, "--token", "wrong")
    assert "unauthorised" in refused(sink.url, "--token", "wrong")
    assert "guarded" in refused(sink.url, "--token", token(0), allow="")
    assert "its domain" in refused("http://example.amocrm.ru", "--token", token(0))
    assert "connect" in refused("http://127.0.0.1:9", "--token", token(0))
    assert "one word" in refused(sink.url, "--token", "a b")
    assert "No such file" in refused(sink.url, "--token", "@/nowhere/token")
    said = zvonar("crm", "show", "--account", owner)
    assert said.code == 1
    assert "has no CRM" in said.err


def test_what_is_pushed_is_set_word_by_word(crm: Crm, zvonar: Run, owner: int, sink: Sink) -> None:
    crm("connect", "--account", owner, "--domain", sink.url, "--token", token(0))
    made = crm(
        *("set", "--account", owner, "--push", "answered/choice, busy", "--language", "en"),
        *("--map", "answered/choice=4:Agreed", "--map", "busy=6", "--employee", "+79161234567=504141"),
        *(
            "--responsible",
            7,
            "--recording-days",
            30,
            "--unknown",
            "lead",
            "--pipeline",
            8,
            "--each",
            "attempt",
        ),
    )
    assert made == {
        "language": "en",
        "each": "attempt",
        "push": ["answered/choice", "busy"],
        "mapping": {
            "answered/choice": {"status": 4, "result": "Agreed"},
            "busy": {"status": 6, "result": None},
        },
        "source": "Zvonar",
        "employees": {"+79161234567": 504141},
        "responsible": 7,
        "recording": True,
        "recording_days": 30,
        "unknown": "lead",
        "pipeline_id": 8,
        "status_id": None,
    }
    changed = crm(
        *("set", "--account", owner, "--map", "busy=", "--employee", "+79161234567=", "--responsible", 0),
        *("--recording-days", 0, "--push", "default"),
    )
    assert changed["mapping"] == {"answered/choice": {"status": 4, "result": "Agreed"}}
    assert (changed["employees"], changed["responsible"], changed["recording_days"]) == ({}, None, None)
    assert changed["push"][0] == "answered"
    # New keys leave it as it is.
    crm("connect", "--account", owner, "--domain", sink.url, "--token", token(0))
    assert crm("show", "--account", owner)["settings"]["unknown"] == "lead"
    for wrong in (
        ("--push", "answerd"),
        ("--map", "busy"),
        ("--map", "busy=8"),
        ("--map", "busy=4:" + "x" * 300),
        ("--employee", "+7916=x"),
        ("--employee", "8916=5"),
        ("--unknown", "delete"),
    ):
        said = zvonar("crm", "set", "--account", owner, *wrong)
        assert said.code != 0
        assert "Traceback" not in said.err
    assert "answered/choice → status → 4" in zvonar("crm", "show", "--account", owner).out


def test_a_period_is_looked_at_and_put_on_its_way(
    crm: Crm, zvonar: Run, home: Path, owner: int, sink: Sink
) -> None:
    crm("connect", "--account", owner, "--domain", sink.url, "--token", token(0))
    sql(home, CALLS.replace("%(account)s", str(owner)))
    # Nine in the evening in Moscow.
    for number, at in enumerate(("2025-11-20 17:59Z", "2025-11-20 18:00Z", "2025-11-21 18:00Z"), start=1):
        sql(home, CALL, account=owner, call=owner * 100 + number, at=at)
    period = ("--account", owner, "--since", "2025-11-20T21:00:00", "--until", "2025-11-21T21:00:00")
    (looked,) = crm("dry-run", *period, ZVONAR_PUBLIC_URL="https://calls.example.com/")
    assert (looked["state"], looked["would_be_pushed"]) == (None, True)
    assert looked["item"]["uniq"].endswith(f"-{owner * 100 + 2}.1")
    assert looked["item"]["link"].startswith("https://calls.example.com/recordings/")
    assert "would be pushed" in zvonar("crm", "dry-run", *period).out
    assert sql(home, "SELECT count(*) FROM outbox WHERE account_id = %(a)s AND kind = 'crm'", a=owner) == [
        (0,)
    ]
    assert crm("backfill", *period) == {"seen": 1, "added": 1}
    assert sql(home, "SELECT count(*) FROM outbox WHERE account_id = %(a)s AND kind = 'crm'", a=owner) == [
        (1,)
    ]
    backwards = zvonar(
        "crm", "backfill", "--account", owner, "--since", "2030-01-01", "--until", "2029-01-01"
    )
    assert backwards.code == 1
    assert sink.requests("POST", "/api/v4/calls") == []


def test_the_log_links_to_cards_and_says_what_waits(
    crm: Crm, zvonar: Run, home: Path, owner: int, sink: Sink
) -> None:
    crm("connect", "--account", owner, "--domain", sink.url, "--token", token(0))
    ((tag,),) = sql(home, "SELECT tag FROM push_connections WHERE account_id = %(a)s", a=owner)
    put = """INSERT INTO push_calls (account_id, uniq, call_id, attempt, state, note_id, entity_type, entity_id,
        settled_at) VALUES (%(a)s, %(u)s, 1, 1, %(s)s, 5, %(t)s, %(e)s, now())"""
    for number, (state, kind) in enumerate(
        (("logged", "contact"), ("logged", "company"), ("logged", "unsorted"), ("skipped", None)), start=1
    ):
        entity = None if kind is None else "77"
        sql(home, put, a=owner, u=f"{tag}-{number}.1", s=state, t=kind, e=entity)
    sql(home, put, a=owner, u="zvother-9.1", s="logged", t="contact", e="77")
    waits = """INSERT INTO deliveries (account_id, event_id, event_at, kind, address, order_key, content_type, body,
        state, next_at, last_error, created_at) VALUES (%(a)s, %(n)s, now(), 'amocrm', 'amocrm:' || %(a)s, %(u)s, 'x',
        '', %(s)s, now(), 'refused', now())"""
    sql(home, waits, a=owner, n=owner * 10, u=f"{tag}-10.1", s="pending")
    sql(home, waits, a=owner, n=owner * 10 + 1, u=f"{tag}-11.2", s="dead")
    found = {one["call_id"]: one for one in crm("log", "--account", owner)}
    assert found[1]["card"] == f"{sink.url}/contacts/detail/77"
    assert found[2]["card"] == f"{sink.url}/companies/detail/77"
    assert found[3]["card"] == f"{sink.url}/leads/pipeline/"
    assert (found[4]["card"], found[4]["state"]) == (None, "skipped")
    assert found[9]["card"] is None  # of a CRM that the account had before
    assert (found[10]["state"], found[11]["state"], found[11]["attempt"]) == ("waiting", "dead", 2)
    assert [one["call_id"] for one in crm("log", "--account", owner, "--state", "dead")] == [11]
    assert "contacts/detail/77" in zvonar("crm", "log", "--account", owner).out
    counts = crm("show", "--account", owner)["calls"]
    assert (counts["logged"], counts["skipped"], counts["waiting"], counts["dead"]) == (4, 1, 1, 1)
    sql(home, "DELETE FROM deliveries WHERE account_id = %(a)s", a=owner)


def test_a_lost_connection_is_plain_to_see_and_a_disconnected_one_has_no_keys(
    crm: Crm, zvonar: Run, home: Path, owner: int, sink: Sink
) -> None:
    crm("connect", "--account", owner, "--domain", sink.url, "--token", token(0))
    sql(
        home,
        "UPDATE push_connections SET state = 'lost', trouble = 'unauthorised' WHERE account_id = %(a)s",
        a=owner,
    )
    assert crm("show", "--account", owner)["state"] == "lost"
    assert "LOST: its keys are taken no longer" in zvonar("crm", "show", "--account", owner).out
    crm("connect", "--account", owner, "--domain", sink.url, "--token", token(0))
    assert crm("show", "--account", owner)["state"] == "connected"
    crm("disconnect", "--account", owner)
    assert sql(home, "SELECT credentials FROM push_connections WHERE account_id = %(a)s", a=owner) == [
        (None,)
    ]
    assert crm("show", "--account", owner)["state"] == "off"
    assert zvonar("crm", "backfill", "--account", owner, "--since", "2025-01-01").code == 1
    assert zvonar("crm", "disconnect", "--account", owner).code == 1
