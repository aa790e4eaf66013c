"""Who gets killed? A worker in a process of its own, on the database that ZVONAR_TEST_DSN names, soon missed."""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime

from zvonar.intake import jobs
from zvonar.store.db import Database


async def main() -> None:
    jobs.HEARTBEAT, jobs.DEAD, jobs.LOOK = 0.2, 1.0, 0.2
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    dsn = os.environ["ZVONAR_TEST_DSN"]
    async with Database(dsn, size=4) as db:
        command = [sys.executable, "-m", "intake.importer"]
        worker = jobs.Worker(db, dsn, command=command, log_level="info", clock=lambda: datetime.now(UTC))
        await worker.run(stop)


if __name__ == "__main__":
    asyncio.run(main())
