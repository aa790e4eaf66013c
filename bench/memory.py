"""How much memory does each process take? Beside a bare Python that imports the same and does nothing."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Sequence

import psutil
from msgspec import Struct

from bench.results import Figure, NotMeasured, figure

IDLE = 3.0  # seconds for a started service to calm down
SAMPLES = 3
MB = 1e6
AT_MOST = {"api": 120.0, "dialer": 120.0, "worker": 120.0}  # MB, idle

# What each role's process imports, and nothing else of ours.
IMPORTS = {
    "api": "uvicorn, zvonar.service.role, zvonar.service.app",
    "dialer": "zvonar.service.role, zvonar.dialer.engine, zvonar.dialer.prompts, zvonar.line.asterisk.gateway, "
    "zvonar.service.plant, zvonar.speech.clips, zvonar.speech.synthesis.espeak",
    "worker": "zvonar.service.role, zvonar.delivery.worker, zvonar.intake.jobs, "
    "zvonar.service.meters, zvonar.service.wiring",
}


class Sample(Struct, frozen=True, kw_only=True):
    """What one process takes at one moment, in MB."""

    rss: float  # what is in memory, shared libraries included
    pss: float  # the same, shared pages divided among those who share them
    uss: float  # what would be free if it ended


def sample(process: psutil.Process) -> Sample:
    """Now."""
    found = process.memory_full_info()
    return Sample(rss=found.rss / MB, pss=found.pss / MB, uss=found.uss / MB)


def bare(role: str) -> Sample:
    """A process that has imported what the role does."""
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys, {IMPORTS[role]}; print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise NotMeasured(f"The imports of {role} failed.")
        try:
            return sample(psutil.Process(process.pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


async def idle(roles: dict[str, psutil.Process]) -> list[Figure]:
    """Every role of a service that has nothing to do."""
    samples: dict[str, list[Sample]] = {role: [] for role in roles}
    for _ in range(SAMPLES):
        await asyncio.sleep(IDLE / SAMPLES)
        for role, process in roles.items():
            samples[role].append(sample(process))
    return [row for role in roles for row in figures(role, "idle", samples[role], at_most=AT_MOST[role])]


def figures(role: str, when: str, samples: Sequence[Sample], *, at_most: float) -> list[Figure]:
    """A role's memory in the three ways of counting it; the target holds for the largest."""
    baseline = bare(role)
    return [
        figure(
            "memory",
            f"{role} {when}, {kind.upper()}",
            [getattr(taken, kind) for taken in samples],
            "MB",
            [getattr(baseline, kind)],
            at_most=at_most if kind == "rss" else None,
        )
        for kind in ("rss", "pss", "uss")
    ]
