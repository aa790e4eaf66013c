"""What do these tests share? One Asterisk per session in a fresh home, a gateway and a town on it."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from zvonar.line.asterisk import config, town
from zvonar.line.asterisk.config import GatewayConfig, Rendered, Secret, SipTrunk, TownConfig
from zvonar.line.asterisk.install import AsteriskInstall, ensure
from zvonar.line.asterisk.process import AsteriskProcess

PORTS = int(os.environ.get("ZVONAR_TEST_PORT_BASE", "21000"))
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "zvonar/debs"
# All that .conf lets a password hold, to see that none of it is read as configuration.
AWKWARD = Secret("p[w]=\"#,$&'\\|")


class Telephony(NamedTuple):
    home: Path
    gateway: AsteriskProcess
    gateway_config: GatewayConfig
    town: AsteriskProcess


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="zv-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def install(home: Path) -> AsteriskInstall:
    return ensure(home, CACHE, print)


@pytest.fixture(scope="session")
def telephony(home: Path, install: AsteriskInstall) -> Iterator[Telephony]:
    town_config = TownConfig(
        ari_port=PORTS + 2,
        ari_user="zvonar",
        ari_password=AWKWARD,
        sip_port=PORTS + 3,
        rtp_first=PORTS + 1000,
        rtp_last=PORTS + 1999,
        gateway_port=PORTS + 1,
        username="gateway",
        password=AWKWARD,
    )
    trunk = SipTrunk(
        id="town", host="127.0.0.1", port=town_config.sip_port, username="gateway", password=AWKWARD
    )
    gateway_config = GatewayConfig(
        ari_port=PORTS,
        ari_user="zvonar",
        ari_password=Secret(secrets.token_urlsafe(24)),
        sip_port=PORTS + 1,
        rtp_first=PORTS + 2000,
        rtp_last=PORTS + 2999,
        trunks=(trunk,),
    )
    callee = process("town", home, install, town_config, town.write(town_config, install, home / "town"))
    caller = process(
        "gateway",
        home,
        install,
        gateway_config,
        config.write_gateway(gateway_config, install, home / "gateway"),
    )
    try:
        callee.ensure(60)
        caller.ensure(60)
        yield Telephony(home, caller, gateway_config, callee)
    finally:
        caller.stop(5)
        callee.stop(5)


def process(
    name: str,
    home: Path,
    install: AsteriskInstall,
    made_from: GatewayConfig | TownConfig,
    rendered: Rendered,
) -> AsteriskProcess:
    return AsteriskProcess(
        name=name,
        run=home / "run",
        install=install,
        rendered=rendered,
        ari_port=made_from.ari_port,
        ari_user=made_from.ari_user,
        ari_password=made_from.ari_password,
        sip_port=made_from.sip_port,
    )
