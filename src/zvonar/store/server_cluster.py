"""What is in the data directory of the embedded PostgreSQL, and how does it come to be?"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from zvonar.store.server_errors import (
    DamagedData,
    InitFailed,
    SecretMissing,
    TimedOut,
    WrongVersion,
    gist,
    raise_if_disk_full,
)
from zvonar.store.server_programs import Owner, binary, run, version

# Whatever was acknowledged survives a power cut; whatever a row holds stays out of the log.
SETTINGS = """\
listen_addresses = ''
port = 5432
unix_socket_directories = '{socket_dir}'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 128MB
random_page_cost = 1.1
jit = off

fsync = on
synchronous_commit = on
full_page_writes = on
wal_compression = on
min_wal_size = 80MB
max_wal_size = 1GB
checkpoint_timeout = 10min

autovacuum = on
autovacuum_naptime = 15s
# To look after a table of a few rows throws away every plan that reads it, on every connection.
autovacuum_vacuum_threshold = 1000
autovacuum_vacuum_scale_factor = 0.05
autovacuum_vacuum_insert_scale_factor = 0.1
autovacuum_analyze_threshold = 1000
autovacuum_analyze_scale_factor = 0.02
idle_in_transaction_session_timeout = 60s

log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] '
log_error_verbosity = terse
log_min_error_statement = panic
log_statement = none
log_min_duration_statement = -1
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_checkpoints = off
log_lock_waits = off
log_temp_files = -1

timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
lc_messages = 'C'
default_text_search_config = 'pg_catalog.simple'
"""

# The superuser has no password, so it cannot pass this line and nobody logs in as one.
HBA = "local all all scram-sha-256\n"

# One command a line, for the single-user backend. `log_min_messages`: the first line of an error may quote
# a value (invalid input syntax for type ...: "+7999..."), so a session's errors go to its client only.
ROLES = """\
CREATE ROLE zvonar LOGIN CREATEDB PASSWORD '{password}';
GRANT pg_monitor TO zvonar;
ALTER ROLE zvonar SET log_min_messages = 'log';
"""


class Cluster:
    """The data directory and the password of its one role. The caller holds the home's lock."""

    def __init__(self, data: Path, secret: Path) -> None:
        self.data = data
        self.secret = secret

    def create(self, owner: Owner, socket_dir: Path, until: float) -> None:
        """Build it beside its place and move it there whole: a data directory is complete or absent."""
        for leftover in self.data.parent.glob("new-*"):
            # Best effort: an initdb whose parent was killed may still write here; the next one clears it.
            shutil.rmtree(leftover, ignore_errors=True)
        if not self.secret.exists():
            write_whole(self.secret, secrets.token_urlsafe(32))
        workshop = Path(tempfile.mkdtemp(prefix="new-", dir=self.data.parent))
        try:
            os.chown(workshop, owner.uid, owner.gid)
            data = workshop / "data"
            initdb = (
                *(str(binary("initdb")), "--pgdata", str(data), "--username=postgres", "--encoding=UTF8"),
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--data-checksums", "--auth=trust", "--no-instructions"),
            )
            self._make(owner, until, initdb)
            configure(data, owner, socket_dir)
            single_user = (str(binary("postgres")), "--single", "-D", str(data), "postgres")
            said = self._make(owner, until, single_user, ROLES.format(password=self.password()))
            if "ERROR:" in said:  # it exits with 0 all the same
                raise InitFailed(path=self.data.parent, why=gist(said))
            data.rename(self.data)
            sync_directory(self.data.parent)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)  # must not hide the error that brought us here

    def _make(self, owner: Owner, until: float, argv: tuple[str, ...], stdin: str = "") -> str:
        try:
            done = run(argv, owner, timeout=max(0.0, until - time.monotonic()), stdin=stdin)
        except subprocess.TimeoutExpired:
            raise TimedOut(what="create its files", where=self.data.parent) from None
        if done.returncode:
            raise_if_disk_full(done.stdout, self.data)
            raise InitFailed(path=self.data.parent, why=gist(done.stdout))
        return done.stdout

    def check(self) -> None:
        """Can the installed programs serve it?"""
        try:
            found = (self.data / "PG_VERSION").read_text("ascii").strip()
        except FileNotFoundError:
            raise DamagedData(path=self.data) from None
        if found != version().split(".")[0]:
            raise WrongVersion(path=self.data, found=found, installed=version())
        self.password()

    def password(self) -> str:
        """Never log it."""
        try:
            return self.secret.read_text("ascii")
        except FileNotFoundError:
            raise SecretMissing(path=self.secret) from None


def configure(data: Path, owner: Owner, socket_dir: Path) -> None:
    """Done at every start, so that a new release's settings reach old data; ALTER SYSTEM still wins."""
    write_whole(data / "postgresql.conf", SETTINGS.format(socket_dir=socket_dir), owner)
    write_whole(data / "pg_hba.conf", HBA, owner)


def write_whole(path: Path, text: str, owner: Owner | None = None) -> None:
    """Replace a file, mode 0600, with one that is on disk before it takes the name."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)  # of a killed launcher; the lock keeps a living one away
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        if owner:
            os.fchown(descriptor, owner.uid, owner.gid)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
