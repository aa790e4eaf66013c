"""Who answers the calls? SIPp: from the PATH, else from Debian's packages, unpacked and run as our Asterisk is."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.ground import Ground
from bench.results import NotMeasured
from zvonar.line.asterisk import packages
from zvonar.line.asterisk.packages import AsteriskSetupFailed

SCENARIO = Path(__file__).with_name("callee.xml")
CHOOSER = Path(__file__).with_name("chooser.xml")  # presses the last three digits of his number
RINGER = Path(__file__).with_name("ringer.xml")  # rings until it is cancelled, and keeps the time
RINGING = 0.3  # seconds, as in the scenario
START = 60.0  # seconds for SIPp to have its port


def sipp(ground: Ground) -> list[str]:
    """The command that runs SIPp. Raises NotMeasured with the remedy."""
    if found := shutil.which("sipp"):
        return [found]
    tree = ground.home.root / "sipp"
    cache = ground.plant.settings.cache_directory
    try:
        cache.mkdir(parents=True, exist_ok=True)
        known = packages.provide(
            ("sip-tester",),
            tuple,
            cache=cache,
            mirror=ground.plant.settings.debian_mirror,
            report=ground.report,
        )
        packages.unpack(known.packages, cache=cache, into=_made(tree))
    except AsteriskSetupFailed as exc:
        raise NotMeasured(f"SIPp is needed, apt-get install sip-tester brings it. {exc}") from exc
    loader = next(
        iter(sorted(tree.glob("usr/lib*/ld-linux*.so.*")) or sorted(tree.glob("usr/lib/*/ld-linux*.so.*")))
    )
    libraries = next(iter(tree.glob("usr/lib/*-linux-gnu*")))
    return [str(loader), "--inhibit-cache", "--library-path", str(libraries), str(tree / "usr/bin/sipp")]


@contextlib.contextmanager
def answering(ground: Ground, scenario: Path = SCENARIO) -> Iterator[None]:
    """SIPp answers on the port where the town would be, until the end of the block."""
    command = sipp(ground)
    ports, log = ground.ports, ground.home.log / "sipp.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *command,
                *("-sf", str(scenario), "-i", "127.0.0.1", "-p", str(ports.town_sip)),
                *("-mi", "127.0.0.1", "-mp", str(ports.town_rtp[0]), "-rtp_echo"),
                *("-ci", "127.0.0.1", "-cp", str(ports.town_ari)),
                *("-default_behaviors", "all,-abortunexp,-bye", "-nostdin"),
                # What it is late by counts for both sides of the comparison, but the less the better.
                *("-timer_resol", "1"),
                *(("-trace_rtt", "-rtt_freq", "1") if scenario == RINGER else ()),
            ],
            cwd=ground.home.log,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,
        )
    try:
        until = time.monotonic() + START
        while not _bound(ports.town_sip):
            if process.poll() is not None or time.monotonic() > until:
                raise NotMeasured(f"SIPp did not start: {log.read_text()[-1000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.kill()  # it has nothing to tidy up
        process.wait()


def rings(ground: Ground) -> list[float]:
    """How long each call has rung at RINGER until it was cancelled, in milliseconds."""
    found = []
    for file in ground.home.log.glob("ringer_*_rtt.csv"):
        for line in file.read_text().splitlines()[1:]:
            fields = line.split(";")
            if len(fields) >= 2 and fields[1]:
                found.append(float(fields[1]))
    return found


def _made(tree: Path) -> Path:
    tree.mkdir(parents=True, exist_ok=True)
    return tree


def _bound(port: int) -> bool:
    """Whether someone has this UDP port on loopback."""
    wanted = f"0100007F:{port:04X}"
    return any(line.split()[1] == wanted for line in Path("/proc/net/udp").read_text().splitlines()[1:])
