"""Does every statement of the store fit the migrated schema, with the types that the driver really sends?"""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

import zvonar.store

NOW = datetime(2025, 11, 22, 12, tzinfo=UTC)

# By name, so that one parameter has one type in the whole store. Integers are tried small and large: the driver
# sends them as smallint, integer or bigint by their value.
SAMPLES: dict[str, Any] = {
    **dict.fromkeys(
        ("account_id", "call_id", "campaign_id", "clip_id", "trunk_id", "phone_list_id", "epoch"), 1
    ),
    **dict.fromkeys(("delivery_id", "tariff_id", "first_ordinal", "after", "skipped"), 1),
    **dict.fromkeys(("key_count", "key_seconds", "number_count", "number_seconds"), 1),
    **dict.fromkeys(("key_scope", "number_scope", "cause"), "x"),
    **dict.fromkeys(("key", "number"), b"x"),
    **dict.fromkeys(("seen", "since", "created_from", "created_till", "updated_from", "updated_till"), NOW),
    **dict.fromkeys(
        ("limit", "count", "lifetime", "loaded", "rejected", "attempt", "status_code", "priority"), 1
    ),
    **dict.fromkeys(("max_channels", "hangup_cause", "sip_code", "talk_seconds", "billed_seconds"), 1),
    **dict.fromkeys(("name", "kind", "note", "label", "extra", "phone", "country", "reason", "gateway"), "x"),
    "prefix": "7",
    **dict.fromkeys(("per_minute", "connection_fee"), Decimal("1.5")),
    **dict.fromkeys(("first_interval", "step"), 60),
    **dict.fromkeys(
        ("currency", "timezone", "tariff", "login", "password_hash", "type", "state", "call_end"), "x"
    ),
    **dict.fromkeys(("disposition", "script_result", "choice", "status_name", "recording", "error"), "x"),
    **dict.fromkeys(("leg_id", "caller_id", "text", "fingerprint"), "x"),
    **dict.fromkeys(
        ("now", "at", "due_at", "until", "started_at", "ended_at", "answered_at", "next_at"), NOW
    ),
    **dict.fromkeys(("amount", "hold", "more", "cost", "calls_per_second", "max_cost"), Decimal("1.5")),
    **dict.fromkeys(("trial", "enabled", "final", "guarded", "held_by_campaign", "next_leg"), True),
    **dict.fromkeys(("settings", "overrides", "voice", "steps", "rate"), Jsonb({})),
    **{name: ["x"] for name in ("countries", "caller_ids", "allowed", "kinds", "addresses", "order_keys")},
    **{name: [1] for name in ("call_ids", "event_ids", "account_ids", "accounts", "campaigns", "limits")},
    **dict.fromkeys(("speaker", "suffix", "form"), "x"),
    **dict.fromkeys(("duration_ms", "part"), 1),
    "data": b"x",
    **dict.fromkeys(("total", "done", "chunk", "until_ordinal"), 1),
    "layout": Jsonb({}),
    "content_types": ["x"],
    "leg_ids": ["x"],
    "ats": [NOW],
    **{name: ["x"] for name in ("labels", "phones", "outcomes")},
    "campaign_ids": [1],
    "calls": Jsonb([]),
    "scope": "x",
    "quiet": "on",
    "scopes": ["x"],
    "untils": [NOW],
    "seconds": 1,
    "key_hash": b"x",
    "bodies": [b"x"],
    "event_ats": [NOW],
    "answers": [b"x"],
    **dict.fromkeys(("worker_id", "per_address", "first_event", "last_event"), 1),
    **dict.fromkeys(("before", "since"), NOW),
    **dict.fromkeys(("email", "address", "secret"), "x"),
    **{name: ["x"] for name in ("methods", "urls", "errors", "states")},
    **{name: [NOW] for name in ("ats", "sent_ats", "next_ats")},
    **{name: [1] for name in ("delivery_ids", "workers", "rooms", "statuses", "latencies", "render_tries")},
    "gone": [True],
    **{name: Jsonb({}) for name in ("greeting", "facts", "received")},
    **{name: ["x"] for name in ("callers", "called")},
    **dict.fromkeys(("own_phone", "contact", "target"), "x"),
    "payload": Jsonb({}),
    "segments": Jsonb([]),
    "tries": 1,
    "networks": ["127.0.0.0/8"],
    **dict.fromkeys(("employee_id", "customer_id", "communication_id"), 1),
    **dict.fromkeys(("domain_name", "color", "comment", "full_name", "extension", "token", "beginning"), "x"),
    **dict.fromkeys(("active", "blocked", "is_active", "is_system"), True),
    **dict.fromkeys(("scenario_id", "contact_id", "added", "newest", "source"), 1),
    **dict.fromkeys(("client_id",), "x"),
    **dict.fromkeys(("archived", "locked"), True),
    **{name: Jsonb({}) for name in ("script", "variables")},
    "phone_list_ids": [1],
    "content_type": "x",
    **dict.fromkeys(("purpose", "after_phone"), "x"),
    "all": True,
    "clip_ids": [1],
    "reasons": ["x"],
    "stop_untils": [NOW],
    **dict.fromkeys(("autostart", "over"), True),
    "waits": "awaiting",
    "details": Jsonb({}),
    "opens_at": NOW,
    "closings": [NOW, None],
    "digits": 5,
    "legs": "[]",
    "tariff_ids": [1],
    "due_ats": [NOW],
    "moderated": True,
    **{name: [1] for name in ("cap_attempts", "cap_seconds")},
    # The CRM.
    **dict.fromkeys(("user_id", "pipeline_id", "task_id"), 1),
    **dict.fromkeys(("tail", "role", "lang", "destination", "pattern", "redirect_uri"), "x"),
    **{name: [1] for name in ("user_ids", "card_ids", "note_ids", "tag_ids", "from_ids", "to_ids", "sorts")},
    **{name: [1] for name in ("responsibles", "creators", "updaters")},
    **{name: ["x"] for name in ("tails", "names", "colors", "note_types", "types")},
    **{name: ["contact"] for name in ("card_kinds", "from_kinds", "to_kinds")},
    **{name: [Jsonb({})] for name in ("params", "payloads", "afters", "befores")},
    **{name: [NOW] for name in ("created_ats", "updated_ats")},
    **{name: [True] for name in ("mains", "unsorteds")},
    **dict.fromkeys(("cards", "tasks", "notes"), Jsonb([])),  # "calls" is above
    "task_ids": [1],
    "expires_at": NOW,
    **dict.fromkeys(("tag", "base_url", "crm_kind", "trouble", "uniq", "way", "origin"), "x"),
    **{name: ["x"] for name in ("uniqs", "entity_types", "entity_ids")},
    **{name: [1] for name in ("contact_ids", "lead_ids")},
    **dict.fromkeys(("crm_account_id", "version", "trouble_status"), 1),
    **dict.fromkeys(("margin", "ahead", "pause"), 0.5),
    **dict.fromkeys(("customers", "last_only"), True),
    **dict.fromkeys(("after_time", "slot"), NOW),
    "credentials": b"x",
}
# Arrays of what an integer holds.
SMALL = {
    "attempts",
    "cap_attempts",
    "cap_seconds",
    "sorts",
    "limits",
    "rooms",
    "statuses",
    "latencies",
    "render_tries",
}
# `status` is a campaign's word in one statement and an HTTP number in others.
EXCEPTIONS: dict[tuple[str, str], Any] = {
    ("campaigns.ADD", "status"): "x",
    ("workers.HOLD", "worker_id"): 1,
    ("phone_lists.FINISH", "state"): "loaded",
    ("push_calls.MARK", "attempts"): [1],
    ("push_attempts.GET", "attempts"): [1],
    ("campaign_facts.PAGE", "statuses"): ["x"],
    ("campaign_facts.COUNT", "statuses"): ["x"],
    ("idempotency.KEEP", "fingerprint"): b"x",
    ("crm_pipelines.ADD", "sort"): 1,
    ("crm_hooks.TELL", "settings"): ["x"],
    ("crm_hooks.SUBSCRIBE", "settings"): ["x"],
    **{
        (f"{statement}", "kind"): "contact"
        for statement in (
            "crm_entities.BY_IDS",
            "crm_entities.LOCK",
            "crm_tags.BY_IDS",
            "crm_tags.PUT",
            "crm_tags.PAGE",
        )
    },
}
# What a caller may leave out, and the driver then sends without a type.
NULLABLE = {
    *(
        "call_end",
        "due_at",
        "answered_at",
        "steps",
        "hangup_cause",
        "sip_code",
        "choice",
        "status_name",
        "recording",
    ),
    *(
        "label",
        "extra",
        "overrides",
        "clip_id",
        "phone_list_id",
        "lifetime",
        "caller_id",
        "reason",
        "until",
        "next_at",
    ),
    *("email", "address", "since", "first_event", "last_event"),
    *(
        f"{name}@{statement}"
        for statement in (
            "delivery_log.LIST",
            "delivery_log.RETRY",
            "delivery_log.UNRENDERED",
            "delivery_log.RENDER_AGAIN",
            "receivers.LIST",
        )
        for name in ("account_id", "state")
    ),
    *("account_id@trunks.PUT", "started_at@campaigns.ADD"),
    *("speaker@clips.ADD_UPLOAD", "text@clips.ADD_UPLOAD"),
    *("error@phone_lists.FINISH",),
    "cause",
    *(
        f"{side}_{end}@results.{name}"
        for side in ("created", "updated")
        for end in ("from", "till")
        for name in ("BY_PHONES", "FILTERED_PAGE")
    ),
    *(f"outcomes@results.{name}" for name in ("BY_PHONES", "FILTERED_PAGE")),
    *(f"{name}@accepting.ACCEPT" for name in ("fingerprint", "text", "voice")),
    "campaign_ids@campaigns.OF_ACCOUNT",
    *(f"{name}@push_connections.PUT" for name in ("expires_at", "crm_account_id")),
    *("trouble_status@push_connections.LOSE", "trouble_status@push_connections.TROUBLED"),
    *("at@push_paces.SENT", "state@push_calls.LOG"),
    *("greeting@dids.PUT", "country@inbound.END_INBOUND"),
    *(
        "networks@accounts.ADD_KEY",
        "networks@accounts.ADD_LOGIN",
        "networks@keys.ADD",
        "networks@keys.CHANGE",
    ),
    *("expires_at@keys.ADD", "blocked@keys.CHANGE", "comment@directories.PUT_VIRTUAL_NUMBER"),
    *(f"{name}@directories.PUT_EMPLOYEE" for name in ("employee_id", "email", "phone", "extension")),
    *(
        f"{name}@campaign_facts.{statement}"
        for name in ("statuses", "name", "client_id", "created_from", "created_till")
        for statement in ("PAGE", "COUNT")
    ),
    *(
        f"{name}@call_facts.{statement}"
        for name in ("outcomes", "phone", "extra", "locked", "updated_from", "updated_till")
        for statement in ("FILTERED_PAGE", "COUNT")
    ),
    *(
        "name@contacts.LISTS",
        "name@contacts.COUNT_LISTS",
        "phone@contacts.CONTACTS",
        "at@campaign_facts.ARCHIVE",
    ),
    *("variables@contacts.CHANGE", "timezone@contacts.CHANGE"),
    *("outcomes@copying.COUNT", "outcomes@copying.CALLS"),
    *(
        f"{name}@{statement}"
        for name in ("waits", "details")
        for statement in ("campaigns.ADD", "steering.START")
    ),
    "details@steering.PAUSE",
    *("cap_attempts", "cap_seconds"),
    *("phone@crm_users.ADD", "tail@crm_users.ADD", "redirect_uri@crm_tokens.SET_REDIRECT_URI"),
}
_SQL = re.compile(r"\s*(?:--.*\n\s*)*(SELECT|INSERT|UPDATE|DELETE|WITH|COPY|CREATE|LISTEN|SET)\s")
_PARAMETER = re.compile(r"%\((\w+)\)[sb]")


def statements() -> dict[str, str]:
    found = {}
    for module in pkgutil.iter_modules(zvonar.store.__path__):
        if module.name == "migrations" or module.name.startswith("server"):
            continue
        members = vars(importlib.import_module(f"zvonar.store.{module.name}"))
        for name, value in members.items():
            if name.isupper() and isinstance(value, str) and _SQL.match(value):
                found[f"{module.name}.{name}"] = value
    return found


STATEMENTS = statements()


def samples(name: str, statement: str, *, large: bool) -> dict[str, Any]:
    given = {}
    for parameter in _PARAMETER.findall(statement):
        value = EXCEPTIONS.get((name, parameter), SAMPLES.get(parameter))
        assert value is not None, f"{name}: no sample for {parameter}"
        if large and type(value) is int:
            value = 2**31 - 1 if value == 1 else value
        if large and value == [1] and value[0] is not True:
            value = [2**40] if parameter not in SMALL else [2**20]
        given[parameter] = value
    return given


def test_all_modules_of_the_store_were_looked_at() -> None:
    assert {name.split(".")[0] for name in STATEMENTS} >= {
        *(
            "accounts",
            "calls",
            "campaigns",
            "clips",
            "epochs",
            "legs",
            "outbox",
            "sessions",
            "stoplist",
            "trunks",
        ),
    }


@pytest.fixture(scope="module")
def migrated(module_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(module_dsn) as connection:
        yield connection


@pytest.mark.parametrize("name", STATEMENTS)
def test_statement_fits_the_schema(name: str, migrated: psycopg.Connection) -> None:
    statement = STATEMENTS[name]
    with migrated.transaction(force_rollback=True):
        if "FROM STDIN" in statement:
            with migrated.cursor().copy(statement) as copying:
                if "binary" in statement:
                    copying.set_types([])
            return
        if statement.lstrip().startswith("SET"):
            migrated.execute(statement)
            return
        # EXPLAIN analyses and plans with the very types that an execution would send, and runs nothing.
        for large in (False, True):
            given = samples(name, statement, large=large)
            migrated.execute("EXPLAIN " + statement, given, prepare=True)
        optional = [p for p in given if p in NULLABLE or f"{p}@{name}" in NULLABLE]
        for parameter in optional:
            migrated.execute("EXPLAIN " + statement, {**given, parameter: None}, prepare=True)
        if optional:
            migrated.execute("EXPLAIN " + statement, {**given, **dict.fromkeys(optional)}, prepare=True)
