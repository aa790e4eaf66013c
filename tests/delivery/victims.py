"""Whom do tests kill? A process that works on deliveries: warm once made, at work once begun."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Victim:
    """The process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        await self.process.stdin.drain()

    async def kill(self) -> None:
        assert self.process.returncode is None, "it ended by itself"
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def victim(dsn: str, module: str, *, path: Path) -> AsyncIterator[Victim]:
    """A process of this module, found under the path."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        env={**os.environ, "ZVONAR_TEST_DSN": dsn, "PYTHONPATH": str(path)},
        stdin=asyncio.subprocess.PIPE,
    )
    try:
        yield Victim(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
