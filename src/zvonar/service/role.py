"""What does one role's process do? `python -m zvonar.service.role ROLE`, started by the supervisor."""

import asyncio
import contextlib
import gc
import itertools
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog
import uvloop
from msgspec import Struct

from zvonar.service import logs
from zvonar.service.hearing import HearingConfig
from zvonar.service.home import Home
from zvonar.store import idempotency, keys, limits
from zvonar.store.db import STEADY, Database, StoreUnavailable

if TYPE_CHECKING:  # each role imports what it needs: the whole of it takes 200 MB
    from zvonar.speech.library import Library

log = structlog.get_logger(__name__)

Ready = Callable[[], None]  # called once the role serves
CONFIG = "ZVONAR_ROLE"  # the environment variable that carries a RoleConfig
_COLLECTED = 20_000, 20, 10  # new objects between looks of the collector, and looks between deeper ones
FENCED = 3  # exit code of a dialer whose gateway another one took
_KEYS_KEPT = timedelta(days=30)  # after their end, so that whoever comes with one is told why


class RoleConfig(Struct, frozen=True, kw_only=True):
    """What the supervisor tells its roles."""

    home: str
    dsn: str
    roles: list[str]  # that make the service ready
    log_level: str
    lifeline: int  # file descriptor that reads end-of-file when the supervisor is gone
    host: str
    port: int
    public_url: str | None
    amocrm_strict_nulls: bool
    ari_url: str
    allow_networks: list[str]
    smtp_url: str | None
    mail_from: str
    sms_url: str | None
    hearing: HearingConfig
    keep_deliveries_days: int
    keep_report_months: int
    keep_recordings_days: int
    drain_seconds: float
    espeak_command: list[str]
    espeak_env: dict[str, str]
    espeak_version: str


def now() -> datetime:
    """The one clock of the roles."""
    return datetime.now(UTC)


def main() -> None:
    """Run the role that the command line names, until SIGTERM or until the supervisor is gone."""
    role = sys.argv[1]
    config = msgspec.json.decode(os.environ.pop(CONFIG), type=RoleConfig)
    # Before anything imports the metrics library: that is when it reads this.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(Home(Path(config.home)).metrics)
    logs.configure(level=config.log_level, role=role)
    # What is imported now stays for good; the collector need not look at it again. A call's objects go with the call,
    # so it may also look less often: by its own measure it took a tenth of the dialer's time.
    gc.freeze()
    gc.set_threshold(*_COLLECTED)
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(uvloop.run(_run(role, config)))


async def _run(role: str, config: RoleConfig) -> int:
    stop = asyncio.Event()
    orphaned = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def gone() -> None:
        loop.remove_reader(config.lifeline)
        orphaned.set()
        stop.set()

    loop.add_reader(config.lifeline, gone)
    home = Home(Path(config.home))

    def ready() -> None:
        fresh = home.run / f"{role}.ready.new"
        fresh.write_text(str(os.getpid()))
        fresh.replace(home.run / f"{role}.ready")  # whole or not there
        log.info("role.ready")

    match role:
        case "api":
            return await _api(config, home, stop, ready)
        case "dialer":
            return await _dialer(config, home, stop, orphaned, ready)
        case "worker":
            return await _worker(config, home, stop, ready)
    raise SystemExit(f"There is no role {role!r}.")


async def _api(config: RoleConfig, home: Home, stop: asyncio.Event, ready: Ready) -> int:
    import uvicorn

    from zvonar.dialects.callo.media import Media
    from zvonar.reports import postgres
    from zvonar.service.app import application
    from zvonar.speech.recordings import Recordings

    class Server(uvicorn.Server):
        def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
            return contextlib.nullcontext()  # the role has its own

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready()

    async with (
        Database(config.dsn, size=12) as db,
        Database(config.dsn, size=postgres.CONNECTIONS, session=postgres.SESSION) as reports,
        _library(db, config, home) as library,
    ):
        media = Media(
            library=library,
            recordings=Recordings(gateway_recordings(home), made=home.recordings),
            secret=home.secret("media").encode(),
        )
        server = Server(
            uvicorn.Config(
                application(
                    db,
                    reports,
                    home=home,
                    roles=config.roles,
                    media=media,
                    public_url=config.public_url,
                    amocrm_strict=config.amocrm_strict_nulls,
                    now=now,
                ),
                host=config.host,
                port=config.port,
                access_log=False,  # it would print keys and phones of GET requests
                log_config=None,
                lifespan="on",
                timeout_graceful_shutdown=10,
                server_header=False,
            )
        )
        serving = asyncio.create_task(server.serve())
        await asyncio.wait({serving, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    return 0


async def _dialer(
    config: RoleConfig, home: Home, stop: asyncio.Event, orphaned: asyncio.Event, ready: Ready
) -> int:
    from zvonar.dialer.engine import Dialer
    from zvonar.dialer.prompts import Prompts
    from zvonar.line.asterisk import cel
    from zvonar.line.asterisk.ari import AriClient
    from zvonar.line.asterisk.gateway import APP, AsteriskGateway
    from zvonar.service.hearing import ears
    from zvonar.service.plant import ARI_USER
    from zvonar.store.epochs import Fenced

    async with (
        Database(config.dsn, size=3, session=STEADY) as db,
        _library(db, config, home) as library,
        AriClient(config.ari_url, user=ARI_USER, password=home.secret("gateway-ari"), app=APP) as ari,
    ):
        gateway = AsteriskGateway(
            ari,
            name="gateway",
            cel_file=cel.path(home.gateway),
            recordings=gateway_recordings(home),
            sides=config.hearing.transcribes,
        )
        async with ears(config.hearing, gateway) as heard:
            dialer = Dialer(
                db, gateway, Prompts(db, library), now=now, drain=config.drain_seconds, ears=heard
            )
            # Without a supervisor nobody restarts us: leave the calls to the next service at once.
            orphan_watch = asyncio.create_task(_abandon(dialer.abandon, orphaned))
            try:
                await dialer.run(stop, ready=ready)
            except Fenced:
                log.warning("dialer.fenced")
                return FENCED
            finally:
                orphan_watch.cancel()
    return 0


def gateway_recordings(home: Home) -> Path:
    """Where the gateway's Asterisk records."""
    return home.gateway / "spool" / "recording"


@contextlib.asynccontextmanager
async def _library(db: Database, config: RoleConfig, home: Home) -> AsyncIterator["Library"]:
    """Clips as files, with the voice that this machine has."""
    from zvonar.speech.clips import ClipCache
    from zvonar.speech.converter import Converter
    from zvonar.speech.library import Library
    from zvonar.speech.synthesis.espeak import EspeakEngine

    engine = EspeakEngine(
        command=config.espeak_command, env={**os.environ, **config.espeak_env}, version=config.espeak_version
    )
    cache = ClipCache(home.clips, engine)
    try:
        yield Library(db, cache, directory=home.uploads, converter=Converter())
    finally:
        await cache.aclose()


async def _abandon(abandon: Callable[[], None], orphaned: asyncio.Event) -> None:
    await orphaned.wait()
    abandon()


async def _worker(config: RoleConfig, home: Home, stop: asyncio.Event, ready: Ready) -> int:
    from zvonar.delivery.guard import networks
    from zvonar.delivery.worker import deliver
    from zvonar.dialects.uis import outcomes
    from zvonar.intake.jobs import Worker
    from zvonar.reports.filling import Filling
    from zvonar.reports.upkeep import upkeep
    from zvonar.service.crm import pushing
    from zvonar.service.hearing import transcriber
    from zvonar.service.mail import mail_server
    from zvonar.service.meters import PrometheusDeliveryMeters
    from zvonar.service.sms import carried, provider
    from zvonar.service.wiring import PASSING_KEYS, record, render
    from zvonar.speech.keeping import forget
    from zvonar.speech.transcripts import Transcripts

    async with (
        Database(config.dsn, size=4, session=STEADY) as db,
        carried(provider(config.sms_url)) as sms,
        transcriber(config.hearing) as writer,
        asyncio.TaskGroup() as group,
    ):
        ready()
        sweeping = group.create_task(_sweep(db, PASSING_KEYS))
        importer = [sys.executable, "-m", "zvonar.service.importer"]
        lists = Worker(db, config.dsn, command=importer, log_level=config.log_level, clock=now)
        group.create_task(lists.run(stop))
        if writer is not None:
            written = Transcripts(db, gateway_recordings(home), writer, now=now)
            group.create_task(written.run(stop))
        group.create_task(Filling(db, outcomes.describe, clock=now).run(stop))
        days = config.keep_recordings_days
        kept = forget(
            gateway_recordings(home),
            made=home.recordings,
            keep=timedelta(days=days) if days else None,
            stop=stop,
            clock=now,
        )
        group.create_task(kept)
        group.create_task(upkeep(db, keep_months=config.keep_report_months, stop=stop, clock=now))
        try:
            await deliver(
                db,
                render,
                record=record,
                stop=stop,
                allowed=networks(config.allow_networks),
                smtp=mail_server(config.smtp_url, config.mail_from),
                transports={"sms": sms},
                keep=timedelta(days=config.keep_deliveries_days),
                meters=PrometheusDeliveryMeters(),
                clock=now,
                crm=pushing(home, public_url=config.public_url),
            )
        finally:
            sweeping.cancel()
    return 0


async def _sweep(db: Database, passing: Sequence[str]) -> None:
    """Forget what has run out, once a minute; keys once an hour."""
    for minute in itertools.count():
        await asyncio.sleep(60.0)
        with contextlib.suppress(StoreUnavailable):
            await limits.sweep(db, now=now())
            while await idempotency.sweep(db, now=now()):
                pass
            while minute % 60 == 0 and await keys.sweep(db, passing, before=now() - _KEYS_KEPT):
                pass


if __name__ == "__main__":
    main()
