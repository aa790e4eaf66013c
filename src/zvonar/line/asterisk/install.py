"""Where is Asterisk, and is it one that we can drive?

`ensure` brings one (and espeak-ng) from Debian's packages into the home: unpacked, not installed, and run
by the C library's own loader, so neither root nor a container nor the machine's libraries are involved.
`probe` takes one that the operator has installed. Both give the same `AsteriskInstall`.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache as remember
from importlib.resources import files
from pathlib import Path

import msgspec

from zvonar.core.errors import ZvonarError
from zvonar.line.asterisk import packages
from zvonar.line.asterisk.packages import AsteriskSetupFailed, Package, Report

OLDEST = (22, 5)  # REST over the WebSocket, `tech_cause` on a destroyed channel
ROOTS = (
    "asterisk",
    "asterisk-modules",
    "asterisk-core-sounds-en-wav",
    "asterisk-core-sounds-ru-wav",
    "espeak-ng",
    "espeak-ng-data",
    "libc6",
)
# What the binary, our modules and espeak-ng link. Sonames move in Debian (libxml2 became libxml2-16), so
# these are stems; should the linker still miss one, everything that the roots depend on is unpacked.
LINKED = re.compile(
    r"(?:libasound|libasyncns|libbsd|libc|libcap|libcrypt|libdbus|libedit|libespeak-ng|libflac|libgcc-s|"
    r"libjansson|libmd|libmp3lame|libmpg|libogg|libopus|libpcaudio|libpulse|libsndfile|libsonic|"
    r"libsqlite|libssl|libstdc[+][+]|libsystemd|libtinfo|liburiparser|libuuid|libvorbis|libvorbisenc|"
    r"libx11|libx11-xcb|libxau|libxcb|libxdmcp|libxml|libxslt|libzstd|zlib)[-.\d]*[a-z]?(?:t64)?"
)
SOUNDS = {"en": "en_US_f_Allison", "ru": "ru_RU_f_IvrvoiceRU"}
ENVIRONMENT = {"LC_ALL": "C.UTF-8"}
RUN_DEADLINE = 20  # seconds for a version or a list of libraries
MANIFEST = "manifest.json"
# Split off from other modules during the 22 series: where one is absent, its older host does the work.
OPTIONAL_MODULES = frozenset({"res_cdrel_custom.so", "res_websocket_client.so", "res_ari_model.so"})


class AsteriskTooOld(ZvonarError):
    """This Asterisk is too old: install 22.5 or newer, or unset ZVONAR_ASTERISK to have one fetched."""


class AsteriskUnusable(ZvonarError):
    """This Asterisk cannot be used: point ZVONAR_ASTERISK to another, or unset it to have one fetched."""


class Espeak(msgspec.Struct, frozen=True, kw_only=True):
    command: tuple[str, ...]  # argv up to espeak-ng's own options
    env: dict[str, str]  # to add to the environment: where its voices are
    version: str  # part of a clip's key


class AsteriskInstall(msgspec.Struct, frozen=True, kw_only=True):
    version: str  # 22.10.1
    command: tuple[str, ...]  # argv up to Asterisk's own options
    env: dict[str, str]  # to add to the environment
    modules: Path  # directory of *.so
    rest_api: Path  # ARI's resource descriptions; without them ARI does not start
    documentation: Path  # core-en_US.xml; without it modules refuse their configuration
    sounds: dict[str, Path]  # language → directory of wav files
    espeak: Espeak | None  # None: this machine has none; an Asterisk of our own always brings one

    def argv(self, conf: Path) -> list[str]:
        """The command line that runs this Asterisk in the foreground with the given asterisk.conf."""
        return [*self.command, "-f", "-C", str(conf)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    asterisk_version: str
    espeak_version: str
    suite: str  # Debian's release that the packages came from
    packages: tuple[Package, ...]  # what was unpacked
    loader: str  # ld.so, relative to the install
    library_dirs: tuple[str, ...]  # relative, in search order
    modules: str  # relative
    files: dict[str, int]  # what must be there, relative, with its size in bytes


def ensure(home: Path, cache: Path, report: Report, *, mirror: str | None = None) -> AsteriskInstall:
    """The Asterisk under `home`, fetched when it is not there. Milliseconds when it is.

    `cache` keeps packages for all homes of this user, `mirror` is an address to use instead of the one that
    apt knows. Raises AsteriskSetupFailed.
    """
    present = find(home)
    if present is not None:
        return present
    with packages.diskful():
        root = home.absolute() / "asterisk"
        root.mkdir(parents=True, exist_ok=True)
        with packages.locked(root / ".lock", report):
            present = find(home)  # whoever held the lock may have brought it
            if present is not None:
                return present
            try:
                return _bring(root, cache, report, _linked, mirror)
            except _LibraryMissing as exc:
                report(f"Debian has moved libraries ({exc.detail}): fetching all that Asterisk depends on")
                return _bring(root, cache, report, tuple, mirror)


def find(home: Path) -> AsteriskInstall | None:
    """The newest whole Asterisk under `home` that has all modules we load, or None. Asks no network."""
    modules = required_modules()
    manifests = (home.absolute() / "asterisk").glob(f"*/{MANIFEST}")
    for path in sorted(manifests, key=lambda path: _numbers(path.parent.name), reverse=True):
        try:
            made = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except msgspec.MsgspecError:
            continue  # torn by a power cut: as good as absent
        has_modules = all(f"{made.modules}/{name}" in made.files for name in modules)
        if has_modules and _whole(path.parent, made):
            return _install(path.parent, made)
    return None


def manifest(home: Path) -> Manifest | None:
    """What `ensure` recorded about the newest install, for `doctor` and bug reports."""
    paths = sorted((home / "asterisk").glob(f"*/{MANIFEST}"), key=lambda path: _numbers(path.parent.name))
    return msgspec.json.decode(paths[-1].read_bytes(), type=Manifest) if paths else None


def probe(binary: Path) -> AsteriskInstall:
    """The operator's own Asterisk. Raises AsteriskTooOld or AsteriskUnusable, each naming what is wrong."""
    if not os.access(binary, os.X_OK):
        raise AsteriskUnusable(f"{binary} is not a program that may be run.")
    version = _asterisk_version([str(binary)])
    if _numbers(version)[:2] < OLDEST:
        raise AsteriskTooOld(f"{binary} is {version}.")
    prefix = binary.resolve().parent.parent
    found = _directories(prefix)
    module_dir = _first("modules", [*found["modules"]], "chan_pjsip.so")
    absent = sorted(name for name in required_modules() if not (module_dir / name).exists())
    if absent:
        raise AsteriskUnusable(f"{module_dir} lacks {', '.join(absent)}.")
    data = found["data"]
    sounds = [directory / "sounds" for directory in data if (directory / "sounds").is_dir()]
    return AsteriskInstall(
        version=version,
        command=(str(binary),),
        env=dict(ENVIRONMENT),
        modules=module_dir,
        rest_api=_first("ARI descriptions", [directory / "rest-api" for directory in data], "resources.json"),
        documentation=_first(
            "documentation", [directory / "documentation" for directory in data], "core-en_US.xml"
        ),
        sounds=dict(_own_sounds(sounds)),
        espeak=system_espeak(),
    )


def system_espeak() -> Espeak | None:
    """espeak-ng as installed on this machine."""
    path = shutil.which("espeak-ng")
    return Espeak(command=(path,), env={}, version=_espeak_version([path], {})) if path else None


def templates(role: str) -> Iterator[tuple[str, str]]:
    """Name and text of each configuration file of the gateway or the town."""
    for folder in ("common", role):
        for entry in sorted((files(__package__) / "conf" / folder).iterdir(), key=lambda entry: entry.name):
            yield entry.name, entry.read_text(encoding="utf-8")


@remember
def required_modules() -> frozenset[str]:
    """Every module that our configurations load and that no Asterisk may lack."""
    texts = (
        text for role in ("gateway", "town") for name, text in templates(role) if name.startswith("modules")
    )
    names = (name for text in texts for name in re.findall(r"^(?:pre)?load=(\S+)$", text, re.MULTILINE))
    return frozenset(names) - OPTIONAL_MODULES


class _LibraryMissing(AsteriskSetupFailed):
    """A shared library is missing."""


def _bring(
    root: Path,
    cache: Path,
    report: Report,
    choose: packages.Choice,
    mirror: str | None,
) -> AsteriskInstall:
    cache.mkdir(parents=True, exist_ok=True)
    known = packages.provide(ROOTS, choose, cache=cache, mirror=mirror, report=report)
    chosen = tuple(choose(known.packages))
    for leftover in root.glob(".unpack-*"):
        shutil.rmtree(leftover)  # of a setup that was killed; we hold the lock
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=root) as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir()
        report(f"Unpacking {len(chosen)} packages")
        packages.unpack(chosen, cache=cache, into=tree)
        for unused in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "etc"):
            shutil.rmtree(tree / unused, ignore_errors=True)
        made = _examine(tree, known.suite, chosen)
        (tree / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(made)))
        final = root / made.asterisk_version
        if final.exists():
            final.rename(Path(scratch) / "old")  # not whole, or `find` would have taken it
        tree.rename(final)
    report(f"Asterisk {made.asterisk_version} and espeak-ng {made.espeak_version} are in place")
    return _install(final, made)


def _linked(known: Sequence[Package]) -> list[Package]:
    """The roots, and what the stems of `LINKED` stand for today."""
    return [package for package in known if package.name in ROOTS or LINKED.fullmatch(package.name)]


def _examine(tree: Path, suite: str, chosen: tuple[Package, ...]) -> Manifest:
    """Checks that everything links against the unpacked libraries alone, and writes down what matters."""
    loader = _only(tree, "usr/lib*/ld-linux*.so.*", "usr/lib/*/ld-linux*.so.*")
    libraries = _only(tree, "usr/lib/*-linux-gnu*/asterisk/modules").parent.parent
    module_dir = libraries / "asterisk/modules"
    # pulseaudio keeps its common part in a directory of its own.
    directories = [libraries, *sorted({path.parent for path in libraries.glob("pulseaudio/*.so")})]
    search = ":".join(map(str, directories))
    binaries = [tree / "usr/sbin/asterisk", tree / "usr/bin/espeak-ng"]
    present = [
        module_dir / name for name in required_modules() | OPTIONAL_MODULES if (module_dir / name).exists()
    ]
    needed = {loader, *binaries, *present, *_data_files(tree)}
    for target in (*binaries, *present):
        needed |= set(_libraries(loader, search, target, tree))
    runner = [str(loader), "--library-path", search]
    version = _asterisk_version([*runner, str(binaries[0])])
    if _numbers(version)[:2] < OLDEST:
        raise AsteriskTooOld(f"Debian's mirror offers {version}.")
    return Manifest(
        asterisk_version=version,
        espeak_version=_espeak_version([*runner, str(binaries[1])], {"ESPEAK_DATA_PATH": str(libraries)}),
        suite=suite,
        packages=chosen,
        loader=str(loader.relative_to(tree)),
        library_dirs=tuple(str(directory.relative_to(tree)) for directory in directories),
        modules=str(module_dir.relative_to(tree)),
        files={str(path.relative_to(tree)): path.stat().st_size for path in sorted(needed)},
    )


def _libraries(loader: Path, search: str, target: Path, tree: Path) -> Iterator[Path]:
    listed = _output([str(loader), "--inhibit-cache", "--library-path", search, "--list", str(target)])
    for name, path in re.findall(r"^\s*(\S+) => (.+?)(?: \(0x[0-9a-f]+\))?$", listed, re.MULTILINE):
        # A library of the machine itself would be a mixture that works here and not elsewhere.
        if not path.startswith(f"{tree}/"):
            raise _LibraryMissing(f"{name} for {target.name}")
        yield Path(path)


def _data_files(tree: Path) -> Iterator[Path]:
    share = tree / "usr/share/asterisk"
    yield from (share / "rest-api").glob("*.json")
    yield share / "documentation/core-en_US.xml"
    for directory in SOUNDS.values():
        yield from (share / "sounds" / directory / name for name in ("beep.wav", "vm-intro.wav"))


def _install(root: Path, made: Manifest) -> AsteriskInstall:
    directories = [root / directory for directory in made.library_dirs]
    runner = (str(root / made.loader), "--inhibit-cache", "--library-path", ":".join(map(str, directories)))
    share = root / "usr/share/asterisk"
    return AsteriskInstall(
        version=made.asterisk_version,
        command=(*runner, "--argv0", "asterisk", str(root / "usr/sbin/asterisk")),
        env=dict(ENVIRONMENT),
        modules=root / made.modules,
        rest_api=share / "rest-api",
        documentation=share / "documentation",
        sounds={language: share / "sounds" / directory for language, directory in SOUNDS.items()},
        espeak=Espeak(
            command=(*runner, "--argv0", "espeak-ng", str(root / "usr/bin/espeak-ng")),
            env={**ENVIRONMENT, "ESPEAK_DATA_PATH": str(directories[0])},
            version=made.espeak_version,
        ),
    )


def _whole(root: Path, made: Manifest) -> bool:
    try:
        return all((root / name).stat().st_size == size for name, size in made.files.items())
    except FileNotFoundError:
        return False


def _only(tree: Path, *patterns: str) -> Path:
    found = [path for pattern in patterns for path in sorted(tree.glob(pattern))]
    if not found:
        raise AsteriskSetupFailed(f"The packages hold no {patterns[0]}.")
    return found[0]


def _first(what: str, candidates: Sequence[Path], landmark: str) -> Path:
    for directory in candidates:
        if (directory / landmark).exists():
            return directory
    raise AsteriskUnusable(f"Its {what} ({landmark}) are in none of {', '.join(map(str, candidates))}.")


def _directories(prefix: Path) -> dict[str, list[Path]]:
    """Where an installed Asterisk keeps things: what its asterisk.conf says, then the usual places."""
    etc = Path("/etc") if prefix == Path("/usr") else prefix / "etc"
    said: dict[str, str] = {}
    for conf in (etc / "asterisk/asterisk.conf", Path("/etc/asterisk/asterisk.conf")):
        if conf.is_file() and os.access(conf, os.R_OK):
            text = conf.read_text(errors="replace")
            said = dict(re.findall(r"^\s*(ast\w+dir)\s*=>?\s*([^\s;]+)", text, re.MULTILINE))
            break
    usual_modules = [
        *sorted(prefix.glob("lib/*-linux-gnu*/asterisk/modules")),
        prefix / "lib/asterisk/modules",
    ]
    usual_data = [prefix / "share/asterisk", prefix / "var/lib/asterisk", Path("/var/lib/asterisk")]
    return {
        "modules": [
            *map(Path, filter(None, [said.get("astmoddir")])),
            *usual_modules,
            prefix / "lib64/asterisk/modules",
        ],
        "data": [*map(Path, filter(None, [said.get("astdatadir")])), *usual_data],
    }


def _own_sounds(directories: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    for language, debian in SOUNDS.items():
        for directory in directories:
            found = next((path for path in (directory / language, directory / debian) if path.is_dir()), None)
            if found is not None:
                yield language, found
                break


def _asterisk_version(command: Sequence[str]) -> str:
    said = _output([*command, "-V"])
    match = re.match(r"Asterisk (?:certified[/-])?(\d+(?:\.\d+)+)", said)
    if match is None:
        raise AsteriskUnusable(f"Asked for its version it said {said.strip()[:80]!r}.")
    return match[1]


def _espeak_version(command: Sequence[str], env: Mapping[str, str]) -> str:
    match = re.search(r"(\d+(?:\.\d+)+)", _output([*command, "--version"], env))
    return match[1] if match else "unknown"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _output(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            argv,
            check=False,  # some programs answer --version with a complaint code
            env={**os.environ, **ENVIRONMENT, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=RUN_DEADLINE,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise AsteriskUnusable(f"{argv[0]} did not run: {exc}") from exc
    return done.stdout + done.stderr
