"""What do the service tests share? One home whose service is up whenever a test asks for it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from zvonar.line.asterisk.install import ensure

from .house import House, house

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zvonar"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an Asterisk in it, to be borrowed by homes."""
    room = tmp_path_factory.mktemp("installed")
    ensure(room, CACHE, print)
    return room


@pytest.fixture(scope="session")
def home(installed: Path) -> Iterator[House]:
    """A home whose service comes and goes."""
    with house(installed) as made:
        yield made


@pytest.fixture
def service(home: House) -> House:
    """That home, served."""
    if home.serving is None or not home.serving.running():
        home.serve()
    home.until_healthy()
    return home


@pytest.fixture
def at_rest(home: House) -> House:
    """That home, with nobody serving it; its PostgreSQL and Asterisks may run."""
    if home.serving is not None and home.serving.running():
        assert home.serving.end() == 0
    return home
