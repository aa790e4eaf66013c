"""`zvonar key …`: with which keys, from where, may reports be asked for?"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from zvonar.cli.common import fail, now, sentences, show, with_database
from zvonar.dialects.uis.who import KEY_KIND, LOGIN_KIND
from zvonar.service.operations import new_report_key
from zvonar.store import accounts, keys, recording_links
from zvonar.store.accounts import Account
from zvonar.store.db import Database

commands = typer.Typer(no_args_is_help=True)

Of = Annotated[str, typer.Argument(help="The account's id or name.")]
Key = Annotated[str, typer.Argument(help="The key's name, as `key list` shows it.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow", help="Network that it may be used from; 0.0.0.0/0 is all. Several times for several."
    ),
]


@commands.callback()
def group() -> None:
    """Keys for reports, and what else opens an account to their readers."""


def _with(account: str, work: Callable[[Database, Account], Awaitable[Any]]) -> Any:
    async def doing(db: Database) -> Any:
        return await work(db, await accounts.named(db, account))

    return with_database(doing)


@commands.command("list")
@sentences
def list_(account: Of, json: Json = False) -> None:
    """The account's keys. A key itself is shown once, when it is made."""
    found = _with(account, lambda db, own: keys.of_account(db, own.account_id, kind=KEY_KIND))
    document = [
        {
            "key": one.key,
            "created_at": one.created_at,
            "expires_at": one.expires_at,
            "blocked": one.blocked_at is not None,
            "networks": one.networks,
        }
        for one in found
    ]

    def line(one: dict[str, Any]) -> str:
        until = f"until {one['expires_at']:%Y-%m-%d %H:%M} UTC" if one["expires_at"] else "permanent"
        where = "everywhere" if one["networks"] is None else ", ".join(one["networks"])
        return f"{one['key']}  {until}  {where}{'  blocked' if one['blocked'] else ''}"

    show(document, as_json=json, lines=lambda: "\n".join(map(line, document)) or "There are no keys.")


@commands.command("add")
@sentences
def add(
    account: Of,
    allow: Allow = None,
    until: Annotated[str | None, typer.Option(help="ISO 8601, the end of a temporary key.")] = None,
    json: Json = False,
) -> None:
    """Make a key. Unless told otherwise it may be used from this machine only."""
    try:
        ends = None if until is None else datetime.fromisoformat(until)
    except ValueError:
        fail(f"an end is a time such as 2027-01-31T18:00:00+03:00, not {until!r}.")
    if ends is not None and ends.tzinfo is None:
        ends = ends.replace(tzinfo=UTC)
    allowed = keys.networks(allow) if allow else list(keys.LOOPBACK)

    async def work(db: Database, own: Account) -> str:
        return await keys.issue(
            db, own.account_id, kind=KEY_KIND, key=new_report_key(), expires_at=ends, allowed=allowed
        )

    made = _with(account, work)
    document = {"uis_access_token": made, "expires_at": ends, "networks": allowed}
    show(document, as_json=json, lines=lambda: made)


@commands.command("allow")
@sentences
def allow_(
    account: Of, key: Key, networks: Annotated[list[str], typer.Argument(help="All of them.")]
) -> None:
    """Say from where a key may be used; `login` instead of a key means the account's login."""
    allowed = keys.networks(networks)

    async def work(db: Database, own: Account) -> None:
        if key == "login":
            await keys.set_login_networks(db, own.account_id, allowed, kind=LOGIN_KIND)
        else:
            await keys.change(db, own.account_id, kind=KEY_KIND, key=key, now=now(), allowed=allowed)

    _with(account, work)
    typer.echo(f"May be used from {', '.join(allowed)}.")


@commands.command("block")
@sentences
def block(
    account: Of, key: Key, off: Annotated[bool, typer.Option("--off", help="Open it again.")] = False
) -> None:
    """Block a key; whoever uses it is told so."""
    _with(
        account,
        lambda db, own: keys.change(db, own.account_id, kind=KEY_KIND, key=key, now=now(), blocked=not off),
    )
    typer.echo("Open." if off else "Blocked.")


@commands.command("close")
@sentences
def close(account: Of, off: Annotated[bool, typer.Option("--off", help="Open it again.")] = False) -> None:
    """Close an account: none of its keys opens anything."""
    _with(account, lambda db, own: keys.set_active(db, own.account_id, off, now=now()))
    typer.echo("Open." if off else "Closed.")


@commands.command("customer")
@sentences
def customer(
    account: Of, of: Annotated[str, typer.Argument(help="The customer's id or name.")], json: Json = False
) -> None:
    """Make an account an agent that acts for another one; shows the user_id by which it does."""

    async def work(db: Database, own: Account) -> int:
        other = await accounts.named(db, of)
        if other.account_id == own.account_id:
            fail("nobody is his own customer.")
        return await keys.add_customer(db, own.account_id, other.account_id)

    user_id = _with(account, work)
    show({"user_id": user_id}, as_json=json, lines=lambda: f"user_id {user_id}")


@commands.command("revoke-recordings")
@sentences
def revoke_recordings(
    account: Of, communication: Annotated[int, typer.Argument(help="communication_id, as reports show it.")]
) -> None:
    """Let the links to a call's recordings open nothing any more."""
    count = _with(
        account, lambda db, own: recording_links.revoke(db, own.account_id, communication, now=now())
    )
    typer.echo(f"{count} links revoked.")
