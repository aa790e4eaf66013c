"""What does a prompt cost that was said before, and do prompts that were not keep running calls waiting?"""

import asyncio
import itertools
import os
import time

import psycopg
from msgspec import Struct

from bench.ground import Ground
from bench.results import Figure, NotMeasured, figure, percentile
from zvonar.core.campaign import Voice
from zvonar.core.leg import LegId
from zvonar.line.asterisk import cel
from zvonar.line.asterisk.ari import AriClient
from zvonar.line.asterisk.gateway import APP, AsteriskGateway
from zvonar.line.asterisk.town import number
from zvonar.line.line import Dialled, Line
from zvonar.service.plant import ARI_USER
from zvonar.service.supervisor import connect_town, read_trunks
from zvonar.speech.clips import ClipCache
from zvonar.speech.converter import Converter
from zvonar.speech.library import Audio, Library
from zvonar.speech.synthesis.espeak import EspeakEngine
from zvonar.store.db import Database

RU = Voice(language="ru")
TEXT = (
    'Здравствуйте! Ваш долг <say-as interpret-as="money">1500.50 RUB</say-as>.<break time="500ms"/>'
    '<prosody rate="slow">Нажмите один</prosody>, чтобы услышать код '
    '<say-as interpret-as="digits">{}</say-as>.'
)
_PATIENCE = 30.0  # seconds for anything


class Size(Struct, frozen=True, kw_only=True):
    """How much is asked for."""

    cached: int = 500  # prompts that were said before
    distinct: int = 100  # prompts that were not, all at once
    calls: int = 20  # that play meanwhile


TINY = Size(cached=20, distinct=4, calls=2)


async def measure(made: Ground, size: Size) -> list[Figure]:
    """Both."""
    asterisk = made.plant.fetch(made.report)
    espeak = asterisk.espeak
    if espeak is None:
        raise NotMeasured("There is no espeak-ng.")
    engine = EspeakEngine(command=espeak.command, env={**os.environ, **espeak.env}, version=espeak.version)
    with made.database("bench_tts") as dsn:
        async with Database(dsn, size=2) as db:
            cache = ClipCache(made.home.clips, engine)
            library = Library(db, cache, directory=made.home.uploads, converter=Converter())
            try:
                known = await _cached(library, size)
                made.report("tts: distinct prompts beside calls")
                return [known, *await _beside_calls(made, dsn, library, size)]
            finally:
                await cache.aclose()


async def _cached(library: Library, size: Size) -> Figure:
    path = (await library.said(1, TEXT.format(0), RU)).path
    took, bare = [], []
    for _ in range(size.cached):
        began = time.perf_counter()
        await library.said(1, TEXT.format(0), RU)
        took.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        path.stat()
        bare.append((time.perf_counter() - began) * 1000)
    return figure(
        "tts", "cached prompt, p95", [percentile(took, 95)], "ms", [percentile(bare, 95)], at_most=2
    )


async def _beside_calls(made: Ground, dsn: str, library: Library, size: Size) -> list[Figure]:
    """How late the prompts of running calls begin while others are spoken, and when nothing is."""
    asterisk, ports = made.plant.fetch(made.report), made.ports
    with psycopg.connect(dsn, autocommit=True) as connection:
        connect_town(connection, ports)
    trunks = read_trunks(dsn)
    gateway_process = made.plant.gateway(asterisk, ports, trunks)
    town = made.plant.town(asterisk, ports)
    made.plant.run_gateway(gateway_process)
    town.ensure(_PATIENCE)
    try:
        url = f"http://127.0.0.1:{ports.gateway_ari}"
        password = made.home.secret("gateway-ari")
        async with AriClient(url, user=ARI_USER, password=password, app=APP) as ari:
            await ari.ready(_PATIENCE)
            gateway = AsteriskGateway(
                ari, name="gateway", cel_file=cel.path(made.home.gateway), recordings=made.home.root
            )
            clip = await library.said(1, "да", RU)
            async with asyncio.TaskGroup() as group:
                dialled = [
                    group.create_task(_answered(gateway, place, trunks[0].trunk_id))
                    for place in range(size.calls)
                ]
            lines = [task.result() for task in dialled]
            quiet = await _prompts(lines, clip, asyncio.sleep(3.0))
            speaking = _all_said(library, size.distinct)
            busy = await _prompts(lines, clip, speaking)
            await asyncio.gather(*(line.hang_up() for line in lines))
    finally:
        gateway_process.stop(5)
        town.stop(5)
    p95 = figure(
        "tts",
        f"prompts of {size.calls} calls beside {size.distinct} uncached ones, p95",
        [percentile(busy, 95)],
        "ms",
        [percentile(quiet, 95)],
        at_most=150,
    )
    return [p95]


async def _all_said(library: Library, count: int) -> None:
    await asyncio.gather(*(library.said(1, TEXT.format(1000 + place), RU) for place in range(count)))


async def _prompts(lines: list[Line], clip: Audio, meanwhile: object) -> list[float]:
    """Milliseconds by which each prompt took longer than it lasts, until `meanwhile` is over."""
    assert asyncio.iscoroutine(meanwhile)
    lasts = clip.duration_ms / 1000
    done = asyncio.Event()
    late: list[float] = []

    async def play(line: Line) -> None:
        while not done.is_set():
            began = time.perf_counter()
            await line.play(clip.path, interruptible=False)
            late.append((time.perf_counter() - began - lasts) * 1000)

    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(play(line))
        await meanwhile
        done.set()
    return late


_calls = itertools.count(1)


async def _answered(gateway: AsteriskGateway, place: int, trunk_id: int) -> Line:
    leg = LegId(call_id=int(time.time()) * 1000 + next(_calls), attempt=1, leg=1)
    wanted = Dialled(
        leg=leg,
        phone=number(place, 0, 0),
        trunk_id=trunk_id,
        caller_id="+70009990000",
        ring_timeout=15,
        max_seconds=300,
    )
    line = await gateway.create(wanted)
    await gateway.dial(line, ring_timeout=15)
    async with asyncio.timeout(_PATIENCE):
        await line.answered()
    return line
