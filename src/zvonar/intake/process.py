"""What does the process of one list do? It works the list off until it is told to stop, or its worker is gone."""

import asyncio
import os
import signal
from datetime import UTC, datetime

from msgspec import Struct

from zvonar.intake.load import Ended, work
from zvonar.store.db import Database, StoreUnavailable

CONFIG = "ZVONAR_INTAKE"  # the environment variable that carries a Config
STOPPED = 3  # exit code: told to stop, something is left
OVERTAKEN = 4  # exit code: another process works on the same list
AWAY = 5  # exit code: the database does not answer
_CODES = {Ended.finished: 0, Ended.stopped: STOPPED, Ended.overtaken: OVERTAKEN}
_NICE = 5  # whoever waits for an answer of the service goes first
_LIFELINE = 0  # standard input: it ends when the worker does


class Config(Struct, frozen=True, kw_only=True):
    """What the worker tells its processes."""

    dsn: str
    log_level: str


async def run(config: Config, account_id: int, phone_list_id: int) -> int:
    """Work the list off; the exit code."""
    os.nice(_NICE)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def gone() -> None:
        loop.remove_reader(_LIFELINE)
        stop.set()

    loop.add_reader(_LIFELINE, gone)
    try:
        async with Database(config.dsn, size=2) as db:
            return _CODES[await work(db, account_id, phone_list_id, stop=stop, clock=_now)]
    except StoreUnavailable:
        return AWAY


def _now() -> datetime:
    return datetime.now(UTC)
