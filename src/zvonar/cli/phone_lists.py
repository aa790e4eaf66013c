"""`zvonar phone-list …`: how far is a list that was sent, and which of its rows were rejected?"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from zvonar.cli.common import fail, sentences, show, with_database
from zvonar.cli.imports import every_reject, in_russian, private, write_rejects
from zvonar.store import phone_lists
from zvonar.store.db import Database
from zvonar.store.phone_lists import PhoneList, Rejected

commands = typer.Typer(no_args_is_help=True)

ListId = Annotated[int, typer.Argument(help="Phone list id.", min=1, max=2**63 - 1)]


@commands.command("show")
@sentences
def show_(
    phone_list: ListId, json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False
) -> None:
    """How far a list is worked off."""

    async def looking(db: Database) -> PhoneList:
        return await phone_lists.get_any(db, phone_list)

    found = with_database(looking)
    document: dict[str, Any] = {
        "phone_list_id": found.phone_list_id,
        "campaign_id": found.campaign_id,
        **{name: getattr(found, name) for name in ("name", "state", "total", "done", "loaded", "rejected")},
        **{name: getattr(found, name) for name in ("error", "created_at", "updated_at", "finished_at")},
    }
    show(
        document,
        as_json=json,
        lines=lambda: "\n".join(f"{key:14} {value}" for key, value in document.items() if value is not None),
    )


@commands.command("retry")
@sentences
def retry(phone_list: ListId) -> None:
    """Let a list that failed go on where it stopped; the worker of the service does it."""

    async def retrying(db: Database) -> bool:
        return await phone_lists.retry(db, (await phone_lists.get_any(db, phone_list)).phone_list_id)

    if not with_database(retrying):
        fail("only a list that failed can be tried again.")
    typer.echo("A worker goes on with it in a moment.")


@commands.command("rejected")
@sentences
def rejected(
    phone_list: ListId,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write to this file instead.", dir_okay=False)
    ] = None,
) -> None:
    """The rows of a list that did not become calls, as CSV with line and reason."""

    async def reading(db: Database) -> list[Rejected]:
        found = await phone_lists.get_any(db, phone_list)
        return [row async for row in every_reject(db, found)]

    refused = with_database(reading)
    if out is None:
        write_rejects(sys.stdout, refused, russian=in_russian())
        return
    with private(out) as file:
        write_rejects(file, refused, russian=in_russian())
