"""`zvonar deliveries …`: what was told to whom, what was not, and shall it be sent again?"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from zvonar.cli.common import fail, now, sentences, show, with_database
from zvonar.store import accounts, delivery_log, receivers
from zvonar.store.db import Database
from zvonar.store.delivery_log import Attempt, Entry, Filter, UnrenderedEvent

commands = typer.Typer(no_args_is_help=True)


class State(StrEnum):
    """In which state deliveries are asked for."""

    pending = "pending"
    disabled = "disabled"  # waits for its receiver
    delivered = "delivered"
    dead = "dead"
    unrendered = "unrendered"  # an event that has not become deliveries


Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Account = Annotated[str | None, typer.Option("--account", help="Of this account, by id or name.")]
StateOption = Annotated[State | None, typer.Option("--state", help="In this state.")]
Address = Annotated[str | None, typer.Option(help="To this address.")]
Since = Annotated[datetime | None, typer.Option(help="Of events from this time on, UTC.")]
Until = Annotated[datetime | None, typer.Option(help="Of events before this time, UTC.")]
FirstEvent = Annotated[int | None, typer.Option("--from-event", help="Of events from this id on.", min=1)]
LastEvent = Annotated[int | None, typer.Option("--to-event", help="Of events up to this id.", min=1)]


@commands.callback()
def group() -> None:
    """Deliveries to callback addresses and people."""


@commands.command("list")
@sentences
def list_(
    account: Account = None,
    state: StateOption = None,
    address: Address = None,
    since: Since = None,
    until: Until = None,
    from_event: FirstEvent = None,
    to_event: LastEvent = None,
    limit: Annotated[int, typer.Option(help="The newest so many.", min=1, max=100_000)] = 50,
    json: Json = False,
) -> None:
    """List deliveries, the newest first; with --state unrendered events that no renderer could make anything of."""

    async def find(db: Database) -> list[Entry] | list[UnrenderedEvent]:
        which = await _filter(db, account, state, address, since, until, from_event, to_event)
        if state is State.unrendered:
            return await delivery_log.unrendered(db, which, limit=limit)
        return await delivery_log.find(db, which, limit=limit)

    found = with_database(find)
    show(
        [_document(entry) for entry in found],
        as_json=json,
        lines=lambda: "\n".join(map(_line, found)) or "There are none.",
    )


@commands.command("show")
@sentences
def show_(
    delivery_id: Annotated[int, typer.Argument(help="The delivery's id.")],
    json: Json = False,
) -> None:
    """Show a delivery, its body, and every try with the first KiB of its answer."""
    details, attempts = with_database(lambda db: delivery_log.show(db, delivery_id))
    document = {**_document(details), "attempts": [_document(attempt) for attempt in attempts]}

    def lines() -> str:
        head = [
            _line(details),
            f"  {details.method} {details.url}",
            f"  {details.content_type}, {details.order_key}",
        ]
        tries = [line for attempt in attempts for line in _attempt_lines(attempt)]
        return "\n".join([*head, "", _text(details.body), "", *tries])

    show(document, as_json=json, lines=lines)


@commands.command("retry")
@sentences
def retry(
    ids: Annotated[list[int] | None, typer.Argument(help="Deliveries, whatever became of them.")] = None,
    account: Account = None,
    state: StateOption = None,
    address: Address = None,
    since: Since = None,
    until: Until = None,
    from_event: FirstEvent = None,
    to_event: LastEvent = None,
    all_: Annotated[bool, typer.Option("--all", help="Really all in that state.")] = False,
    json: Json = False,
) -> None:
    """Send deliveries again: some by id, or all dead ones (or in another state) that match. Each gets all tries anew.

    With --state unrendered events are rendered again.
    """
    narrowed = any((account, address, since, until, from_event, to_event))
    if ids and (narrowed or state is not None or all_):
        fail("give either ids or a range, not both.")
    if not ids and not narrowed and not all_:
        fail("give ids, a range, or --all.")
    if state is State.disabled:
        fail("those wait for their address: zvonar deliveries enable.")

    async def again(db: Database) -> int:
        if ids:
            return sum([await delivery_log.retry_one(db, one, now=now()) for one in ids])
        wanted = state or State.dead
        which = await _filter(db, account, wanted, address, since, until, from_event, to_event)
        if wanted is State.unrendered:
            return await delivery_log.render_again(db, which)
        return await delivery_log.retry(db, which, now=now())

    count = with_database(again)
    show({"retried": count}, as_json=json, lines=lambda: f"{count} will be sent again.")


@commands.command("addresses")
@sentences
def addresses(account: Account = None, json: Json = False) -> None:
    """List the addresses that fail or are disabled."""

    async def find(db: Database) -> list[receivers.Receiver]:
        found = await accounts.named(db, account) if account is not None else None
        return await receivers.troubled(db, found.account_id if found else None)

    found = with_database(find)

    def lines() -> str:
        return "\n".join(
            f"account {one.account_id:<6} {'disabled, ' + one.reason if one.reason else 'failing':18} "
            f"since {(one.disabled_at or one.failing_since or now()):%Y-%m-%d %H:%M} UTC, {one.waiting} waiting  "
            f"{one.address}"
            for one in found
        )

    show([_document(one) for one in found], as_json=json, lines=lambda: lines() or "All addresses are well.")


@commands.command("enable")
@sentences
def enable(
    address: Annotated[str, typer.Argument(help="As deliveries addresses shows it.")],
    account: Annotated[str, typer.Option("--account", help="Whose address it is, by id or name.")],
    json: Json = False,
) -> None:
    """Send to a disabled address again, what has waited for it first."""

    async def change(db: Database) -> int:
        return await receivers.enable(db, (await accounts.named(db, account)).account_id, address, now=now())

    count = with_database(change)
    show(
        {"address": address, "reopened": count},
        as_json=json,
        lines=lambda: f"Enabled; {count} waited for it.",
    )


@commands.command("disable")
@sentences
def disable(
    address: Annotated[str, typer.Argument(help="The address as deliveries list shows it.")],
    account: Annotated[str, typer.Option("--account", help="Whose address it is, by id or name.")],
    json: Json = False,
) -> None:
    """Send nothing more to an address; what is for it waits until it is enabled."""

    async def change(db: Database) -> None:
        await receivers.disable(db, (await accounts.named(db, account)).account_id, address, now=now())

    with_database(change)
    show(
        {"address": address, "disabled": True}, as_json=json, lines=lambda: "Disabled; what is for it waits."
    )


async def _filter(
    db: Database,
    account: str | None,
    state: State | None,
    address: str | None,
    since: datetime | None,
    until: datetime | None,
    from_event: int | None,
    to_event: int | None,
) -> Filter:
    found = await accounts.named(db, account) if account is not None else None
    return Filter(
        account_id=found.account_id if found else None,
        state=str(state) if state not in (None, State.unrendered) else None,
        address=address,
        since=since.replace(tzinfo=UTC) if since else None,
        until=until.replace(tzinfo=UTC) if until else None,
        first_event=from_event,
        last_event=to_event,
    )


def _document(one: Any) -> dict[str, Any]:
    plain = {field: getattr(one, field) for field in one.__struct_fields__}
    return {
        key: value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
        for key, value in plain.items()
    }


def _text(raw: bytes) -> str:
    """What can be read of it; control characters are shown, not sent to the terminal."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(
        character if character.isprintable() or character == "\n" else ascii(character)[1:-1]
        for character in text.replace("\r\n", "\n")
    )


def _line(entry: Entry | UnrenderedEvent) -> str:
    if isinstance(entry, UnrenderedEvent):
        when = f"again at {entry.next_at:%Y-%m-%d %H:%M:%S} UTC" if entry.next_at else "given up"
        return f"event {entry.event_id:<10} {entry.kind:10} {entry.error}, tried {entry.tries} times, {when}"
    last = " ".join(str(part) for part in (entry.last_status, entry.last_error) if part is not None)
    return (
        f"{entry.delivery_id:<10} event {entry.event_id:<10} {entry.kind:10} {entry.state:10} "
        f"{entry.tries} tries {last:16} {entry.address}"
    )


def _attempt_lines(attempt: Attempt) -> list[str]:
    said = f"{attempt.status or 'no answer'}{', ' + attempt.error if attempt.error else ''}"
    first = f"#{attempt.attempt} {attempt.at:%Y-%m-%d %H:%M:%S} UTC, {attempt.latency} ms: {said}"
    return [first, *(f"   {line}" for line in _text(attempt.answer).splitlines())]
