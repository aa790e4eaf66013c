"""Who gets killed? A process that pushes, on the database that ZVONAR_TEST_DSN names.

It starts when a line comes on standard input, so that a test need not wait for its imports.
"""

import asyncio
import os
import sys

from zvonar.delivery.crm.pusher import CrmLimits
from zvonar.store.db import Database

from .world import pushing


async def main() -> None:
    # Leases that no time ends: what a killed process held can only be freed because it is known to be dead.
    limits = CrmLimits(poll=0.05, rest=1.0, lease=3600.0, pauses=0.01)
    async with Database(os.environ["ZVONAR_TEST_DSN"], size=4) as db, pushing(db, limits=limits) as stop:
        await stop.wait()


if __name__ == "__main__":
    sys.stdin.readline()
    asyncio.run(main())
