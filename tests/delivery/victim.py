"""Who gets killed? A worker in a process of its own, on the database that ZVONAR_TEST_DSN names."""

import asyncio
import os

from zvonar.delivery.lanes import Limits
from zvonar.store.db import Database

from .world import worker


async def main() -> None:
    limits = Limits(poll=0.05, lease=1.0)
    async with (
        Database(os.environ["ZVONAR_TEST_DSN"], size=4) as db,
        worker(db, limits=limits, timeout=0.5) as stop,
    ):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
