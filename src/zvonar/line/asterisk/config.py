"""What does an Asterisk of ours get to read? Structs in, a private directory of *.conf files out.

The texts are `string.Template` files in `conf/`: `common/` for both, `gateway/` and `town/` for one.
Every value that comes from outside is checked first: Asterisk's format has no quoting, so a newline,
a semicolon or a bracket in a password would be configuration.
"""

import hashlib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template

import msgspec

from zvonar.core.errors import Invalid
from zvonar.line.asterisk import cel
from zvonar.line.asterisk.install import OPTIONAL_MODULES, AsteriskInstall, templates

LOOPBACK = "127.0.0.1"
RTP_TIMEOUT = 30  # seconds without a packet from the callee until the call is taken for dead
RTP_KEEPALIVE = 15  # seconds; carriers end a call on which we are silent
CODECS = ("alaw", "ulaw")

DIRECTORIES = (
    *("etc", "var", "run", "sounds", "data/sounds"),
    *("log/cel-custom", "spool/recording", "spool/voicemail"),
)

# Asterisk asks for these and complains when they are absent; empty means its defaults.
EMPTY = (
    *("acl.conf", "amd.conf", "ccss.conf", "features.conf", "pjproject.conf", "udptl.conf"),
    "websocket_client.conf",
)


class ConfigRefused(Invalid):
    """A value cannot stand in an Asterisk configuration file."""


class Secret(str):
    """A word that is not to be seen in a log or a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"


class SipTrunk(msgspec.Struct, frozen=True, kw_only=True):
    id: str  # the endpoint is `trunk-<id>`
    host: str  # name or address of the carrier, also where its INVITEs come from
    port: int = 5060  # of the carrier
    username: str | None = None  # digest; None where the carrier knows us by address
    password: Secret | None = None  # digest
    register: bool = False  # keep a registration at the carrier
    from_user: str | None = None  # user part of From; None leaves the caller ID there
    from_domain: str | None = None  # host part of From; None is the carrier's host
    codecs: tuple[str, ...] = CODECS  # in order of preference
    send_pai: bool = True  # caller ID in P-Asserted-Identity too


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True):
    ari_port: int  # TCP, loopback always
    ari_user: str
    ari_password: Secret
    sip_port: int  # UDP
    rtp_first: int  # first UDP port of the range for media, even
    rtp_last: int  # last one; two ports a call
    bind: str = LOOPBACK  # address for SIP and, unless 0.0.0.0, for media
    external_address: str | None = None  # what carriers see when we stand behind a NAT
    local_networks: tuple[str, ...] = ()  # CIDR; inside them the external address is not used
    trunks: tuple[SipTrunk, ...] = ()


class TownConfig(msgspec.Struct, frozen=True, kw_only=True):
    ari_port: int  # TCP
    ari_user: str
    ari_password: Secret
    sip_port: int  # UDP; the trial trunk leads here
    rtp_first: int
    rtp_last: int
    gateway_port: int  # UDP; where the town's own calls go
    username: str | None = None  # what the gateway must prove by digest; None: nothing
    password: Secret | None = None


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    conf: Path  # the asterisk.conf to start with
    home: Path  # the directory that this Asterisk owns
    fingerprint: str  # of all texts; differs when a running one should be reloaded


def write_gateway(config: GatewayConfig, install: AsteriskInstall, home: Path) -> Rendered:
    """Renders the gateway under `home` (…/gateway). Raises ConfigRefused before touching anything."""
    _check_common(config.ari_port, config.ari_user, config.ari_password, config.sip_port, config.rtp_first)
    _check_ports(config.rtp_first, config.rtp_last)
    cel.seal(cel.path(home))
    values = {
        **_values(config.ari_port, config.ari_user, config.ari_password, config.sip_port),
        "rtp_first": str(config.rtp_first),
        "rtp_last": str(config.rtp_last),
        "bind": _address(config.bind),
        "external": "\n".join(_external(config)),
        "trunks": "\n".join(text for trunk in config.trunks for text in _trunk(trunk, config)),
        "transmit_silence": "no",
        "entity": "02:00:00:00:00:01",
    }
    if len({trunk.id for trunk in config.trunks}) < len(config.trunks):
        raise ConfigRefused("Two trunks have the same id.")
    return _write("gateway", values, install, home)


def write_town(config: TownConfig, install: AsteriskInstall, home: Path) -> Rendered:
    """Renders the town under `home` (…/town)."""
    _check_common(config.ari_port, config.ari_user, config.ari_password, config.sip_port, config.gateway_port)
    _check_ports(config.rtp_first, config.rtp_last)
    auth: list[str] = []
    if config.username is not None:
        auth = ["auth=gateway", *_auth("gateway", config.username, config.password)]
    values = {
        **_values(config.ari_port, config.ari_user, config.ari_password, config.sip_port),
        "rtp_first": str(config.rtp_first),
        "rtp_last": str(config.rtp_last),
        "gateway_port": str(config.gateway_port),
        "auth": "\n".join(auth),
        # A subscriber who listens or waits sends silence, as telephones do; the gateway sees a live line.
        "transmit_silence": "yes",
        "entity": "02:00:00:00:00:02",
    }
    return _write("town", values, install, home)


def endpoint(trunk_id: str) -> str:
    """The PJSIP endpoint of a trunk, as in `PJSIP/<number>@<endpoint>`."""
    return f"trunk-{_word(trunk_id, 'trunk id')}"


def _trunk(trunk: SipTrunk, config: GatewayConfig) -> Iterator[str]:
    name = endpoint(trunk.id)
    host = _host(trunk.host)
    domain = host if trunk.from_domain is None else _host(trunk.from_domain)
    _check_ports(trunk.port, trunk.port)
    for codec in trunk.codecs:
        if codec not in CODECS:
            raise ConfigRefused(f"codec {codec!r}: one of {', '.join(CODECS)}.")
    # Digits may come as RFC 4733 or as SIP INFO: the carrier's offer decides.
    yield f"""
[{name}]
type=endpoint
transport=udp
context=inbound
aors={name}
disallow=all
allow={",".join(trunk.codecs)}
direct_media=no
dtmf_mode=auto_info
rtp_symmetric=yes
force_rport=yes
rtp_timeout={RTP_TIMEOUT}
rtp_keepalive={RTP_KEEPALIVE}
timers=no
trust_id_outbound=yes
send_pai={"yes" if trunk.send_pai else "no"}
from_domain={domain}"""
    if not ipaddress.ip_address(config.bind).is_unspecified:
        yield f"media_address={_address(config.bind)}\nbind_rtp_to_media_address=yes"
    if trunk.from_user is not None:
        yield f"from_user={_word(trunk.from_user, 'from user')}"
    if trunk.username is not None:
        yield f"outbound_auth={name}"
        yield from _auth(name, trunk.username, trunk.password)
    yield f"[{name}]\ntype=aor\ncontact=sip:{host}:{trunk.port}"
    yield f"[{name}]\ntype=identify\nendpoint={name}\nmatch={host.strip('[]')}"
    if trunk.register:
        if trunk.username is None:
            raise ConfigRefused("A trunk that registers needs a username and a password.")
        user = _word(trunk.username, "username")
        yield f"""[{name}]
type=registration
transport=udp
outbound_auth={name}
server_uri=sip:{host}:{trunk.port}
client_uri=sip:{user}@{domain}
contact_user={user}
retry_interval=30
forbidden_retry_interval=300
max_retries=1000000"""


def _auth(name: str, username: str, password: Secret | None) -> Iterator[str]:
    if password is None:
        raise ConfigRefused("A username needs a password.")
    yield f"[{name}]\ntype=auth\nauth_type=userpass"
    yield f"username={_word(username, 'username')}\npassword={_secret(password)}"


def _external(config: GatewayConfig) -> Iterator[str]:
    if config.external_address is not None:
        address = _address(config.external_address)
        yield f"external_media_address={address}\nexternal_signaling_address={address}"
    for network in config.local_networks:
        try:
            yield f"local_net={ipaddress.ip_network(network)}"
        except ValueError as exc:
            raise ConfigRefused(
                f"local network {network!r}: expected an address and a prefix length."
            ) from exc


def _values(ari_port: int, user: str, password: Secret, sip_port: int) -> dict[str, str]:
    return {
        "ari_port": str(ari_port),
        "ari_user": _word(user, "ARI user"),
        "ari_password": _secret(password),
        "sip_port": str(sip_port),
    }


def _check_common(ari_port: int, user: str, password: Secret, *ports: int) -> None:
    for port in (ari_port, *ports):
        _check_ports(port, port)
    if not user or user == "general" or not password:
        raise ConfigRefused("ARI needs a user (not `general`) and a password.")


def _check_ports(first: int, last: int) -> None:
    if not 1 <= first <= last <= 65535:
        raise ConfigRefused(f"port {first}-{last}: from 1 to 65535, the first not above the last.")


def _word(value: str, name: str) -> str:
    """A user, id or domain part: what SIP allows there without escaping, less what .conf would read."""
    if not re.fullmatch(r"[A-Za-z0-9_.+*~@-]{1,128}", value):
        raise ConfigRefused(f"{name}: only letters, digits and _.+*~@- are allowed.")
    return value


def _secret(value: str) -> str:
    # Printable ASCII; `;` would start a comment, a leading `>` would belong to `=`, edges would be trimmed.
    if not re.fullmatch(r"[!-:<-~]([ -:<-~]*[!-:<-~])?", value) or value.startswith(">") or len(value) > 128:
        raise ConfigRefused(
            "A password may hold printable ASCII without `;`, at most 128 characters, no outer spaces."
        )
    return value


def _host(value: str) -> str:
    label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if len(value) <= 253 and re.fullmatch(rf"{label}(\.{label})*", value):
        return value
    address = _address(value.strip("[]"))
    return f"[{address}]"  # only an IPv6 address gets this far


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError as exc:
        raise ConfigRefused(f"{value!r} is neither a host name nor an IP address.") from exc


def _write(role: str, values: Mapping[str, str], install: AsteriskInstall, home: Path) -> Rendered:
    home = home.absolute()
    _check_path(home)
    _check_path(install.modules)
    paths = {"home": str(home), "modules": str(install.modules), "role": role}
    texts = {name: Template(text).substitute(values, **paths) for name, text in templates(role)}
    texts["modules.conf"] = _known_modules(texts["modules.conf"], install)
    texts[f"modules_{role}.conf"] = _known_modules(texts[f"modules_{role}.conf"], install)
    texts.update(dict.fromkeys(EMPTY, ""))
    for part in DIRECTORIES:
        (home / part).mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    _link(home / "data/rest-api", install.rest_api)
    _link(home / "data/documentation", install.documentation)
    for language, directory in install.sounds.items():
        _link(home / "data/sounds" / language, directory)
    digest = hashlib.sha256()
    for name, text in sorted(texts.items()):
        _put(home / "etc" / name, text)
        digest.update(f"{name}\0{text}\0".encode())
    for stale in set(os.listdir(home / "etc")) - set(texts):
        (home / "etc" / stale).unlink()
    return Rendered(conf=home / "etc/asterisk.conf", home=home, fingerprint=digest.hexdigest())


def _known_modules(text: str, install: AsteriskInstall) -> str:
    absent = {name for name in OPTIONAL_MODULES if not (install.modules / name).exists()}
    return "".join(
        line for line in text.splitlines(keepends=True) if line.strip().split("=")[-1] not in absent
    )


def _check_path(path: Path) -> None:
    if re.search(r"[^\w./+@~ -]", str(path)):
        raise ConfigRefused(
            f"{str(path)!r}: a directory of Asterisk may not hold brackets, quotes, `;` or `$`."
        )


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def _put(path: Path, text: str) -> None:
    """Replaces the file whole, readable by its owner only from its first byte on."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as handle:
        handle.write(text)
    fresh.replace(path)
