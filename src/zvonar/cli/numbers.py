"""`zvonar number …`: on which numbers may an account be called, and what do callers hear?"""

from typing import Annotated, Any

import typer

from zvonar.cli.common import fail, now, sentences, show, with_database
from zvonar.core import phone as phones
from zvonar.core.campaign import Voice
from zvonar.core.inbound import Greeting
from zvonar.core.prompt import Prompt
from zvonar.store import accounts, dids, trunks
from zvonar.store.accounts import Account
from zvonar.store.db import Database
from zvonar.store.dids import Did

commands = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
OfAccount = Annotated[str, typer.Option("--account", help="Account id or name.")]
Number = Annotated[str, typer.Argument(help="The number, such as +74951234567.")]


@commands.command("add")
@sentences
def add(
    number: Number,
    account: OfAccount,
    text: Annotated[str | None, typer.Option(help="What callers hear; they are rejected without.")] = None,
    clip: Annotated[int | None, typer.Option("--clip", help="A clip to play instead of a text.")] = None,
    language: Annotated[str, typer.Option(help="In which the text is spoken.")] = "ru",
    json: Json = False,
) -> None:
    """Give an account a number on which it may be called, or change what callers hear there."""
    if text is not None and clip is not None:
        fail("callers hear a text or a clip, not both.")
    greeting = None
    if text is not None or clip is not None:
        greeting = Greeting(prompt=Prompt(text=text, clip_id=clip), voice=Voice(language=language)).checked()

    async def adding(db: Database) -> Did:
        owner = await accounts.named(db, account)
        return await dids.put(db, owner.account_id, await _e164(db, owner, number), greeting, now=now())

    _show(with_database(adding), json)


@commands.command("list")
@sentences
def list_(account: OfAccount, json: Json = False) -> None:
    """The numbers of an account."""

    async def listing(db: Database) -> list[Did]:
        return await dids.of_account(db, (await accounts.named(db, account)).account_id)

    found = with_database(listing)
    show(
        [_document(did) for did in found],
        as_json=json,
        lines=lambda: "\n".join(
            f"{did.phone}  {'answered' if did.greeting else 'rejected'}" for did in found
        ),
    )


@commands.command("remove")
@sentences
def remove(number: Number, account: OfAccount) -> None:
    """Take a number from an account."""

    async def removing(db: Database) -> None:
        owner = await accounts.named(db, account)
        await dids.remove(db, owner.account_id, await _e164(db, owner, number))

    with_database(removing)


async def _e164(db: Database, owner: Account, number: str) -> str:
    """As carriers will call it: an account's number need not be one that it may dial."""
    country = next(iter(owner.countries), "")
    return phones.parse(number, country=country, trial=await trunks.has_trial(db)).e164


def _document(did: Did) -> dict[str, Any]:
    greeting = did.greeting
    return {
        "phone": did.phone,
        "account_id": did.account_id,
        "text": None if greeting is None else greeting.prompt.text,
        "clip_id": None if greeting is None else greeting.prompt.clip_id,
    }


def _show(did: Did, as_json: bool) -> None:
    document = _document(did)
    show(document, as_json=as_json, lines=lambda: f"{did.phone} belongs to account {did.account_id}.")
