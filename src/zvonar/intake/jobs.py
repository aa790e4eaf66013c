"""Who works lists off, and who notices that nobody does? A job for each list, done by a process that a worker starts.

The jobs are Procrastinate's, in the transaction that accepts the list. Judging a million rows in the worker itself
would hold up its deliveries, so each list gets a process of its own, which ends when its worker does.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import procrastinate
import psycopg
import structlog
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import DeleteJobCondition, Job

from zvonar.intake.process import AWAY, CONFIG, OVERTAKEN, STOPPED, Config
from zvonar.store import phone_lists
from zvonar.store.db import Connection, Database, StoreUnavailable

log = structlog.get_logger(__name__)

QUEUE = "intake"
TASK = "zvonar.intake.load"
HEARTBEAT = 3.0  # seconds between two signs of life of a worker
DEAD = 12.0  # seconds without one after which its jobs go to another
LOOK = 5.0  # seconds between two looks for what was left behind
IDLE = timedelta(seconds=60)  # after which a list that nobody comes on with gets a job
_AT_ONCE = 1  # lists of one worker; the machine's other cores are the database's and the callers'
_AGAIN = 5  # seconds before a process that died is tried again
_DRAIN = 30.0  # seconds that a process is given for its batch


class LoaderStopped(Exception):
    """The process stopped at a batch because its worker is stopping; another one goes on."""


class LoaderDied(Exception):
    """The process ended before its list did."""


class _Patience(procrastinate.BaseRetryStrategy):
    """A list is given up by its own count of tries, never by its job's."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> procrastinate.RetryDecision | None:
        if isinstance(exception, LoaderStopped):
            return procrastinate.RetryDecision()
        return procrastinate.RetryDecision(retry_in={"seconds": _AGAIN})


def _app(connector: procrastinate.PsycopgConnector, load: Callable[..., Any]) -> procrastinate.App:
    app = procrastinate.App(connector=connector)
    app.task(name=TASK, queue=QUEUE, retry=_Patience())(load)
    return app


async def _elsewhere(account_id: int, phone_list_id: int) -> None:
    raise AssertionError("Jobs are done by workers.")


def _deferred(app: procrastinate.App, phone_list_id: int, **options: Any) -> Any:
    # One job of a list waits at a time; whoever asks for another one means the same.
    return app.configure_task(TASK, queue=QUEUE, queueing_lock=f"phone_list {phone_list_id}", **options)


async def enqueue(connection: Connection, account_id: int, phone_list_id: int) -> None:
    """A job for a list, in the transaction that accepts it."""
    app = _app(procrastinate.PsycopgConnector(), _elsewhere)
    deferred = _deferred(app, phone_list_id, connection=connection)
    await deferred.defer_async(account_id=account_id, phone_list_id=phone_list_id)


class Worker:
    """Does the jobs of lists until told to stop."""

    def __init__(
        self,
        db: Database,
        dsn: str,
        *,
        command: Sequence[str],
        log_level: str,
        clock: Callable[[], datetime],
    ) -> None:
        """`command` starts the process of a list, whose account and id follow."""
        self._db = db
        self._command = command
        self._dsn = dsn
        self._log_level = log_level
        self._clock = clock
        self._stopping = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; a list in work stops at its batch then."""
        waiting = asyncio.create_task(stop.wait())
        waiting.add_done_callback(lambda _: self._stopping.set())
        try:
            while not stop.is_set():
                with contextlib.suppress(ConnectorException, psycopg.OperationalError, StoreUnavailable):
                    await self._work(stop)
                if not stop.is_set():
                    log.warning("intake.waiting")
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), 1.0)
        finally:
            waiting.cancel()

    async def _work(self, stop: asyncio.Event) -> None:
        connector = procrastinate.PsycopgConnector(
            conninfo=self._dsn,
            min_size=1,
            max_size=4,
            timeout=10.0,
            kwargs={"application_name": "zvonar jobs", "connect_timeout": 5},
        )
        app = _app(connector, self._load)
        async with app.open_async():
            working = asyncio.create_task(
                app.run_worker_async(
                    queues=[QUEUE],
                    concurrency=_AT_ONCE,
                    install_signal_handlers=False,
                    delete_jobs=DeleteJobCondition.ALWAYS,
                    update_heartbeat_interval=HEARTBEAT,
                    stalled_worker_timeout=DEAD,
                )
            )
            looking = asyncio.create_task(self._look(app))
            waiting = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({working, looking, waiting}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (working, looking, waiting):
                    task.cancel()
                outcomes = await asyncio.gather(working, looking, waiting, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _look(self, app: procrastinate.App) -> None:
        """Jobs of workers that are gone go back to the queue; lists without a job get one."""
        while True:
            for job in await app.job_manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=DEAD):
                log.warning("intake.taken_over", job=job.id)
                await app.job_manager.retry_job(job)
            for left in await phone_lists.left(self._db, now=self._clock(), idle=IDLE):
                deferred = _deferred(app, left.phone_list_id)
                with contextlib.suppress(AlreadyEnqueued):
                    await deferred.defer_async(account_id=left.account_id, phone_list_id=left.phone_list_id)
            await asyncio.sleep(LOOK)

    async def _load(self, account_id: int, phone_list_id: int) -> None:
        """The job: a process that works the list off."""
        if self._stopping.is_set():
            raise LoaderStopped
        config = Config(dsn=self._dsn, log_level=self._log_level)
        process = await asyncio.create_subprocess_exec(
            *(*self._command, str(account_id), str(phone_list_id)),
            env={**os.environ, CONFIG: msgspec.json.encode(config).decode()},
            stdin=asyncio.subprocess.PIPE,  # it ends when this does, so that no process outlives its worker
            start_new_session=True,
        )
        stopping = asyncio.create_task(self._stopping.wait())
        ending = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({stopping, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                process.send_signal(signal.SIGTERM)
                await asyncio.wait({ending}, timeout=_DRAIN)
        finally:
            stopping.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            code = await ending
        if code == STOPPED:
            raise LoaderStopped
        if code in (0, OVERTAKEN):
            return
        log.warning("intake.died", phone_list=phone_list_id, code=code)
        if code != AWAY:
            await phone_lists.died(self._db, account_id, phone_list_id)
        raise LoaderDied
