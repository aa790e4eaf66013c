"""Can an operator see what was told to whom, and have it told again?"""

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb
from standardwebhooks import Webhook

from zvonar.store.server import PostgresServer

from .commands import Run

ADD = """
INSERT INTO deliveries (account_id, event_id, event_at, kind, address, order_key, content_type, body, state, tries,
    next_at, last_status, last_error, created_at)
SELECT %(account)s, n, timestamptz '2025-11-22 12:00Z' + n * interval '1 minute', 'autocall', %(address)s, 'call/' || n,
    'application/json', convert_to('{"call":{"extra":"Тимофеев"}}', 'UTF8'), %(state)s, 10, now(), 500, 'status', now()
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n RETURNING delivery_id
"""

ATTEMPT = """
INSERT INTO delivery_attempts (delivery_id, attempt, at, latency, status, error, answer)
VALUES (%s, 1, now(), 12, 500, 'status', %s)
"""

Sql = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def sql(home: Path, account: int) -> Sql:
    """Statements on the home's database."""
    del account  # which has started it
    dsn = PostgresServer(home).dsn()

    def execute(statement: str, params: object = ()) -> list[tuple[object, ...]]:
        with psycopg.connect(dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), params)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    return execute


def add(sql: Sql, account: int, first: int, last: int, *, state: str = "dead", to: str) -> list[int]:
    params = {"account": account, "first": first, "last": last, "state": state, "address": to}
    return [int(str(found[0])) for found in sql(ADD, params)]


def ids(zvonar: Run, *filters: object) -> list[int]:
    said = zvonar("deliveries", "list", "--json", *filters)
    assert said.code == 0, said.err
    return [entry["event_id"] for entry in said.document]


def test_deliveries_are_listed_by_what_narrows_them(zvonar: Run, account: int, sql: Sql) -> None:
    add(sql, account, 1, 5, to="http://list.example/a")
    add(sql, account, 6, 8, state="delivered", to="http://list.example/b")
    mine = ("--account", account)
    assert ids(zvonar, *mine, "--state", "dead", "--address", "http://list.example/a") == [5, 4, 3, 2, 1]
    assert ids(zvonar, *mine, "--address", "http://list.example/b") == [8, 7, 6]
    assert ids(zvonar, *mine, "--from-event", 4, "--to-event", 6) == [6, 5, 4]
    assert ids(zvonar, *mine, "--since", "2025-11-22T12:02:00", "--until", "2025-11-22T12:04:00") == [3, 2]
    assert ids(zvonar, *mine, "--limit", 2) == [8, 7]
    said = zvonar("deliveries", "list", "--account", "tests", "--state", "dead")
    assert "http://list.example/a" in said.out
    assert zvonar("deliveries", "list", "--account", "nobody").code == 1
    sql("DELETE FROM deliveries")


def test_a_delivery_is_shown_with_its_tries(zvonar: Run, account: int, sql: Sql) -> None:
    (delivery_id,) = add(sql, account, 1, 1, to="http://show.example/")
    sql(ATTEMPT, [delivery_id, "Ой\x1b[2J".encode()])
    said = zvonar("deliveries", "show", delivery_id, "--json").document
    assert (said["state"], said["method"], said["url"]) == ("dead", "POST", "http://show.example/")
    assert said["body"] == '{"call":{"extra":"Тимофеев"}}'
    (attempt,) = said["attempts"]
    assert (attempt["attempt"], attempt["status"], attempt["error"], attempt["latency"]) == (
        1,
        500,
        "status",
        12,
    )
    shown = zvonar("deliveries", "show", delivery_id).out
    assert "12 ms: 500, status" in shown
    assert "Ой\\x1b[2J" in shown  # an answer does not get to our terminal as it is
    assert zvonar("deliveries", "show", 10**9).err.startswith("zvonar: There is no such delivery.")
    sql("DELETE FROM deliveries")


def test_dead_ones_are_sent_again_one_by_one_or_by_range(zvonar: Run, account: int, sql: Sql) -> None:
    made = add(sql, account, 1, 6, to="http://retry.example/")
    assert zvonar("deliveries", "retry", made[0], made[1], "--json").document == {"retried": 2}
    mine = ("--account", account)
    assert ids(zvonar, *mine, "--state", "pending") == [2, 1]
    ranged = zvonar("deliveries", "retry", *mine, "--from-event", 3, "--to-event", 4, "--json")
    assert ranged.document == {"retried": 2}
    assert ids(zvonar, *mine, "--state", "dead") == [6, 5]
    assert zvonar("deliveries", "retry", "--all", "--json").document == {"retried": 2}
    assert sql("SELECT DISTINCT state, tries, tries_before FROM deliveries") == [("pending", 10, 10)]
    for wrong in ((), (made[0], "--all"), ("--all", "--state", "disabled")):
        assert zvonar("deliveries", "retry", *wrong).code == 1
    sql("DELETE FROM deliveries")


def test_an_address_is_disabled_and_enabled(zvonar: Run, account: int, sql: Sql) -> None:
    to = "http://off.example/"
    sql("DELETE FROM receivers")  # others' troubles
    add(sql, account, 1, 2, state="pending", to=to)
    (dead,) = add(sql, account, 3, 3, to=to)
    assert zvonar("deliveries", "disable", to, "--account", account).code == 0
    assert ids(zvonar, "--state", "disabled") == [2, 1]
    known = zvonar("deliveries", "addresses", "--json").document
    (trouble,) = (one for one in known if one["address"] == to)
    assert (trouble["address"], trouble["reason"], trouble["waiting"]) == (to, "operator", 2)
    assert to in zvonar("deliveries", "addresses").out
    refused = zvonar("deliveries", "retry", dead)
    assert refused.code == 1
    assert "The address is disabled" in refused.err
    # A range is not refused for one address: what is for it waits with the rest.
    assert zvonar("deliveries", "retry", "--all", "--json").document == {"retried": 1}
    enabled = zvonar("deliveries", "enable", to, "--account", "tests", "--json")
    assert enabled.document == {"address": to, "reopened": 3}
    assert zvonar("deliveries", "enable", to, "--account", account).code == 1
    assert zvonar("deliveries", "addresses").out == "All addresses are well.\n"
    sql("DELETE FROM deliveries")


def test_events_that_cannot_be_rendered_are_listed_and_rendered_again(
    zvonar: Run, account: int, sql: Sql
) -> None:
    sql("DELETE FROM outbox")
    sql(
        """INSERT INTO outbox (account_id, kind, at, payload, render_error, render_tries)
        VALUES (%s, 'mail', now(), %s, 'KeyError', 10)""",
        [account, Jsonb({})],
    )
    (event,) = zvonar("deliveries", "list", "--state", "unrendered", "--json").document
    assert (event["error"], event["tries"], event["next_at"]) == ("KeyError", 10, None)
    assert "KeyError, tried 10 times, given up" in zvonar("deliveries", "list", "--state", "unrendered").out
    again = zvonar("deliveries", "retry", "--state", "unrendered", "--all", "--json")
    assert again.document == {"retried": 1}
    assert zvonar("deliveries", "list", "--state", "unrendered").out == "There are none.\n"
    sql("DELETE FROM outbox")


def test_webhook_secrets_are_shown_and_rotated(zvonar: Run) -> None:
    added = zvonar("account", "add", "signing", "--email", "ops@example.com", "--json").document
    shown = zvonar("account", "webhook-secret", "signing", "--json").document
    assert shown == {"account_id": added["account_id"], "secret": added["webhook_secret"], "previous": []}
    Webhook(shown["secret"])
    rotated = zvonar("account", "webhook-secret", "signing", "--rotate", "--overlap", "2", "--json").document
    assert rotated["secret"] != shown["secret"]
    assert [old["secret"] for old in rotated["previous"]] == [shown["secret"]]
    assert shown["secret"] in zvonar("account", "webhook-secret", "signing").out
    at_once = zvonar("account", "webhook-secret", "signing", "--rotate", "--overlap", "0", "--json").document
    assert at_once["previous"] == []


def test_an_account_hears_of_trouble_where_it_wants_to(zvonar: Run) -> None:
    zvonar("account", "add", "heard", "--json")
    said = zvonar("account", "set", "heard", "--email", "ops@example.com", "--json").document
    assert said["email"] == "ops@example.com"
    assert zvonar("account", "set", "heard", "--email", "", "--json").document["email"] is None
    assert zvonar("account", "set", "heard", "--email", "no address").code == 1
    changed = zvonar("account", "set", "heard", "--phone", "8 916 123-45-67", "--json").document
    assert (changed["phone"], changed["email"]) == ("+79161234567", None)
    assert zvonar("account", "set", "heard", "--phone", "12").code == 1
    assert zvonar("account", "set", "heard").code == 1
    assert zvonar("account", "add", "x", "--email", "a@b,c@d").code == 1


def test_doctor_says_whether_letters_go_out(zvonar: Run) -> None:
    def mail(**variables: str) -> dict[str, str]:
        parts = zvonar("doctor", "--json", **variables).document["parts"]
        return next(part for part in parts if part["name"] == "mail")

    assert mail()["state"] == "warn"
    assert "ZVONAR_SMTP_URL" in mail()["remedy"]
    good = mail(ZVONAR_SMTP_URL="smtp://me:pass%40word@mail.example:587", ZVONAR_MAIL_FROM="a@b.example")
    assert (good["state"], good["message"]) == ("ok", "Letters go out over mail.example:587.")
    for wrong in ("mail.example", "http://mail.example", "smtp://me:secret@mail.example:many", "smtp://:25"):
        bad = mail(ZVONAR_SMTP_URL=wrong)
        assert bad["state"] == "warn"
        assert "secret" not in bad["message"]
