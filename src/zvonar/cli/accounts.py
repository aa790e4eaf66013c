"""`zvonar account …`: who may call, with which keys?"""

from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from zvonar.cli.common import fail, now, sentences, show, with_database
from zvonar.core.control import parse_caps
from zvonar.core.phone import parse
from zvonar.delivery.letters import checked_email
from zvonar.service.operations import add_account
from zvonar.store import accounts, webhook_secrets
from zvonar.store.db import Database
from zvonar.store.webhook_secrets import Secret

commands = typer.Typer(no_args_is_help=True)


@commands.callback()
def group() -> None:
    """Tenants and their keys."""


@commands.command("add")
@sentences
def add(
    name: Annotated[str, typer.Argument(help="Unique name.")],
    balance: Annotated[str, typer.Option(help="Opening balance.")] = "0",
    currency: Annotated[str, typer.Option(help="ISO 4217.")] = "RUB",
    timezone: Annotated[str, typer.Option(help="IANA time zone.")] = "Europe/Moscow",
    countries: Annotated[str, typer.Option(help="Where it may call, ISO 3166-1, comma-separated.")] = "RU,KZ",
    email: Annotated[str | None, typer.Option(help="Whom to tell what goes wrong.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Add an account. Its keys are shown now and never again."""
    try:
        amount = Decimal(balance)
    except InvalidOperation:
        fail(f"a balance is an amount such as 100.50, not {balance!r}.")
    added = with_database(
        lambda db: add_account(
            db,
            name=name,
            balance=amount,
            currency=currency,
            timezone=timezone,
            countries=countries.split(","),
            email=email,
            now=now(),
        )
    )

    def lines() -> str:
        flat: dict[str, Any] = {key: value for key, value in added.items() if key != "amocrm"}
        flat |= {f"amocrm {key}": value for key, value in added["amocrm"].items()}
        return "\n".join(f"{key:20} {value}" for key, value in flat.items())

    show(added, as_json=json, lines=lines)


@commands.command("set")
@sentences
def set_(
    account: Annotated[str, typer.Argument(help="Its id or name.")],
    email: Annotated[str | None, typer.Option(help="Whom to tell what goes wrong; empty for nobody.")] = None,
    phone: Annotated[
        str | None, typer.Option(help="Where texts to the owner go, +74951234567; empty for nowhere.")
    ] = None,
    caps: Annotated[
        str | None,
        typer.Option(
            help="How often all campaigns may dial one number, such as 1/1d,2/7d; empty for no caps."
        ),
    ] = None,
    moderated: Annotated[
        bool | None, typer.Option("--moderated/--not-moderated", help="Campaigns run once they are approved.")
    ] = None,
    tariff: Annotated[str | None, typer.Option(help="The price list that it pays by.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Change an account; what is not given stays as it is."""
    if email is None and phone is None and caps is None and moderated is None and tariff is None:
        fail("give --email, --phone, --caps, --moderated or --tariff.")
    wanted = checked_email(email) if email else None
    limits = None if caps is None else parse_caps(caps)

    async def change(db: Database) -> accounts.Account:
        found = await accounts.named(db, account)
        if email is not None:
            found = await accounts.set_email(db, found.account_id, wanted)
        if phone is not None:
            number = parse(phone, country=next(iter(found.countries), ""), trial=True).e164 if phone else None
            found = await accounts.set_phone(db, found.account_id, number)
        if tariff is not None:
            found = await accounts.set_tariff(db, found.account_id, tariff)
        if limits is not None or moderated is not None:
            found = await accounts.set_control(
                db,
                found.account_id,
                moderated=found.moderated if moderated is None else moderated,
                caps=found.caps if limits is None else limits,
            )
        return found

    changed = with_database(change)
    document = {
        "account_id": changed.account_id,
        "name": changed.name,
        "email": changed.email,
        "phone": changed.phone,
        "moderated": changed.moderated,
        "caps": [{"attempts": cap.attempts, "seconds": cap.seconds} for cap in changed.caps],
    }

    def lines() -> str:
        often = ", ".join(f"{cap.attempts} in {cap.seconds} s" for cap in changed.caps)
        return "\n".join(
            [
                f"Account {changed.name} hears of trouble at {changed.email or '-'}, "
                f"and gets texts at {changed.phone or '-'}.",
                f"Its campaigns dial one number at most {often or 'as often as each allows'}.",
                f"Its campaigns {'wait for approval' if changed.moderated else 'need no approval'}.",
            ]
        )

    show(document, as_json=json, lines=lines)


@commands.command("webhook-secret")
@sentences
def webhook_secret(
    account: Annotated[str, typer.Argument(help="Its id or name.")],
    rotate: Annotated[bool, typer.Option("--rotate", help="Make a new one.")] = False,
    overlap: Annotated[
        float, typer.Option(help="Hours for which the old one also signs.", min=0, max=24 * 365)
    ] = 24.0,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show the secrets that webhooks are signed with (Standard Webhooks), or replace the current one."""

    async def secrets_of(db: Database) -> tuple[int, list[Secret]]:
        found = await accounts.named(db, account)
        if rotate:
            made = await webhook_secrets.rotate(
                db, found.account_id, overlap=timedelta(hours=overlap), now=now()
            )
            return found.account_id, made
        return found.account_id, await webhook_secrets.live(db, found.account_id, now=now())

    account_id, live = with_database(secrets_of)
    document = {
        "account_id": account_id,
        "secret": live[0].secret,
        "previous": [{"secret": old.secret, "until": old.expires_at} for old in live[1:]],
    }

    def lines() -> str:
        old = [f"{one.secret}  also signs until {one.expires_at:%Y-%m-%d %H:%M} UTC" for one in live[1:]]
        return "\n".join([live[0].secret, *old])

    show(document, as_json=json, lines=lines)
