"""How does an operator add a SIP trunk? Checked by rendering it before it is stored, then loaded by the gateway."""

import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from zvonar.core.errors import Invalid, NotFound, Refused
from zvonar.line.asterisk import config
from zvonar.line.asterisk.config import CODECS, GatewayConfig, Secret
from zvonar.line.asterisk.install import AsteriskInstall
from zvonar.service.plant import TOWN_TRUNK, sip_trunk
from zvonar.store import trunks
from zvonar.store.db import Database
from zvonar.store.trunks import NewTrunk, Trunk

# Digits, or a block whose last digits the dialer fills in: +7495123XXXX.
_CALLER_ID = re.compile(r"\+(?=[\dX]{5,15}\Z)\d+X*", re.ASCII)


class TrunkInvalid(Invalid):
    """The trunk cannot be stored like this."""


class TrunkReserved(Refused):
    """This name belongs to the trial phone network: choose another."""


class TrunkNotFound(NotFound):
    """There is no such trunk: zvonar trunk list shows those there are."""


class TrunkFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `--file` may hold, and the options stand for."""

    host: str  # name or address of the carrier
    port: int = 5060
    username: str | None = None  # digest
    secret_file: str | None = None  # holds the password
    secret_env: str | None = None  # names the variable that holds it
    register: bool = False
    from_user: str | None = None
    from_domain: str | None = None
    codecs: tuple[str, ...] = CODECS
    send_pai: bool = True
    channels: int = 30
    cps: Decimal = Decimal(0)  # calls a second; 0 is no limit
    caller_ids: tuple[str, ...] = field(default_factory=tuple)
    priority: int = 100  # lower is tried first
    enabled: bool = True


_OURS = ("channels", "cps", "caller_ids", "priority", "enabled")  # the rest is SIP's


def described(file: Path | None, options: dict[str, Any]) -> TrunkFile:
    """The trunk of a file with the options over it. Raises TrunkInvalid naming what is wrong."""
    merged: dict[str, Any] = {}
    if file is not None:
        try:
            merged = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise TrunkInvalid(f"{file.name} is not a JSON object: {exc}.") from None
    if "password" in merged or "secret" in merged:
        raise TrunkInvalid(
            "A password stands in a file of its own, or in the environment: secret_file, secret_env."
        )
    merged |= {name: value for name, value in options.items() if value is not None}
    if "host" not in merged:
        raise TrunkInvalid("It needs the carrier's host: --host, or host in the file.")
    try:
        return msgspec.convert(merged, TrunkFile, strict=False)
    except msgspec.ValidationError as exc:
        raise TrunkInvalid(f"{exc}.") from None


def checked(name: str, given: TrunkFile, asterisk: AsteriskInstall, scratch: Path) -> NewTrunk:
    """The trunk as it is stored, once the gateway's configuration has been rendered with it under `scratch`.

    Raises TrunkInvalid, TrunkReserved, SecretMissing, ConfigRefused.
    """
    name = name.strip()
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise TrunkInvalid("A name is 1 to 100 characters.")
    if name == TOWN_TRUNK:
        raise TrunkReserved()
    if given.secret_file is not None and given.secret_env is not None:
        raise TrunkInvalid("The password comes from a file or from the environment, not from both.")
    if (given.secret_file or given.secret_env) and given.username is None:
        raise TrunkInvalid("A password needs a username.")
    if not 1 <= given.channels <= 100_000:
        raise TrunkInvalid("Channels are 1 to 100000.")
    if not (given.cps.is_finite() and 0 <= given.cps <= 1000):
        raise TrunkInvalid("Calls a second are 0 (no limit) to 1000.")
    if not 0 <= given.priority <= 1_000_000:
        raise TrunkInvalid("A priority is 0 to 1000000; lower is tried first.")
    if not all(_CALLER_ID.fullmatch(caller_id) for caller_id in given.caller_ids):
        raise TrunkInvalid("Caller IDs are numbers like +74951234567, or blocks like +7495123XXXX.")
    if not given.codecs:
        raise TrunkInvalid(f"Codecs are some of {', '.join(CODECS)}.")
    settings = {key: value for key, value in msgspec.to_builtins(given).items() if key not in _OURS}
    if given.secret_file is not None:
        # The service reads it from wherever it was started.
        settings["secret_file"] = str(Path(given.secret_file).absolute())
    new = NewTrunk(
        name=name,
        settings=settings,
        max_channels=given.channels,
        calls_per_second=given.cps.quantize(Decimal("0.01")),
        caller_ids=list(given.caller_ids),
        priority=given.priority,
        enabled=given.enabled,
    )
    _render(new, asterisk, scratch)
    return new


def _render(new: NewTrunk, asterisk: AsteriskInstall, scratch: Path) -> None:
    """The very checks that stand between a trunk and a gateway, in a directory that is thrown away."""
    trunk = Trunk(trunk_id=0, in_use=0, **msgspec.structs.asdict(new))
    with tempfile.TemporaryDirectory(prefix="trunk-", dir=scratch) as room:
        config.write_gateway(
            GatewayConfig(
                ari_port=1,
                ari_user="check",
                ari_password=Secret("check"),
                sip_port=1,
                rtp_first=1,
                rtp_last=1,
                trunks=(sip_trunk(trunk),),
            ),
            asterisk,
            Path(room),
        )


async def add(db: Database, new: NewTrunk) -> tuple[Trunk, list[Trunk]]:
    """Store a trunk under its name; it, and all trunks of its gateway. Raises TrunkReserved."""
    if any(trunk.trial and trunk.name == new.name for trunk in await trunks.of_gateway(db, new.gateway)):
        raise TrunkReserved()
    stored = await trunks.put(db, new)
    return stored, await trunks.of_gateway(db, new.gateway)


async def named(db: Database, name: str) -> Trunk:
    """The trunk of this name, or TrunkNotFound."""
    for trunk in await trunks.of_gateway(db, "gateway"):
        if trunk.name == name:
            return trunk
    raise TrunkNotFound(repr(name))


def document(trunk: Trunk) -> dict[str, Any]:
    """For `--json`; of a secret only where it comes from."""
    defaults = {"port": 5060, "username": None, "register": False, "codecs": list(CODECS)}
    return {
        "id": trunk.trunk_id,
        "name": trunk.name,
        **defaults,
        **trunk.settings,
        "trial": trunk.trial,
        "enabled": trunk.enabled,
        "priority": trunk.priority,
        "channels": trunk.max_channels,
        "cps": trunk.calls_per_second,
        "caller_ids": trunk.caller_ids,
        "in_use": trunk.in_use,
    }
