"""`zvonar tariff …`: what does a call cost, by where it goes?"""

from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from zvonar.cli.common import fail, sentences, show, with_database
from zvonar.core.money import Rate
from zvonar.store import tariffs
from zvonar.store.tariffs import PriceList

commands = typer.Typer(no_args_is_help=True)

EVERYWHERE = "*"

Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Name = Annotated[
    str, typer.Argument(help="Of the price list; accounts have `default` unless told otherwise.")
]
Prefix = Annotated[
    str, typer.Argument(help=f"How numbers begin, such as 7495; {EVERYWHERE} is every other number.")
]


@commands.callback()
def group() -> None:
    """Price lists."""


@commands.command("set")
@sentences
def set_(
    name: Name,
    prefix: Prefix,
    per_minute: Annotated[str, typer.Option(help="Price of a minute.")],
    connection_fee: Annotated[str, typer.Option(help="Price of an answer.")] = "0",
    first_interval: Annotated[int, typer.Option(help="Seconds that are paid at least.", min=1)] = 1,
    step: Annotated[int, typer.Option(help="Seconds that are paid at a time.", min=1)] = 1,
) -> None:
    """Set the price of calls to a prefix; the longest one counts. A list that is not there yet is made."""
    if not name.strip() or len(name) > 100 or not name.isprintable():
        fail("a price list's name is 1 to 100 characters.")
    rate = Rate(
        prefix=_digits(prefix),
        per_minute=_price(per_minute),
        connection_fee=_price(connection_fee),
        first_interval=first_interval,
        step=step,
    ).checked()
    with_database(lambda db: tariffs.put(db, name.strip(), rate))


@commands.command("remove")
@sentences
def remove(name: Name, prefix: Prefix) -> None:
    """Take a price away: what no other prefix of the list covers is not dialled any more."""
    with_database(lambda db: tariffs.remove(db, name.strip(), _digits(prefix)))


@commands.command("list")
@sentences
def list_(json: Json = False) -> None:
    """Every price list."""
    found = with_database(tariffs.every)
    documents = [
        {
            "name": one.name,
            "rates": [
                {
                    "prefix": rate.prefix or EVERYWHERE,
                    "per_minute": rate.per_minute,
                    "connection_fee": rate.connection_fee,
                    "first_interval": rate.first_interval,
                    "step": rate.step,
                }
                for rate in one.rates
            ],
        }
        for one in found
    ]
    show(documents, as_json=json, lines=lambda: "\n".join(line for one in found for line in _lines(one)))


def _lines(one: PriceList) -> list[str]:
    priced = [
        f"  {rate.prefix or EVERYWHERE:16} {rate.per_minute} a minute, {rate.connection_fee} an answer, "
        f"{rate.first_interval} s at least, by {rate.step} s"
        for rate in one.rates
    ]
    return [one.name, *priced]


def _digits(prefix: str) -> str:
    return "" if prefix == EVERYWHERE else prefix.removeprefix("+")


def _price(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        fail(f"a price is an amount such as 1.80, not {text!r}.")
