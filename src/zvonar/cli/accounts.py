"""`zvonar account …`: who may call, with which keys?"""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from zvonar.cli.common import fail, now, sentences, show, with_database
from zvonar.service.operations import add_account

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
            now=now(),
        )
    )

    def lines() -> str:
        flat: dict[str, Any] = {key: value for key, value in added.items() if key != "amocrm"}
        flat |= {f"amocrm {key}": value for key, value in added["amocrm"].items()}
        return "\n".join(f"{key:20} {value}" for key, value in flat.items())

    show(added, as_json=json, lines=lines)
