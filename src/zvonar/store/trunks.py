"""Over which SIP routes may calls go out, and how much do they bear?"""

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct
from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from zvonar.core.errors import NameTaken
from zvonar.store.db import Database


class Trunk(Struct, frozen=True, kw_only=True):
    """A SIP route with its limits. Secrets are never here: `settings` names the file that holds one."""

    trunk_id: int
    account_id: int | None  # None serves every account
    name: str
    gateway: str
    settings: dict[str, Any]  # host, port, username, from_domain, codecs, secret_file, …
    trial: bool
    enabled: bool
    priority: int  # lower is tried first
    max_channels: int
    calls_per_second: Decimal  # 0 is no limit
    caller_ids: list[str]
    in_use: int


_TRUNK = """trunk_id, account_id, name, gateway, settings, trial, enabled, priority, max_channels, calls_per_second,
    caller_ids, in_use"""

# Every trunk of a gateway, in the order in which they are tried.
OF_GATEWAY = f"SELECT {_TRUNK} FROM trunks WHERE gateway = %(gateway)s ORDER BY priority, trunk_id"

# A new trunk, or the same one with new settings (by name).
PUT = f"""
INSERT INTO trunks (account_id, name, gateway, settings, trial, enabled, priority, max_channels, calls_per_second,
                    caller_ids)
VALUES (%(account_id)s, %(name)s, %(gateway)s, %(settings)s, %(trial)s, %(enabled)s, %(priority)s, %(max_channels)s,
        %(calls_per_second)s, %(caller_ids)s)
ON CONFLICT (name) DO UPDATE SET account_id = excluded.account_id, gateway = excluded.gateway,
    settings = excluded.settings, trial = excluded.trial, enabled = excluded.enabled, priority = excluded.priority,
    max_channels = excluded.max_channels, calls_per_second = excluded.calls_per_second,
    caller_ids = excluded.caller_ids
RETURNING {_TRUNK}
"""

# Whether town numbers count as numbers at all.
HAS_TRIAL = "SELECT EXISTS (SELECT FROM trunks WHERE trial AND enabled)"

# The numbers that an account's calls may show, over any trunk that may carry them.
CALLER_IDS = """
SELECT caller_ids FROM trunks
WHERE enabled AND trial = %(trial)s AND (account_id IS NULL OR account_id = %(account_id)s)
ORDER BY priority, trunk_id
"""

DISABLE_TRIAL = "UPDATE trunks SET enabled = false WHERE trial"


class _Pool(Struct, frozen=True, kw_only=True):
    caller_ids: list[str]


class NewTrunk(Struct, frozen=True, kw_only=True):
    """A trunk as the operator describes it."""

    name: str
    settings: dict[str, Any]
    max_channels: int = 30
    calls_per_second: Decimal = Decimal(0)
    caller_ids: list[str] = msgspec.field(default_factory=list)
    account_id: int | None = None
    gateway: str = "gateway"
    trial: bool = False
    enabled: bool = True
    priority: int = 100


async def put(db: Database, new: NewTrunk) -> Trunk:
    """Store a trunk under its name."""
    params = {**msgspec.structs.asdict(new), "settings": Jsonb(new.settings)}
    try:
        stored = await db.row(Trunk, PUT, params)
    except UniqueViolation:
        raise NameTaken(new.name) from None
    assert stored is not None
    return stored


async def of_gateway(db: Database, gateway: str) -> list[Trunk]:
    """The gateway's trunks, first choice first."""
    return await db.rows(Trunk, OF_GATEWAY, {"gateway": gateway})


async def has_trial(db: Database) -> bool:
    """Whether the trial phone network is connected."""
    return bool(await db.value(HAS_TRIAL))


async def caller_ids(db: Database, account_id: int, *, trial: bool) -> list[str]:
    """The pools of all trunks that may carry this account's calls. `trial`: of the trial network, or of none."""
    found = await db.rows(_Pool, CALLER_IDS, {"account_id": account_id, "trial": trial})
    return [entry for pool in found for entry in pool.caller_ids]


async def disable_trial(db: Database) -> None:
    """Disconnect the trial phone network: its numbers are no numbers any more."""
    await db.execute(DISABLE_TRIAL)
