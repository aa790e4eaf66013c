"""Which dialer is the gateway's own? The one that holds the newest epoch; older ones are fenced off.

A second WebSocket of the same application does not fence the first one in Asterisk, so the store must.
"""

from datetime import datetime

from zvonar.core.errors import ZvonarError
from zvonar.store.db import Connection, Database


class Fenced(ZvonarError):
    """Another dialer has taken this gateway over; this one must not place calls any more."""


# A new dialer takes the gateway; whoever held it before is fenced from this commit on.
CLAIM = """
INSERT INTO dialer_epochs (gateway, epoch, started_at) VALUES (%(gateway)s, nextval('epochs'), %(now)s)
ON CONFLICT (gateway) DO UPDATE SET epoch = excluded.epoch, started_at = excluded.started_at
RETURNING epoch
"""

# Calls whose legs were up when the old dialer went are the new one's: it may have to place their next leg.
ADOPT = """
UPDATE calls c SET lease_epoch = %(epoch)s FROM legs l
WHERE l.gateway = %(gateway)s AND l.ended_at IS NULL AND l.direction = 'out'
  AND c.account_id = l.account_id AND c.call_id = l.call_id AND c.state IN ('dialing', 'talking')
"""

# Leases of dialers that are no more: their calls may be leased again.
FREE_STALE_LEASES = """
UPDATE calls SET lease_epoch = NULL
WHERE lease_epoch IS NOT NULL AND lease_epoch NOT IN (SELECT epoch FROM dialer_epochs)
  AND state IN ('queued', 'waiting')
"""

CURRENT = "SELECT epoch FROM dialer_epochs WHERE gateway = %(gateway)s"


async def claim(db: Database, gateway: str, *, now: datetime) -> int:
    """Become the gateway's dialer; the epoch to act under. Waits for what the old one is just committing."""
    async with db.transaction() as connection:
        found = await (await connection.execute(CLAIM, {"gateway": gateway, "now": now})).fetchone()
        assert found is not None
        epoch = int(found[0])
        await connection.execute(ADOPT, {"gateway": gateway, "epoch": epoch})
        await connection.execute(FREE_STALE_LEASES)
    return epoch


async def check(connection: Connection, gateway: str, epoch: int) -> None:
    """Raise Fenced unless `epoch` is still the gateway's."""
    found = await (await connection.execute(CURRENT, {"gateway": gateway})).fetchone()
    if found is None or found[0] != epoch:
        raise Fenced()
