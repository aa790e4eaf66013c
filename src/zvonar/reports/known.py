"""What does the account know of a session beside the line? Whose number it was, from which region, by which scenario.

What was told of the session itself goes before.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from zvonar.reports import regions
from zvonar.reports.writing import Row
from zvonar.store.db import Connection, rows

# Who has these numbers in the account's address book; of several the one that was there first.
CONTACTS = """
SELECT t.account_id, t.phone, e.card_id AS contact_id, e.name
FROM unnest(%(accounts)s::bigint[], %(phones)s::text[]) AS t (account_id, phone)
CROSS JOIN LATERAL (SELECT kind, card_id FROM crm_phones p
    WHERE p.account_id = t.account_id AND p.tail = crm_tail(t.phone) AND p.kind = 'contact'
    ORDER BY kind, card_id LIMIT 1) p
JOIN crm_entities e ON e.account_id = t.account_id AND e.kind = p.kind AND e.card_id = p.card_id
"""

# What is said of those who are called: {{name}} and its kin in texts.
VARIABLES = """
SELECT account_id, call_id, overrides -> 'variables' AS variables FROM calls
WHERE account_id = ANY(%(accounts)s::bigint[]) AND call_id = ANY(%(call_ids)s::bigint[])
  AND jsonb_typeof(overrides -> 'variables') = 'object'
"""

# Scenarios that campaigns have a copy of.
SCENARIOS = """
SELECT g.account_id, g.campaign_id, s.scenario_id, s.name FROM campaigns g
JOIN scenarios s ON s.account_id = g.account_id AND s.scenario_id = (g.settings ->> 'scenario_id')::bigint
WHERE g.account_id = ANY(%(accounts)s::bigint[]) AND g.campaign_id = ANY(%(campaigns)s::bigint[])
"""

# Under which of a call's variables its subscriber's name is, the fullest first.
NAMES = ("full_name", "fio", "фио", "name", "имя")


class _Contact(Struct, frozen=True, kw_only=True):
    account_id: int
    phone: str
    contact_id: int
    name: str


class _Variables(Struct, frozen=True, kw_only=True):
    account_id: int
    call_id: int
    variables: dict[str, Any]

    def name(self) -> str | None:
        """The subscriber's."""
        said = {name.casefold(): value for name, value in self.variables.items()}
        return next(
            (value for name in NAMES if isinstance(value := said.get(name), str) and value.strip()), None
        )


class _Scenario(Struct, frozen=True, kw_only=True):
    account_id: int
    campaign_id: int
    scenario_id: int
    name: str


async def dress(connection: Connection, made: Sequence[Row]) -> None:
    """Give these rows, of sessions on our lines, what is known."""
    await regions.prepare()
    for row in made:
        region = regions.region_of(row.get("contact_phone_number") or "")
        if region is not None and "cpn_region_id" not in row and "cpn_region_name" not in row:
            row.update(cpn_region_id=region.id, cpn_region_name=region.name)
    await contacts(connection, made)
    await _called(connection, made)
    await _scenarios(connection, made)


async def contacts(connection: Connection, made: Sequence[Row]) -> None:
    """Say whose number it was, by the account's address book."""
    nameless = [row for row in made if row.get("contact_phone_number") and not _named(row)]
    pairs = sorted({(row["account_id"], row["contact_phone_number"]) for row in nameless})
    if not pairs:
        return
    asked = {"accounts": [account for account, _ in pairs], "phones": [phone for _, phone in pairs]}
    found = {(one.account_id, one.phone): one for one in await rows(connection, _Contact, CONTACTS, asked)}
    for row in nameless:
        one = found.get((row["account_id"], row["contact_phone_number"]))
        if one is not None:
            row.update(contact_id=one.contact_id, contact_full_name=one.name)


def _named(row: Row) -> bool:
    return row.get("contact_id") is not None or row.get("contact_full_name") is not None


async def _called(connection: Connection, made: Sequence[Row]) -> None:
    nameless = [row for row in made if row.get("call_id") is not None and not _named(row)]
    if not nameless:
        return
    asked = {
        "accounts": sorted({row["account_id"] for row in nameless}),
        "call_ids": sorted({row["call_id"] for row in nameless}),
    }
    found = await rows(connection, _Variables, VARIABLES, asked)
    names = {(one.account_id, one.call_id): one.name() for one in found}
    for row in nameless:
        if name := names.get((row["account_id"], row["call_id"])):
            row["contact_full_name"] = name


async def _scenarios(connection: Connection, made: Sequence[Row]) -> None:
    """A campaign whose script is a copy of a scenario is led by that; others are by their own."""
    led = [row for row in made if row.get("scenario_id") is not None and "dial_campaign_id" in row]
    led = [row for row in led if row["scenario_id"] == row["dial_campaign_id"]]
    if not led:
        return
    asked = {
        "accounts": sorted({row["account_id"] for row in led}),
        "campaigns": sorted({row["dial_campaign_id"] for row in led}),
    }
    found = await rows(connection, _Scenario, SCENARIOS, asked)
    named = {(one.account_id, one.campaign_id): one for one in found}
    for row in led:
        if one := named.get((row["account_id"], row["dial_campaign_id"])):
            row.update(scenario_id=one.scenario_id, scenario_name=one.name)
