"""Who gets killed? A worker in a process of its own, on the database that ZVONAR_TEST_DSN names.

It starts when a line comes on standard input, so that a test need not wait for its imports.
"""

import asyncio
import os
import sys

from zvonar.delivery.lanes import Limits
from zvonar.store.db import Database

from .world import worker


async def main() -> None:
    # Leases that no time ends: what a killed worker held can only be freed because it is known to be dead.
    limits = Limits(poll=0.05, lease=3600.0)
    async with (
        Database(os.environ["ZVONAR_TEST_DSN"], size=4) as db,
        worker(db, limits=limits) as stop,
    ):
        await stop.wait()


if __name__ == "__main__":
    sys.stdin.readline()
    asyncio.run(main())
