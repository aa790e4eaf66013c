"""`zvonar crm …`: which company's amoCRM gets the calls of an account, how, and what went where?"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer

from zvonar.cli.common import fail, now, plant, sentences, settings, show, with_database
from zvonar.core.schedule import zone_of
from zvonar.delivery.crm import render
from zvonar.delivery.crm import settings as crm_settings
from zvonar.delivery.crm.items import item, uniq
from zvonar.delivery.crm.outcomes import CallStatus, Mapped
from zvonar.delivery.crm.settings import CrmSettings
from zvonar.delivery.crm.wire import CrmHttp
from zvonar.service import crm as service
from zvonar.service.home import Home
from zvonar.store import accounts, push_attempts, push_calls, push_connections, push_paces
from zvonar.store.accounts import Account
from zvonar.store.db import Database
from zvonar.store.push_attempts import Wanted
from zvonar.store.push_calls import Counts, Entry
from zvonar.store.push_connections import CrmConnection, NotConnected

commands = typer.Typer(no_args_is_help=True)

AccountOption = Annotated[str, typer.Option("--account", help="Account id or name.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
_FILE = "or @FILE to read it from"
_CARDS = {"contact": "contacts", "company": "companies", "lead": "leads", "customer": "customers"}


class Language(StrEnum):
    ru = "ru"
    en = "en"


class Each(StrEnum):
    """What becomes an entry."""

    call = "call"  # a call that has ended, with its last attempt
    attempt = "attempt"


class Unknown(StrEnum):
    """What is done about a number that no card has."""

    skip = "skip"
    contact = "contact"  # make a contact
    lead = "lead"  # make a contact and a lead
    unsorted = "unsorted"


class State(StrEnum):
    """Of an entry of the log."""

    logged = "logged"
    skipped = "skipped"
    refused = "refused"
    waiting = "waiting"
    posting = "posting"
    dead = "dead"


@commands.callback()
def group() -> None:
    """Calls in a company's own amoCRM."""


@commands.command("connect")
@sentences
def connect(
    account: AccountOption,
    domain: Annotated[str, typer.Option(help="Such as example.amocrm.ru.")],
    token: Annotated[
        str | None, typer.Option(envvar="ZVONAR_CRM_TOKEN", help=f"Long-lived token, {_FILE}.")
    ] = None,
    client_id: Annotated[str | None, typer.Option(help="The integration's id.")] = None,
    client_secret: Annotated[
        str | None, typer.Option(envvar="ZVONAR_CRM_CLIENT_SECRET", help=f"Its secret key, {_FILE}.")
    ] = None,
    code: Annotated[
        str | None,
        typer.Option(envvar="ZVONAR_CRM_CODE", help=f"Its authorisation code, good for 20 minutes, {_FILE}."),
    ] = None,
    redirect_uri: Annotated[str, typer.Option(help="As the integration has it.")] = "",
    json: Json = False,
) -> None:
    """Connect an account to an amoCRM, for the first time or with new keys; what has waited for it goes.

    Keys are better not words of a command, which other users of the machine can see: name a file, or set the
    environment variable.
    """
    keys = service.Keys(
        token=_secret(token),
        client_id=client_id,
        client_secret=_secret(client_secret),
        code=_secret(code),
        redirect_uri=redirect_uri,
    )
    given = settings()
    vault = service.vault(Home(given.home).make())

    async def connecting(db: Database) -> tuple[CrmConnection, str, int]:
        owner = await accounts.named(db, account)
        async with CrmHttp(db, allowed=given.allow_networks) as http:
            return await service.connect(
                db, http, owner.account_id, domain=domain, keys=keys, vault=vault, now=now()
            )

    made, name, waited = with_database(connecting)
    document = {
        "account_id": made.account_id,
        "base_url": made.base_url,
        "crm_account_id": made.crm_account_id,
        "crm_account": name,
        "kind": made.kind,
        "expires_at": made.expires_at,
        "waited": waited,
    }

    def lines() -> str:
        which = f" ({name})" if name.isprintable() and name else ""
        links = "" if given.public_url else "\nEntries have no recordings until ZVONAR_PUBLIC_URL is set."
        return f"Connected to {made.base_url}{which}; {waited} calls have waited for it.{links}"

    show(document, as_json=json, lines=lines)


@commands.command("disconnect")
@sentences
def disconnect(account: AccountOption, json: Json = False) -> None:
    """Forget an account's keys and push nothing more. What was logged stays known, so it is never logged again."""

    async def change(db: Database) -> None:
        await push_connections.off(db, (await accounts.named(db, account)).account_id, now=now())

    with_database(change)
    show({"state": "off"}, as_json=json, lines=lambda: "Disconnected; the keys are forgotten.")


@commands.command("show")
@sentences
def show_(account: AccountOption, json: Json = False) -> None:
    """Show an account's CRM: whether it works, what is pushed and how, and what waits."""

    async def find(db: Database) -> tuple[CrmConnection, Counts, datetime | None]:
        owner = await accounts.named(db, account)
        crm = await push_connections.get(db, owner.account_id)
        counted = await push_calls.counts(db, owner.account_id, push_connections.address(owner.account_id))
        return crm, counted, await push_paces.waiting(db, crm.base_url)

    crm, counted, waiting = with_database(find)
    public_url = settings().public_url
    document = {
        **_connection(crm),
        "left_alone_until": waiting,
        "recordings_play_at": public_url,
        "calls": msgspec.structs.asdict(counted),
        "settings": _settings(crm_settings.read(crm.settings)),
    }
    show(document, as_json=json, lines=lambda: _described(crm, counted, waiting, public_url))


@commands.command("set")
@sentences
def set_(
    account: AccountOption,
    language: Annotated[Language | None, typer.Option(help="Of the sentences on the cards.")] = None,
    each: Annotated[Each | None, typer.Option(help="An entry for each ended call, or each attempt.")] = None,
    push: Annotated[
        str | None, typer.Option(help="Results that are pushed: answered/choice,busy,…; default for ours.")
    ] = None,
    mapped: Annotated[
        list[str] | None,
        typer.Option("--map", help="RESULT=STATUS or RESULT=STATUS:TEXT; RESULT= for ours. Repeatable."),
    ] = None,
    source: Annotated[str | None, typer.Option(help="The calls' source.")] = None,
    employee: Annotated[
        list[str] | None,
        typer.Option(help="+79161234567=USER: whose the calls of this number are; +7…= forgets. Repeatable."),
    ] = None,
    responsible: Annotated[
        int | None, typer.Option(help="User id: whose the other calls are; 0 for nobody.", min=0)
    ] = None,
    recording: Annotated[
        bool | None, typer.Option("--recording/--no-recording", help="Link to recordings.")
    ] = None,
    recording_days: Annotated[
        int | None, typer.Option(help="Days that a link is good for; 0 for good.", min=0)
    ] = None,
    unknown: Annotated[Unknown | None, typer.Option(help="What to do about unknown numbers.")] = None,
    pipeline: Annotated[int | None, typer.Option(help="Of new leads; 0 for the main one.", min=0)] = None,
    status: Annotated[int | None, typer.Option(help="Of new leads; 0 for the first.", min=0)] = None,
    json: Json = False,
) -> None:
    """Change what is pushed to an account's CRM, and how; calls that are on their way go as they are."""
    plain: dict[str, Any] = {
        "language": language and str(language),
        "each": each and str(each),
        "source": source,
        "recording": recording,
        "unknown": unknown and str(unknown),
    }
    changes = {name: value for name, value in plain.items() if value is not None}
    zeros = {
        "responsible": responsible,
        "recording_days": recording_days,
        "pipeline_id": pipeline,
        "status_id": status,
    }
    changes |= {name: value or None for name, value in zeros.items() if value is not None}
    if push is not None:
        words = tuple(word.strip() for word in push.split(",") if word.strip())
        changes["push"] = CrmSettings().push if words == ("default",) else words

    async def change(db: Database) -> CrmConnection:
        owner = await accounts.named(db, account)
        crm = await push_connections.get(db, owner.account_id)
        before = crm_settings.read(crm.settings)
        after = msgspec.structs.replace(
            before,
            mapping=_mapping(before.mapping, mapped or []),
            employees=_employees(before.employees, employee or []),
            **changes,
        )
        checked = crm_settings.read(msgspec.to_builtins(after))
        return await push_connections.set_settings(db, owner.account_id, checked.document(), now=now())

    changed = crm_settings.read(with_database(change).settings)
    show(_settings(changed), as_json=json, lines=lambda: "\n".join(_setting_lines(changed)))


@commands.command("backfill")
@sentences
def backfill(
    account: AccountOption,
    since: Annotated[datetime, typer.Option(help="Calls from this time on, in the account's time.")],
    until: Annotated[datetime | None, typer.Option(help="Calls before this time; now by default.")] = None,
    json: Json = False,
) -> None:
    """Push the calls of a period that are not in the CRM. May be repeated: what is there is not pushed again."""

    async def filling(db: Database) -> push_attempts.Backfilled:
        owner = await accounts.named(db, account)
        crm = await push_connections.get(db, owner.account_id)
        if crm.state == "off":
            raise NotConnected()
        return await push_attempts.backfill(db, _wanted(owner, crm, since, until), now=now())

    done = with_database(filling)
    show(
        msgspec.structs.asdict(done),
        as_json=json,
        lines=lambda: f"{done.seen} calls are meant, {done.added} of them are on their way now.",
    )


@commands.command("dry-run")
@sentences
def dry_run(
    account: AccountOption,
    since: Annotated[
        datetime | None, typer.Option(help="Calls from this time on, in the account's time; a day ago.")
    ] = None,
    until: Annotated[datetime | None, typer.Option(help="Calls before this time; now by default.")] = None,
    limit: Annotated[int, typer.Option(help="So many at most.", min=1, max=10_000)] = 20,
    json: Json = False,
) -> None:
    """Show what a backfill of a period would push, as the CRM would get it. Sends and stores nothing."""
    machinery = plant()
    links = service.public_links(machinery.home, settings().public_url)

    async def find(db: Database) -> list[dict[str, Any]]:
        owner = await accounts.named(db, account)
        crm = await push_connections.get(db, owner.account_id)
        chosen = crm_settings.read(crm.settings)
        start = since or now().astimezone(zone_of(owner.timezone)).replace(tzinfo=None) - timedelta(days=1)
        found = await push_attempts.page(db, _wanted(owner, crm, start, until), limit=limit)
        return [
            {
                "state": one.state,
                "would_be_pushed": one.state in (None, "skipped"),
                "item": msgspec.json.decode(
                    item(render.called_of(one), tag=crm.tag, settings=chosen, links=links)
                ),
            }
            for one in found
        ]

    found = with_database(find)

    def lines() -> str:
        shown = []
        for one in found:
            what = "would be pushed" if one["would_be_pushed"] else f"stays: {one['state']}"
            told = one["item"]
            shown.append(
                f"{told['uniq']:40} {what:18} {told['call_status']} ({CallStatus(told['call_status']).name}) "
                f"{told['call_result']}, {told['duration']} s{', recorded' if 'link' in told else ''}"
            )
        return "\n".join(shown) or "There are no such calls."

    show(found, as_json=json, lines=lines)


@commands.command("log")
@sentences
def log(
    account: AccountOption,
    state: Annotated[State | None, typer.Option(help="In this state.")] = None,
    since: Annotated[datetime | None, typer.Option(help="From this time on, in the account's time.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Before this time.")] = None,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1, max=100_000)] = 50,
    json: Json = False,
) -> None:
    """Show what went where, the newest first, with links to the cards; and what waits."""

    async def find(db: Database) -> tuple[CrmConnection, list[Entry]]:
        owner = await accounts.named(db, account)
        crm = await push_connections.get(db, owner.account_id)
        return crm, await push_calls.log(
            db,
            owner.account_id,
            push_connections.address(owner.account_id),
            state=str(state) if state is not None else None,
            since=_local(since, owner),
            until=_local(until, owner),
            limit=limit,
        )

    crm, entries = with_database(find)
    found = [{**msgspec.structs.asdict(entry), "card": _card(crm, entry)} for entry in entries]

    def lines() -> str:
        shown = []
        for one in found:
            why = " ".join(str(part) for part in (one["status"], one["error"]) if part is not None)
            shown.append(
                f"{one['at']:%Y-%m-%d %H:%M:%S} UTC  {one['call_id']}.{one['attempt']:<3} {one['state']:8} "
                f"{one['card'] or why}".rstrip()
            )
        return "\n".join(shown) or "There are none."

    show(found, as_json=json, lines=lines)


def _secret(given: str | None) -> str | None:
    if given is None or not given.startswith("@"):
        return given
    return Path(given[1:]).read_text(encoding="utf-8").strip()


def _local(at: datetime | None, owner: Account) -> datetime | None:
    if at is None:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=zone_of(owner.timezone))).astimezone(UTC)


def _wanted(owner: Account, crm: CrmConnection, since: datetime, until: datetime | None) -> Wanted:
    start, end = _local(since, owner), _local(until, owner) or now()
    assert start is not None
    if start >= end:
        fail("a period begins before it ends.")
    chosen = crm_settings.read(crm.settings)
    return Wanted(
        account_id=owner.account_id,
        tag=crm.tag,
        since=start,
        until=end,
        last_only=chosen.each == "call",
        outcomes=chosen.push,
    )


def _mapping(before: dict[str, Mapped], given: list[str]) -> dict[str, Mapped]:
    after = dict(before)
    for word in given:
        result, equals, told = word.partition("=")
        number, _, text = told.partition(":")
        if not equals or (told and number not in {str(int(status)) for status in CallStatus}):
            fail(f"--map is RESULT=STATUS:TEXT with a status of 1 to 7, not {word[:80]!r}.")
        after.pop(result, None)
        if told:
            after[result] = Mapped(status=CallStatus(int(number)), result=text.strip() or None)
    return after


def _employees(before: dict[str, int], given: list[str]) -> dict[str, int]:
    after = dict(before)
    for word in given:
        number, equals, user = word.partition("=")
        if not equals or (user and not (user.isascii() and user.isdecimal())):
            fail(f"--employee is +79161234567=USER with a user's id, not {word[:80]!r}.")
        after.pop(number, None)
        if user:
            after[number] = int(user)
    return after


def _card(crm: CrmConnection, entry: Entry) -> str | None:
    """Where its card opens in a browser; None for one of another CRM that the account had before."""
    if entry.entity_id is None or entry.uniq != uniq(crm.tag, entry.call_id, entry.attempt):
        return None
    if entry.entity_type == "unsorted":
        return f"{crm.base_url}/leads/pipeline/"
    cards = _CARDS.get(entry.entity_type or "")
    return f"{crm.base_url}/{cards}/detail/{entry.entity_id}" if cards else None


def _connection(crm: CrmConnection) -> dict[str, Any]:
    shown: tuple[Literal["account_id"] | str, ...] = (
        *("account_id", "base_url", "state", "kind", "expires_at", "crm_account_id"),
        *("trouble", "trouble_status", "trouble_since", "connected_at"),
    )
    return {name: getattr(crm, name) for name in shown}


def _settings(chosen: CrmSettings) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(chosen, name)) for name in CrmSettings.__struct_fields__}


def _setting_lines(chosen: CrmSettings) -> list[str]:
    return [f"{name:16} {_plain(value)}" for name, value in _settings(chosen).items()]


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "nothing"
    if isinstance(value, dict):
        return ", ".join(f"{key} → {_plain(inner)}" for key, inner in value.items()) or "-"
    return "-" if value is None else str(value)


_STATES = {
    "connected": "connected",
    "lost": "LOST: its keys are taken no longer. zvonar crm connect with new ones; nothing that waits is lost.",
    "off": "disconnected",
}


def _described(crm: CrmConnection, counted: Counts, waiting: datetime | None, public_url: str | None) -> str:
    told = [f"{crm.base_url}, account {crm.crm_account_id or '?'}: {_STATES[crm.state]}"]
    if crm.trouble is not None and crm.state == "connected":
        since = f" since {crm.trouble_since:%Y-%m-%d %H:%M} UTC" if crm.trouble_since else ""
        told.append(f"In trouble{since}: {crm.trouble} {crm.trouble_status or ''}".rstrip())
    if waiting is not None:
        told.append(f"Left alone until {waiting:%Y-%m-%d %H:%M:%S} UTC")
    if crm.expires_at is not None and crm.state == "connected":
        what = "Token to be refreshed before" if crm.kind == "oauth" else "Long-lived token until"
        told.append(f"{what} {crm.expires_at:%Y-%m-%d %H:%M} UTC")
    if public_url is None:
        told.append("Entries have no recordings: ZVONAR_PUBLIC_URL is not set")
    told.append(
        f"Calls: {counted.logged} logged, {counted.waiting + counted.disabled} waiting, {counted.skipped} skipped, "
        f"{counted.refused} refused, {counted.dead} dead"
    )
    return "\n".join([*told, "", *_setting_lines(crm_settings.read(crm.settings))])
