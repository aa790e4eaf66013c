"""What does a carrier's SIP server say when asked? One OPTIONS over UDP, with our password where it wants one.

It sets up no call and costs nothing. It leaves from the gateway's address, though not from its port.
"""

import hashlib
import re
import secrets
import socket
import time
from urllib.request import parse_http_list, parse_keqv_list

from msgspec import Struct

from zvonar.core.errors import ZvonarError
from zvonar.line.asterisk.config import SipTrunk

_RETRANSMIT = 0.5  # seconds to the first repetition, doubled each time (RFC 3261, 17.1.2.2)
_CHALLENGES = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}
_HASHES = {"md5": hashlib.md5, "sha-256": hashlib.sha256}


class CarrierSilent(ZvonarError):
    """Nothing answers: check host, port and firewalls, and that the carrier knows this machine's address."""


class CarrierUnknown(ZvonarError):
    """The host's name has no address: check its spelling and this machine's DNS."""


class CarrierUnreachable(ZvonarError):
    """The host cannot be reached from where SIP is bound: check ZVONAR_SIP_BIND, the route and the port."""


class SipAnswer(Struct, frozen=True, kw_only=True):
    """A final response."""

    status: int
    phrase: str  # the carrier's own words
    seconds: float  # from the first request to this response
    authenticated: bool  # whether it came after we showed our password


def options(trunk: SipTrunk, *, bind: str, deadline: float) -> SipAnswer:
    """Ask, and answer a challenge once. `deadline`: seconds for everything but DNS, which has its own.

    Raises CarrierSilent, CarrierUnknown, CarrierUnreachable.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            trunk.host.strip("[]"), trunk.port, type=socket.SOCK_DGRAM
        )[0]
    except OSError as exc:
        raise CarrierUnknown(f"{trunk.host}: {exc.strerror}.") from exc
    began = time.monotonic()
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        try:
            if bind not in ("0.0.0.0", "::"):  # noqa: S104 - it is not bound to here
                udp.bind((bind, 0))
            udp.connect(address)
            question = _Question(trunk, udp)
            status, phrase, headers = _ask(udp, question, None, began + deadline)
            authenticated = False
            if status in _CHALLENGES and trunk.password is not None:
                challenge, credentials = _CHALLENGES[status]
                proof = _digest(trunk, question.uri, headers.get(challenge.lower(), ""))
                if proof is not None:
                    authenticated = True
                    status, phrase, _ = _ask(udp, question, f"{credentials}: {proof}", began + deadline)
        except TimeoutError:
            raise CarrierSilent(f"{trunk.host}:{trunk.port}, {deadline:g} s.") from None
        except OSError as exc:
            raise CarrierUnreachable(f"{trunk.host}:{trunk.port}: {exc.strerror}.") from exc
    return SipAnswer(
        status=status, phrase=phrase, seconds=time.monotonic() - began, authenticated=authenticated
    )


class _Question:
    """The OPTIONS of one dialogue."""

    def __init__(self, trunk: SipTrunk, udp: socket.socket) -> None:
        host, port = udp.getsockname()[:2]
        here = f"[{host}]" if ":" in host else host
        self.uri = f"sip:{trunk.host}:{trunk.port}"
        self.call_id = secrets.token_hex(12)
        self._sequence = 0
        self._here = f"{here}:{port}"
        user = trunk.from_user or trunk.username or "zvonar"
        self._from = f"<sip:{user}@{trunk.from_domain or here}>;tag={secrets.token_hex(6)}"

    def next(self, credentials: str | None) -> tuple[bytes, str]:
        """A new request and the CSeq that its responses bear."""
        self._sequence += 1
        sequence = f"{self._sequence} OPTIONS"
        lines = [
            f"OPTIONS {self.uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self._here};rport;branch=z9hG4bK{secrets.token_hex(10)}",
            "Max-Forwards: 70",
            f"From: {self._from}",
            f"To: <{self.uri}>",
            f"Call-ID: {self.call_id}",
            f"CSeq: {sequence}",
            f"Contact: <sip:zvonar@{self._here}>",
            "Accept: application/sdp",
            "User-Agent: Zvonar",
            *([credentials] if credentials else []),
            "Content-Length: 0",
        ]
        return "\r\n".join([*lines, "", ""]).encode(), sequence


def _ask(
    udp: socket.socket, question: _Question, credentials: str | None, until: float
) -> tuple[int, str, dict[str, str]]:
    request, sequence = question.next(credentials)
    pause = _RETRANSMIT
    while (left := until - time.monotonic()) > 0:
        udp.send(request)
        again = time.monotonic() + min(pause, left)
        pause *= 2
        while (left := again - time.monotonic()) > 0:
            udp.settimeout(left)
            try:
                answer = _parsed(udp.recv(65535), question.call_id, sequence)
            except TimeoutError:
                break
            if answer is not None and answer[0] >= 200:
                return answer
    raise TimeoutError


def _parsed(datagram: bytes, call_id: str, sequence: str) -> tuple[int, str, dict[str, str]] | None:
    """Status, phrase and headers of a response to us; None for anything else."""
    first, *lines = datagram.decode("utf-8", "replace").partition("\r\n\r\n")[0].split("\r\n")
    found = re.fullmatch(r"SIP/2\.0 (\d{3}) ?(.*)", first)
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault({"i": "call-id"}.get(name.strip().lower(), name.strip().lower()), value.strip())
    if found is None or headers.get("call-id") != call_id or headers.get("cseq") != sequence:
        return None
    phrase = "".join(char for char in found[2][:100] if char.isprintable())
    return int(found[1]), phrase, headers


def _digest(trunk: SipTrunk, uri: str, challenge: str) -> str | None:
    """The credentials for a challenge (RFC 2617, RFC 8760); None for one of a kind that we do not know."""
    scheme, _, rest = challenge.partition(" ")
    given = parse_keqv_list([part for part in parse_http_list(rest) if "=" in part])
    name = given.get("algorithm", "MD5")
    if scheme.lower() != "digest" or name.lower() not in _HASHES or "nonce" not in given:
        return None

    def digest(*parts: str) -> str:
        return _HASHES[name.lower()](":".join(parts).encode()).hexdigest()

    realm, nonce = given.get("realm", ""), given["nonce"]
    who = digest(trunk.username or "", realm, str(trunk.password))
    what = digest("OPTIONS", uri)
    proof = {
        "username": trunk.username or "",
        "realm": realm,
        "nonce": nonce,
        "uri": uri,
    }
    if "auth" in [kind.strip() for kind in given.get("qop", "").split(",")]:
        mine = secrets.token_hex(8)
        proof["response"] = digest(who, nonce, "00000001", mine, "auth", what)
        tail = f', qop=auth, nc=00000001, cnonce="{mine}"'
    else:
        proof["response"] = digest(who, nonce, what)
        tail = ""
    if "opaque" in given:
        proof["opaque"] = given["opaque"]
    quoted = ", ".join(f'{key}="{value}"' for key, value in proof.items())
    return f"Digest {quoted}, algorithm={name}{tail}"
