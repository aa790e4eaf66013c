"""Does an Asterisk outlive its starter, get adopted, and is a dead one never taken for alive?"""

import http.server
import os
import select
import signal
import socket
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from zvonar.line.asterisk import config, process
from zvonar.line.asterisk.config import GatewayConfig, Secret
from zvonar.line.asterisk.install import AsteriskInstall
from zvonar.line.asterisk.process import AsteriskDied, AsteriskIsAnother, AsteriskProcess, PortTaken, Record

if TYPE_CHECKING:
    from conftest import Telephony

PORTS = int(os.environ.get("ZVONAR_TEST_PORT_BASE", "21000"))
PATIENCE = 60.0  # seconds for anything that a test waits for


@pytest.fixture
def settings() -> GatewayConfig:
    return GatewayConfig(
        ari_port=PORTS + 10,
        ari_user="zvonar",
        ari_password=Secret("first"),
        sip_port=PORTS + 11,
        rtp_first=PORTS + 100,
        rtp_last=PORTS + 199,
    )


def made(
    home: Path, install: AsteriskInstall, settings: GatewayConfig, *, password: str | None = None
) -> AsteriskProcess:
    return AsteriskProcess(
        name="spare",
        run=home / "run",
        install=install,
        rendered=config.write_gateway(settings, install, home / "spare"),
        ari_port=settings.ari_port,
        ari_user=settings.ari_user,
        ari_password=Secret(password) if password else settings.ari_password,
        sip_port=settings.sip_port,
    )


def test_a_second_starter_adopts_and_a_killed_one_is_dead(
    home: Path, install: AsteriskInstall, settings: GatewayConfig
) -> None:
    first = made(home, install, settings)
    assert first.adopt() is None
    record = first.ensure(PATIENCE)
    try:
        second = made(home, install, settings)
        assert second.adopt() == record
        assert second.ensure(PATIENCE) == record
        assert os.getsid(record.pid) == record.pid  # a Ctrl-C in our terminal does not reach it

        # Its starter may have died before it wrote the record.
        (home / "run/spare.json").unlink()
        assert second.adopt() is None
        assert second.ensure(PATIENCE) == record

        handle = os.pidfd_open(record.pid)
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        assert select.select([handle], [], [], PATIENCE)[0]
        os.close(handle)
        assert first.adopt() is None  # a zombie until its parent looks: this is the parent
        assert second.adopt() is None
        again = second.ensure(PATIENCE)
        assert again.pid != record.pid
    finally:
        made(home, install, settings).stop(5)
    assert first.adopt() is None
    assert not (home / "run/spare.json").exists()
    first.stop(1)  # nothing runs: nothing happens


def test_one_that_does_not_answer_is_replaced(
    home: Path, install: AsteriskInstall, settings: GatewayConfig
) -> None:
    spare = made(home, install, settings)
    stuck = spare.ensure(PATIENCE)
    try:
        os.kill(stuck.pid, signal.SIGSTOP)
        fresh = spare.ensure(10)
        assert fresh.pid != stuck.pid
        assert spare.adopt() == fresh
        assert process._started(stuck.pid) is None
    finally:
        spare.stop(5)


def test_a_reused_pid_is_not_ours_and_is_not_signalled(
    home: Path, install: AsteriskInstall, settings: GatewayConfig
) -> None:
    spare = made(home, install, settings)
    mine = process._started(os.getpid())
    assert mine is not None
    boot = process.BOOT_ID.read_text().strip()
    for impostor in (
        Record(pid=os.getpid(), boot=boot, started=mine - 1, fingerprint=""),
        Record(pid=os.getpid(), boot="another boot", started=mine, fingerprint=""),
    ):
        (home / "run").mkdir(exist_ok=True)
        (home / "run/spare.json").write_bytes(msgspec.json.encode(impostor))
        assert spare.adopt() is None
        spare.stop(1)  # would end the test run if it believed the record


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_taken_port_is_named(
    home: Path, install: AsteriskInstall, settings: GatewayConfig, kind: socket.SocketKind
) -> None:
    port = settings.ari_port if kind == socket.SOCK_STREAM else settings.sip_port
    with socket.socket(socket.AF_INET, kind) as squatter:
        if kind == socket.SOCK_STREAM:  # closed connections of an earlier test may linger on the port
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            squatter.listen()
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}"):
            made(home, install, settings).start()


def test_an_asterisk_that_dies_at_start_is_quoted(
    home: Path, install: AsteriskInstall, settings: GatewayConfig
) -> None:
    spare = made(home, install, settings)
    (home / "spare/etc/asterisk.conf").write_text("[directories]\nastetcdir => /nonexistent\n")
    with pytest.raises(AsteriskDied) as caught:
        spare.ensure(PATIENCE)
    assert len(str(caught.value)) > len(AsteriskDied.__doc__ or "") + 10
    spare.stop(1)


def test_a_wrong_password_is_told_from_not_ready(
    telephony: "Telephony", install: AsteriskInstall, home: Path
) -> None:
    stranger = made(home, install, telephony.gateway_config, password="wrong")
    stranger._run = telephony.home / "run"
    stranger.name = "gateway"
    with pytest.raises(AsteriskIsAnother):
        stranger.wait_ready(PATIENCE)


def test_one_whose_port_a_stranger_took_meanwhile_is_not_left_behind(
    home: Path, install: AsteriskInstall, settings: GatewayConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the next start, which would choose other ports, would adopt it for ever."""

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            """Silent."""

    spare = made(home, install, settings)
    monkeypatch.setattr(spare, "_check_ports", lambda: None)  # as if it had come a moment after the look
    with http.server.ThreadingHTTPServer(("127.0.0.1", settings.ari_port), Stranger) as stranger:
        serving = threading.Thread(target=stranger.serve_forever)
        serving.start()
        try:
            with pytest.raises(AsteriskIsAnother):
                spare.ensure(PATIENCE)
            assert spare.running() is None
        finally:
            stranger.shutdown()
            serving.join()
            spare.stop(5)


def test_nobody_else_can_read_the_home(telephony: "Telephony") -> None:
    for role in ("gateway", "town"):
        assert stat.S_IMODE((telephony.home / role).stat().st_mode) == 0o700
        for file in (telephony.home / role / "etc").iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_it_listens_on_loopback_only(telephony: "Telephony") -> None:
    """But for two sockets of the SIP library's resolver, which the kernel gives ports to send DNS from."""
    record = telephony.gateway.adopt()
    assert record is not None
    inodes = {
        link.readlink().name.removeprefix("socket:[").removesuffix("]")
        for link in Path(f"/proc/{record.pid}/fd").iterdir()
        if str(link.readlink()).startswith("socket:")
    }
    local = {"tcp": [], "udp": []}  # type: dict[str, list[tuple[str, int]]]
    for kind, found in local.items():
        for line in Path(f"/proc/{record.pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                address, port = fields[1].split(":")
                found.append((address, int(port, 16)))
    settings = telephony.gateway_config
    assert ("0100007F", settings.ari_port) in local["tcp"]
    assert ("0100007F", settings.sip_port) in local["udp"]
    assert all(address == "0100007F" for address, _ in local["tcp"])
    media = range(settings.rtp_first, settings.rtp_last + 1)
    assert not [port for address, port in local["udp"] if address != "0100007F" and port in media]
