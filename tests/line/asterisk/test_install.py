"""Does an Asterisk come out of the cache whole, and does every hindrance name its remedy?"""

import fcntl
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from zvonar.line.asterisk import install as asterisk
from zvonar.line.asterisk import packages
from zvonar.line.asterisk.install import AsteriskInstall, AsteriskTooOld, AsteriskUnusable
from zvonar.line.asterisk.packages import (
    AsteriskSetupFailed,
    DiskFull,
    MirrorUnreachable,
    NoMirror,
    Package,
    SetupBusy,
    SignatureRefused,
)

from ...ports import free_port

if TYPE_CHECKING:
    from conftest import Telephony

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "zvonar/debs"


def never(sentence: str) -> None:
    raise AssertionError(f"work was done: {sentence}")


def refused_port() -> int:
    """A port of loopback on which nobody listens."""
    return free_port()


def test_an_intact_install_returns_at_once(home: Path, install: AsteriskInstall) -> None:
    assert asterisk.ensure(home, CACHE, never) == install


def test_the_manifest_tells_what_was_unpacked(home: Path, install: AsteriskInstall) -> None:
    made = asterisk.manifest(home)
    assert made is not None
    assert made.asterisk_version == install.version
    assert {"asterisk", "espeak-ng", "libc6"} <= {package.name for package in made.packages}
    assert all(len(package.sha256) == 64 for package in made.packages)


def test_espeak_speaks(install: AsteriskInstall) -> None:
    assert install.espeak is not None
    spoken = subprocess.run(
        [*install.espeak.command, "-v", "ru", "--stdout", "раз"],
        env={**os.environ, **install.espeak.env},
        capture_output=True,
        timeout=90,
        check=True,
    )
    assert spoken.stdout.startswith(b"RIFF")
    assert len(spoken.stdout) > 10_000


def test_a_second_home_needs_no_network_and_a_torn_one_is_mended(
    tmp_path: Path, install: AsteriskInstall
) -> None:
    nowhere = f"http://127.0.0.1:{refused_port()}/debian"
    other = asterisk.ensure(tmp_path, CACHE, print, mirror=nowhere)
    assert other.version == install.version
    (other.modules / "chan_pjsip.so").write_bytes(b"torn")
    assert asterisk.find(tmp_path) is None
    # As a setup leaves it that was killed while unpacking.
    leftover = tmp_path / "asterisk/.unpack-killed/tree"
    leftover.mkdir(parents=True)
    assert asterisk.ensure(tmp_path, CACHE, print, mirror=nowhere) == other
    assert not leftover.exists()


def test_an_empty_home_has_none(tmp_path: Path) -> None:
    assert asterisk.find(tmp_path) is None
    assert asterisk.manifest(tmp_path) is None


def test_no_network_and_no_cache_is_said(tmp_path: Path) -> None:
    with pytest.raises(MirrorUnreachable, match="network"):
        asterisk.ensure(
            tmp_path / "home",
            tmp_path / "cache",
            print,
            mirror=f"http://127.0.0.1:{refused_port()}/debian",
        )
    assert not list((tmp_path / "cache").glob("apt-*"))


@contextmanager
def mirror(root: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(root))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/debian"
        finally:
            server.shutdown()
            thread.join(5)


@pytest.mark.parametrize("release", [None, "Origin: Debian\nSuite: unstable\nCodename: sid\n"])
def test_an_unsigned_mirror_is_refused(tmp_path: Path, release: str | None) -> None:
    index = tmp_path / "www/debian/dists/sid"
    index.mkdir(parents=True)
    if release is not None:
        (index / "Release").write_text(release)
    with mirror(tmp_path / "www") as address, pytest.raises(SignatureRefused, match="ZVONAR_DEBIAN_MIRROR"):
        asterisk.ensure(tmp_path / "home", tmp_path / "cache", print, mirror=address)


@pytest.mark.parametrize("address", ["", "no address", 'http://x/"; Acquire::x "', "http://x/ [trusted=yes]"])
def test_a_mirror_that_would_be_configuration_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(NoMirror):
        asterisk.ensure(tmp_path / "home", tmp_path / "cache", print, mirror=address)


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        # Fetched indexes carry the archive's own labels; the mirror may be called anything.
        ("http://m/x/|Debian|Debian\nhttp://m/s/|Debian|Debian-Security\n", "http://m/x/"),
        ("http://m/s/|Debian|Debian-Security\nhttp://m/x/|Debian|Debian\n", "http://m/x/"),
        ("https://third/apt/|Third|Third\nhttp://m/debian|Debian|Debian\n", "http://m/debian"),
        # Nothing was ever fetched on this machine: the labels are not known yet.
        (
            "http://m/debian-security/|$(ORIGIN)|$(LABEL)\nhttp://m/debian/|$(ORIGIN)|$(LABEL)\n",
            "http://m/debian/",
        ),
        ("http://archive/ubuntu/|Ubuntu|Ubuntu\n", None),
        ("", None),
    ],
)
def test_the_mirror_is_the_machines_own(targets: str, found: str | None) -> None:
    assert packages.debian_mirror(targets) == found


@pytest.mark.parametrize(
    ("complaint", "error"),
    [
        ("E: Write error - write (28: No space left on device)", DiskFull),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", DiskFull),
        ("W: GPG error: http://m sid InRelease: ... NO_PUBKEY 648ACFD622F3D138", SignatureRefused),
        ("E: The repository 'http://m sid Release' is not signed.", SignatureRefused),
        ("E: Failed to fetch http://m/Release  Could not resolve 'm'", MirrorUnreachable),
        ("dpkg-deb: error: archive is damaged", AsteriskSetupFailed),
        ("", AsteriskSetupFailed),
    ],
)
def test_apts_words_become_a_sentence_with_a_remedy(complaint: str, error: type[AsteriskSetupFailed]) -> None:
    assert type(packages.failure(complaint)) is error


def test_a_damaged_package_in_the_cache_is_not_used(tmp_path: Path, install: AsteriskInstall) -> None:
    source = next(CACHE.glob("archives/libmd0_*.deb"))
    package = Package(
        name="x", version="1:2", architecture="amd64", sha256="0" * 64, size=source.stat().st_size
    )
    assert package.file == "x_1%3a2_amd64.deb"
    copy = tmp_path / package.file
    shutil.copy(source, copy)
    assert not packages._whole(copy, package)
    assert not copy.exists()  # so that it is fetched anew


def test_a_busy_cache_is_waited_for_and_then_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "LOCK_DEADLINE", 0.3)
    said: list[str] = []
    with (tmp_path / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SetupBusy), packages.locked(tmp_path / "lock", said.append):
            pass
    assert len(said) == 1


def test_a_set_of_other_roots_is_not_taken(tmp_path: Path) -> None:
    known = packages.PackageSet(suite="sid", packages=())
    packages._write_set(tmp_path, ["a"], known)
    assert packages._read_set(tmp_path, ["a"]) == known
    assert packages._read_set(tmp_path, ["a", "b"]) is None


def program(path: Path, said: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    return path


def test_an_operators_asterisk_is_probed(tmp_path: Path, install: AsteriskInstall) -> None:
    binary = program(tmp_path / "sbin/asterisk", "Asterisk 22.6.0")
    (tmp_path / "etc/asterisk").mkdir(parents=True)
    (tmp_path / "etc/asterisk/asterisk.conf").write_text(
        f"[directories](!)\nastmoddir => {install.modules}\nastdatadir => {install.rest_api.parent} ; ours\n"
    )
    found = asterisk.probe(binary)
    assert (found.version, found.modules, found.rest_api) == ("22.6.0", install.modules, install.rest_api)
    assert found.sounds == install.sounds
    assert found.argv(Path("/x/asterisk.conf")) == [str(binary), "-f", "-C", "/x/asterisk.conf"]


@pytest.mark.parametrize("version", ["22.4.1", "20.11.0", "16.28.0"])
def test_an_old_asterisk_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(AsteriskTooOld, match=version):
        asterisk.probe(program(tmp_path / "sbin/asterisk", f"Asterisk {version}"))


def test_what_is_no_asterisk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AsteriskUnusable, match="may be run"):
        asterisk.probe(tmp_path / "absent")
    with pytest.raises(AsteriskUnusable, match="version"):
        asterisk.probe(program(tmp_path / "sbin/asterisk", "hello"))
    with pytest.raises(AsteriskUnusable, match="chan_pjsip"):
        asterisk.probe(program(tmp_path / "sbin/asterisk", "Asterisk 22.6.0"))


def test_only_what_is_used_is_loaded(telephony: "Telephony") -> None:
    log = (telephony.home / "gateway/log/messages.log").read_text()
    assert "ERROR" not in "".join(line for line in log.splitlines(True) if "loader.c" in line)


def test_a_manifest_survives_its_own_round_trip(home: Path, install: AsteriskInstall) -> None:
    made = asterisk.manifest(home)
    assert msgspec.json.decode(msgspec.json.encode(made), type=asterisk.Manifest) == made
