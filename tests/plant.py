"""What does a test of the whole line stand on? A gateway and a town, both real, on ports of their own."""

import asyncio
import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
from msgspec import Struct

from zvonar.line.asterisk import cel, config, town
from zvonar.line.asterisk.ari import AriClient
from zvonar.line.asterisk.config import GatewayConfig, Secret, SipTrunk, TownConfig
from zvonar.line.asterisk.gateway import APP, AsteriskGateway
from zvonar.line.asterisk.install import ensure
from zvonar.line.asterisk.process import AsteriskProcess

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "zvonar/debs"
USER = "zvonar"
BLOCK = 1000  # ports: 4 listeners, a stranger's, and two ranges of media
TOWN_TRUNKS = (1, 2, 3)  # trunk ids that lead to the town, as a fresh database counts them
STRANGER_TRUNK = 4  # leads to `stranger_port`, where a test may listen
READY = 60.0  # seconds for an Asterisk to answer


class Plant(Struct, frozen=True, kw_only=True):
    """A gateway, the town behind it, and how to reach them."""

    home: Path
    gateway: AsteriskProcess
    town: AsteriskProcess
    ari_port: int
    ari_password: str
    town_password: str  # of the town's ARI, whose port is two above the gateway's
    stranger_port: int  # UDP; the stranger's trunk leads there

    @property
    def ari_url(self) -> str:
        return f"http://127.0.0.1:{self.ari_port}"

    @property
    def cel_file(self) -> Path:
        return cel.path(self.home / "gateway")

    @property
    def recordings(self) -> Path:
        return self.home / "gateway/spool/recording"

    def invites(self) -> dict[str, int]:
        """By leg id, as the town counted them."""
        return town.invites(self.home / "town")

    def client(self, url: str | None = None) -> AriClient:
        return AriClient(url or self.ari_url, user=USER, password=self.ari_password, app=APP)

    async def asterisk(self, method: str, path: str, *, town: bool = False, **query: str) -> Any:
        """One request of a bystander to the gateway's ARI, or the town's; what it answers, None for a failure."""
        port, password = self.ari_port, self.ari_password
        if town:
            port, password = port + 2, self.town_password
        headers = {"Authorization": aiohttp.encode_basic_auth(USER, password)}
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}/ari/", headers=headers) as session,
            session.request(method, path, params=query) as answer,
        ):
            return json.loads(await answer.read() or b"null") if answer.ok else None

    async def in_town(self, leg: str) -> str:
        """The town's channel of whom a leg has reached."""
        for channel in await self.asterisk("GET", "channels", town=True):
            path = f"channels/{channel['id']}/variable"
            said = await self.asterisk("GET", path, town=True, variable="LEG")
            if said is not None and said["value"] == leg:
                return str(channel["id"])
        raise AssertionError(f"Nobody in the town is on leg {leg}.")

    async def hang_up_in_town(self, *legs: str) -> None:
        """Those whom these legs have reached hang up, all in the same moment."""
        channels = [await self.in_town(leg) for leg in legs]
        await asyncio.gather(
            *(self.asterisk("DELETE", f"channels/{channel}", town=True) for channel in channels)
        )

    def line_gateway(self, ari: AriClient) -> AsteriskGateway:
        return AsteriskGateway(ari, name="gateway", cel_file=self.cel_file, recordings=self.recordings)

    def kill_gateway(self) -> None:
        """SIGKILL; it is gone when this returns."""
        record = self.gateway.adopt()
        assert record is not None
        handle = os.pidfd_open(record.pid)
        try:
            os.kill(record.pid, signal.SIGKILL)
            # Readable once its last thread has ended, and so closed its ports; a zombie's may still hold them.
            assert select.select([handle], [], [], READY)[0]
        finally:
            os.close(handle)

    def clip(self, seconds: float) -> Path:
        """A file that plays for so long; a tone, so that the town hears somebody speak."""
        return tone(self.home / f"tone-{seconds:g}.wav", seconds)


def tone(path: Path, seconds: float) -> Path:
    """8 kHz mono of 400 Hz."""
    if not path.exists():
        fresh = path.with_suffix(f".{os.getpid()}")
        with wave.open(str(fresh), "wb") as clip:
            clip.setnchannels(1)
            clip.setsampwidth(2)
            clip.setframerate(8000)
            period = bytes.fromhex("0000 2020 3030 2020 0000 e0df d0cf e0df")  # eight samples
            clip.writeframes(period * int(seconds * 1000))
        fresh.replace(path)
    return path


@contextlib.contextmanager
def running() -> Iterator[Plant]:
    """A plant in a short home of its own, up until the end of the block."""
    home = Path(tempfile.mkdtemp(prefix=f"zvp-{os.getpid()}-", dir="/tmp"))
    base = _free_block()
    town_config = TownConfig(
        ari_port=base + 2,
        ari_user=USER,
        ari_password=Secret(secrets.token_hex(16)),
        sip_port=base + 3,
        rtp_first=base + 100,
        rtp_last=base + 499,
        gateway_port=base + 1,
    )
    trunks = [SipTrunk(id=str(n), host="127.0.0.1", port=base + 3) for n in TOWN_TRUNKS]
    gateway_config = GatewayConfig(
        ari_port=base,
        ari_user=USER,
        ari_password=Secret(secrets.token_hex(16)),
        sip_port=base + 1,
        rtp_first=base + 500,
        rtp_last=base + 999,
        trunks=(*trunks, SipTrunk(id=str(STRANGER_TRUNK), host="127.0.0.1", port=base + 4)),
    )
    install = ensure(home, CACHE, print)
    rendered = {
        "gateway": config.write_gateway(gateway_config, install, home / "gateway"),
        "town": town.write(town_config, install, home / "town"),
    }
    made = {
        name: AsteriskProcess(
            name=name,
            run=home / "run",
            install=install,
            rendered=rendered[name],
            ari_port=of.ari_port,
            ari_user=USER,
            ari_password=of.ari_password,
            sip_port=of.sip_port,
        )
        for name, of in (("gateway", gateway_config), ("town", town_config))
    }
    try:
        for process in made.values():
            process.start()
        for process in made.values():
            process.wait_ready(READY)
        yield Plant(
            home=home,
            gateway=made["gateway"],
            town=made["town"],
            ari_port=base,
            ari_password=str(gateway_config.ari_password),
            town_password=str(town_config.ari_password),
            stranger_port=base + 4,
        )
    finally:
        for process in made.values():
            process.stop(5)
        shutil.rmtree(home, ignore_errors=True)


def _free_block() -> int:
    """The first port of a block whose listeners can be bound; the pid spreads test runs that begin together.

    Below the kernel's ephemeral ports: a client that looks for a listener that is away may be given its port.
    """
    first = 27000 + os.getpid() % 5 * BLOCK
    bases: list[int] = [*range(first, 32000, BLOCK), *range(27000, first, BLOCK)]
    for base in bases:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for kind, port in (
                (socket.SOCK_STREAM, base),
                (socket.SOCK_STREAM, base + 2),
                *((socket.SOCK_DGRAM, base + n) for n in (1, 3, 4, *range(100, BLOCK, 100))),
            ):
                stack.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
            return base
    raise RuntimeError("There is no free block of ports for a gateway and a town.")
