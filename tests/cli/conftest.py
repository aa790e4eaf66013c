"""What do these tests share? One home per session, set up by the real command."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .commands import Run, run_in


@pytest.fixture(scope="session")
def bare() -> Iterator[Path]:
    """A room for homes: short for a socket's path, passable for the database's own user."""
    room = Path(tempfile.mkdtemp(prefix="zvc-", dir="/tmp"))
    room.chmod(0o711)
    yield room
    shutil.rmtree(room, ignore_errors=True)


@pytest.fixture(scope="session")
def home(bare: Path) -> Iterator[Path]:
    """A home that is set up."""
    root = bare / "home"
    said = run_in(root, "setup")
    assert said.code == 0, said.err
    sockets = json.loads((root / "run/postgres.json").read_text())["socket_dir"]
    yield root
    run_in(root, "stop")
    shutil.rmtree(sockets, ignore_errors=True)


@pytest.fixture
def zvonar(home: Path) -> Run:
    """Run a command in that home."""
    return lambda *arguments, **variables: run_in(home, *arguments, **variables)


@pytest.fixture(scope="session")
def account(home: Path) -> int:
    """An account that may call Russia and Kazakhstan."""
    said = run_in(home, "account", "add", "tests", "--balance", "1000", "--json")
    assert said.code == 0, said.err
    return int(said.document["account_id"])


@pytest.fixture
def campaign(zvonar: Run, account: int) -> int:
    """A paused campaign of that account."""
    said = zvonar("campaign", "add", "--account", account, "--name", "c", "--text", "x", "--paused", "--json")
    assert said.code == 0, said.err
    return int(said.document["id"])
