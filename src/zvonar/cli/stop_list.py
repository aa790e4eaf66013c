"""`zvonar stop-list …`: which numbers does this installation never call, whoever asks?"""

from typing import Annotated, Any

import typer

from zvonar.cli.common import now, sentences, show, with_database
from zvonar.core import phone as phones
from zvonar.store import stoplist, trunks
from zvonar.store.db import Database

commands = typer.Typer(no_args_is_help=True)

Number = Annotated[str, typer.Argument(help="The number, such as +74951234567.")]


@commands.callback()
def group() -> None:
    """Numbers that no account may call; accounts have lists of their own beside it."""


@commands.command("add")
@sentences
def add(
    number: Number,
    reason: Annotated[str | None, typer.Option(help="Why, for whoever reads the list.")] = None,
) -> None:
    """Never call a number, for nobody; calls to it that wait are ended when their turn comes."""

    async def adding(db: Database) -> None:
        await stoplist.put_globally(db, await _e164(db, number), reason=reason, now=now())

    with_database(adding)


@commands.command("remove")
@sentences
def remove(number: Number) -> None:
    """Let accounts call a number again."""

    async def removing(db: Database) -> None:
        await stoplist.delete_globally(db, await _e164(db, number))

    with_database(removing)


@commands.command("list")
@sentences
def list_(json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False) -> None:
    """The numbers that nobody calls."""
    found = with_database(stoplist.globally)
    documents: list[dict[str, Any]] = [
        {"phone": one.phone, "reason": one.reason, "created_at": one.created_at} for one in found
    ]
    show(
        documents,
        as_json=json,
        lines=lambda: "\n".join(f"{one.phone}  {one.reason or ''}".rstrip() for one in found),
    )


async def _e164(db: Database, number: str) -> str:
    """As it is dialled; nobody's country helps to read a national form."""
    return phones.parse(number, country="", trial=await trunks.has_trial(db)).e164
