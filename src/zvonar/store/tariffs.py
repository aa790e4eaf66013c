"""Which price lists are there, and what do they say? Each is a set of prefixes; accounts have one each."""

from msgspec import Struct, structs

from zvonar.core.errors import NotFound
from zvonar.core.money import Rate
from zvonar.store.db import Database, rows

# A price list of this name, made where there is none. The name's own row is locked, so that it stays.
NAMED = """
INSERT INTO tariffs (name) VALUES (%(name)s)
ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING tariff_id
"""

PUT = """
INSERT INTO tariff_rates (tariff_id, prefix, per_minute, connection_fee, first_interval, step)
VALUES (%(tariff_id)s, %(prefix)s, %(per_minute)s, %(connection_fee)s, %(first_interval)s, %(step)s)
ON CONFLICT (tariff_id, prefix) DO UPDATE SET per_minute = excluded.per_minute,
    connection_fee = excluded.connection_fee, first_interval = excluded.first_interval, step = excluded.step
"""

REMOVE = """
DELETE FROM tariff_rates USING tariffs
WHERE tariffs.tariff_id = tariff_rates.tariff_id AND name = %(name)s AND prefix = %(prefix)s
"""

EVERY = "SELECT tariff_id, name FROM tariffs ORDER BY name"

RATES = """
SELECT prefix, per_minute, connection_fee, first_interval, step FROM tariff_rates
WHERE tariff_id = %(tariff_id)s ORDER BY prefix
"""


class PriceNotFound(NotFound):
    """The price list has no price for this prefix."""


class PriceList(Struct, frozen=True, kw_only=True):
    """Prices by prefix, under a name."""

    name: str
    rates: list[Rate]


class _Named(Struct, frozen=True, kw_only=True):
    tariff_id: int
    name: str


async def put(db: Database, name: str, rate: Rate) -> None:
    """Set one price of a list, and make the list where there is none. Raises SettingsInvalid.

    Calls that have been placed are billed by the price that they were placed with.
    """
    priced = structs.asdict(rate.checked())
    async with db.transaction() as connection:
        found = await (await connection.execute(NAMED, {"name": name})).fetchone()
        assert found is not None
        await connection.execute(PUT, {**priced, "tariff_id": found[0]})


async def remove(db: Database, name: str, prefix: str) -> None:
    """Take one price out of a list: what no other prefix covers is not dialled any more. Raises PriceNotFound."""
    if await db.execute(REMOVE, {"name": name, "prefix": prefix}) == 0:
        raise PriceNotFound()


async def every(db: Database) -> list[PriceList]:
    """All price lists, by name."""
    async with db.connection() as connection:
        found = await rows(connection, _Named, EVERY, {})
        return [
            PriceList(name=one.name, rates=await rows(connection, Rate, RATES, {"tariff_id": one.tariff_id}))
            for one in found
        ]
