"""How do Debian's packages get onto this machine without root and without touching its apt?

A private apt configuration takes the mirror and the proxies from the machine's own apt and keeps
everything else (sources, lists, status, archives) to itself. apt checks Debian's signature on the
index; the SHA-256 of every package comes from that index, is kept in `set.json` beside the packages
and is checked again before each use, so a second home needs no network.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from zvonar.core.errors import ZvonarError

Report = Callable[[str], None]  # gets one sentence per step, for a person to read

SUITE = "sid"
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
UPDATE_DEADLINE = 300  # seconds for the index
RESOLVE_DEADLINE = 60  # seconds for a question about it
DOWNLOAD_DEADLINE = 1800  # seconds for all packages of one request
LOCK_DEADLINE = 1800  # seconds to wait for another setup of the same user
SPARE_BYTES = 600_000_000  # index, packages and unpacked tree together, with room to breathe


class AsteriskSetupFailed(ZvonarError):
    """Asterisk could not be set up."""


class AptMissing(AsteriskSetupFailed):
    """This machine has no apt-get: install Asterisk 22.5 or newer and set ZVONAR_ASTERISK to its binary."""


class KeyringMissing(AsteriskSetupFailed):
    """Debian's keyring is missing, so no signature can be checked: install debian-archive-keyring."""


class NoMirror(AsteriskSetupFailed):
    """This machine's apt names no Debian mirror: set ZVONAR_DEBIAN_MIRROR to one, or ZVONAR_ASTERISK."""


class MirrorUnreachable(AsteriskSetupFailed):
    """The Debian mirror did not answer and the cache is not whole: check the network, run setup again."""


class SignatureRefused(AsteriskSetupFailed):
    """The mirror's index is not signed by Debian's keyring: use another mirror (ZVONAR_DEBIAN_MIRROR)."""


class DiskFull(AsteriskSetupFailed):
    """The disk is full: free about a gigabyte and run setup again, it continues where it stopped."""


class SetupBusy(AsteriskSetupFailed):
    """Another setup of this user is still downloading: wait for it, then run setup again."""


class Package(msgspec.Struct, frozen=True, kw_only=True):
    name: str  # as Debian names it, libxml2-16
    version: str  # with epoch, 1:22.10.1+dfsg-1
    architecture: str  # amd64, arm64 or all
    sha256: str  # of the .deb, from the signed index
    size: int  # bytes of the .deb

    @property
    def file(self) -> str:
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


class PackageSet(msgspec.Struct, frozen=True, kw_only=True):
    suite: str  # Debian's name of the release that the set was resolved in
    packages: tuple[Package, ...]  # the roots and all they depend on, whether downloaded or not


Choice = Callable[[Sequence[Package]], Sequence[Package]]  # which packages of a set are wanted


def provide(
    roots: Sequence[str], choose: Choice, *, cache: Path, mirror: str | None, report: Report
) -> PackageSet:
    """The set of `roots`, with every package that `choose` picks lying whole in `archives(cache)`.

    Uses the recorded set when there is one; the network is asked only for what is missing.
    """
    with diskful(), locked(cache / "lock", report):
        _drop_leftovers(cache)
        known = _read_set(cache, roots)
        if known is not None and not _missing(cache, choose(known.packages)):
            return known
        _refuse_full_disk(cache)
        with _PrivateApt.opened(cache, mirror) as apt:
            if known is not None:
                missing = _missing(cache, choose(known.packages))
                report(_downloading(missing))
                apt.update()
                try:
                    apt.download(missing, archives(cache))
                except DiskFull:
                    raise
                except AsteriskSetupFailed:
                    known = None  # the mirror answers but has moved on: these versions are gone
            if known is None:
                report(f"Asking the Debian mirror what Asterisk needs ({SUITE})")
                known = PackageSet(suite=SUITE, packages=apt.resolve(roots))
                missing = _missing(cache, choose(known.packages))
                if missing:
                    report(_downloading(missing))
                    apt.download(missing, archives(cache))
        still_missing = _missing(cache, choose(known.packages))
        if still_missing:
            raise AsteriskSetupFailed("apt left out " + ", ".join(p.name for p in still_missing))
        _write_set(cache, roots, known)
        return known


def archives(cache: Path) -> Path:
    """Where the .deb files lie."""
    return cache / "archives"


def unpack(packages: Iterable[Package], *, cache: Path, into: Path) -> None:
    """Lays the files of `packages` out under `into`; no maintainer script runs."""
    for package in packages:
        _run(["dpkg-deb", "-x", str(archives(cache) / package.file), str(into)], deadline=RESOLVE_DEADLINE)


def debian_mirror(index_targets: str) -> str | None:
    """The mirror of Debian's main archive in the output of `apt-get indextargets` (see `INDEX_FORMAT`).

    Label tells the archive from its security and third-party neighbours, but stays unexpanded until the
    machine has fetched its first index; then the address has to do.
    """
    targets = [line.split("|") for line in index_targets.splitlines() if line.count("|") == 2]
    by_label = [uri for uri, origin, label in targets if origin == label == "Debian"]
    by_address = [uri for uri, origin, _ in targets if "$(" in origin and uri.rstrip("/").endswith("/debian")]
    return next(iter(by_label + by_address), None)


INDEX_FORMAT = "$(REPO_URI)|$(ORIGIN)|$(LABEL)"


@contextlib.contextmanager
def locked(path: Path, report: Report) -> Iterator[None]:
    """Holds an exclusive lock on `path` across processes; says so when it has to wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + LOCK_DEADLINE
    with path.open("w") as handle:
        waiting = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    report("Another setup is at work; waiting for it")
                    waiting = True
                if time.monotonic() > until:
                    raise SetupBusy(f"Lock: {path}") from None
                time.sleep(0.2)
        yield


@contextlib.contextmanager
def diskful() -> Iterator[None]:
    """Turns the system's "no space left" into the sentence that names the remedy."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(exc.filename and f"Writing {exc.filename}") from exc
        raise


class _PrivateApt:
    """apt with its own sources, lists and status; lives as long as one request."""

    def __init__(self, directory: Path, mirror: str) -> None:
        keyring = next((path for path in KEYRINGS if path.exists()), None)
        if keyring is None:
            raise KeyringMissing
        self._directory = directory
        self._updated = False
        architecture = _run(["dpkg", "--print-architecture"], deadline=RESOLVE_DEADLINE).strip()
        sources = directory / "sources.list"
        sources.write_text(
            f"deb [signed-by={keyring} target=Packages arch={architecture}] {mirror} {SUITE} main\n"
        )
        (directory / "status").touch()  # nothing is installed, so apt resolves the whole closure
        for part in ("lists/partial", "cache/archives/partial"):
            (directory / part).mkdir(parents=True)
        self._config = directory / "apt.conf"
        self._config.write_text(
            f"""\
Dir::Etc::sourcelist "{sources}";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{directory}";
Dir::State::Lists "{directory}/lists";
Dir::State::status "{directory}/status";
Dir::Cache "{directory}/cache";
#clear APT::Architectures;
APT::Architectures:: "{architecture}";
APT::Default-Release "";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
"""
        )

    @classmethod
    @contextlib.contextmanager
    def opened(cls, cache: Path, mirror: str | None) -> Iterator["_PrivateApt"]:
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise AptMissing
        if mirror is None:
            targets = ["apt-get", "indextargets", "--format", INDEX_FORMAT, "Created-By: Packages"]
            mirror = debian_mirror(_run(targets, deadline=RESOLVE_DEADLINE))
        if mirror is None:
            raise NoMirror
        if not re.fullmatch(r"[a-z][a-z0-9+]*:[^\s\[\]\"]+", mirror):
            raise NoMirror("ZVONAR_DEBIAN_MIRROR is not an address that apt understands.")
        with tempfile.TemporaryDirectory(prefix="apt-", dir=cache) as directory:
            yield cls(Path(directory), mirror)

    def resolve(self, roots: Sequence[str]) -> tuple[Package, ...]:
        """`roots` and all they depend on, as the signed index has them now."""
        self.update()
        plan = self._apt("apt-get", "install", "-s", "-y", "-q", *roots, deadline=RESOLVE_DEADLINE)
        chosen = re.findall(r"^Inst (\S+) \((\S+) ", plan, re.MULTILINE)
        wanted = [f"{name}={version}" for name, version in chosen]
        shown = self._apt("apt-cache", "show", *wanted, deadline=RESOLVE_DEADLINE)
        packages = tuple(_package(stanza) for stanza in shown.split("\n\n") if stanza.strip())
        absent = {name for name, _ in chosen} - {package.name for package in packages}
        if absent or not packages:
            raise AsteriskSetupFailed("The index does not describe " + ", ".join(sorted(absent or roots)))
        return packages

    def download(self, packages: Sequence[Package], into: Path) -> None:
        into.mkdir(parents=True, exist_ok=True)
        self.update()
        wanted = [f"{package.name}={package.version}" for package in packages]
        self._apt("apt-get", "download", "-q", *wanted, deadline=DOWNLOAD_DEADLINE, cwd=into)

    def update(self) -> None:
        if not self._updated:
            self._apt("apt-get", "update", "-q", deadline=UPDATE_DEADLINE)
            self._updated = True

    def _apt(self, tool: str, verb: str, *words: str, deadline: int, cwd: Path | None = None) -> str:
        # -c is read after the machine's own configuration, so ours has the last word and proxies survive.
        return _run([tool, "-c", str(self._config), verb, *words], deadline=deadline, cwd=cwd)


def _package(stanza: str) -> Package:
    fields = dict(
        line.split(": ", 1) for line in stanza.splitlines() if not line.startswith(" ") and ": " in line
    )
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        sha256=fields["SHA256"],
        size=int(fields["Size"]),
    )


def _run(argv: Sequence[str], *, deadline: int, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            argv,
            check=False,  # `failure` reads the words, which say more than the code
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=deadline,
        )
    except FileNotFoundError as exc:
        raise AptMissing(f"{argv[0]} was not found.") from exc
    except subprocess.TimeoutExpired as exc:
        raise MirrorUnreachable(f"{argv[0]} took longer than {deadline} seconds.") from exc
    if done.returncode != 0:
        raise failure(done.stderr)
    return done.stdout


def failure(complaint: str) -> AsteriskSetupFailed:
    """The error that apt's or dpkg-deb's own words amount to."""
    said = [line for line in complaint.splitlines() if line.startswith(("E:", "Err:", "W:", "dpkg-deb:"))]
    detail = " ".join((said or complaint.strip().splitlines() or ["no reason given"])[:3])
    for pattern, error in (
        (r"No space left|enough free space|Disk quota", DiskFull),
        (
            r"NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|is not signed|signature|does not have a Release file",
            SignatureRefused,
        ),
        (
            r"Could not (resolve|connect)|Unable to connect|Connection (failed|refused|timed out)",
            MirrorUnreachable,
        ),
        (r"Failed to fetch|Temporary failure|Network is unreachable|Could not handshake", MirrorUnreachable),
    ):
        if re.search(pattern, complaint):
            return error(detail)
    return AsteriskSetupFailed(detail)


def _missing(cache: Path, packages: Iterable[Package]) -> list[Package]:
    return [package for package in packages if not _whole(archives(cache) / package.file, package)]


def _whole(path: Path, package: Package) -> bool:
    try:
        if path.stat().st_size != package.size:
            path.unlink()  # half a download; apt would otherwise keep it
            return False
        with path.open("rb") as handle:
            whole = hashlib.file_digest(handle, "sha256").hexdigest() == package.sha256
    except FileNotFoundError:
        return False
    if not whole:
        path.unlink()
    return whole


def _downloading(packages: Sequence[Package]) -> str:
    return f"Downloading {len(packages)} packages, {sum(package.size for package in packages) / 1e6:.0f} MB"


def _set_file(cache: Path, roots: Sequence[str]) -> Path:
    # Named by what was asked for: a later version with other roots must not take this one for its own.
    return cache / f"set-{hashlib.sha256(' '.join(sorted(roots)).encode()).hexdigest()[:12]}.json"


def _read_set(cache: Path, roots: Sequence[str]) -> PackageSet | None:
    try:
        return msgspec.json.decode(_set_file(cache, roots).read_bytes(), type=PackageSet)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None  # absent or torn: resolved anew


def _write_set(cache: Path, roots: Sequence[str], known: PackageSet) -> None:
    path = _set_file(cache, roots)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(known)))
    fresh.replace(path)


def _drop_leftovers(cache: Path) -> None:
    """Private apt directories of a setup that was killed; nobody else is inside, we hold the lock."""
    for directory in cache.glob("apt-*"):
        shutil.rmtree(directory)


def _refuse_full_disk(cache: Path) -> None:
    free = shutil.disk_usage(cache).free
    if free < SPARE_BYTES:
        raise DiskFull(f"{free // 1_000_000} MB are free under {cache}.")
