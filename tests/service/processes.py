"""How does a test wait for processes, kill them and keep what they print?"""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")
PATIENCE = 90.0  # seconds for anything that a test waits for, on a machine that does much else


class StillWaiting(AssertionError):
    """What a test waits for did not come in time."""


def until(
    what: Callable[[], Found], seconds: float = PATIENCE, *, about: object = "", every: float = 0.05
) -> Found:
    """Wait until this is true, and return it. Looks often and briefly: processes send no notification."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > deadline:
            raise StillWaiting(f"after {seconds} s: {about() if callable(about) else about}")
        time.sleep(every)
    return found


def kill(pids: Iterable[int], sign: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to processes and wait until they are gone."""
    handles = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handles.append(os.pidfd_open(pid))
    try:
        for handle in handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, sign)
        for handle in handles:
            assert select.select([handle], [], [], PATIENCE)[0], "a process does not end"
    finally:
        for handle in handles:
            os.close(handle)


def end_all(left: Callable[[], Iterable[int]]) -> None:
    """Kill processes until none is left: one of them may just have started another."""

    def gone() -> bool:
        kill(found := [*left()])
        return not found

    until(gone)


class Serving:
    """A running `zvonar serve` and what it printed."""

    def __init__(self, argv: list[str], env: dict[str, str], printed: Path) -> None:
        self.printed = printed
        with printed.open("ab") as file:
            self.process = subprocess.Popen(
                argv, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        return self.printed.read_text(errors="replace")

    def until_said(self, text: str) -> None:
        until(lambda: text in self.said, about=lambda: self.said)

    def running(self) -> bool:
        return self.process.poll() is None

    def end(self, sign: signal.Signals = signal.SIGTERM, *, seconds: float = PATIENCE) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(sign)
        return self.process.wait(seconds)

    def was_killed(self) -> None:
        """Take note of its end: it is our child."""
        assert self.process.wait(PATIENCE) == -signal.SIGKILL
