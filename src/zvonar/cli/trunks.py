"""`zvonar trunk …`, `zvonar town …`: over which SIP routes do calls go, and does the carrier answer?"""

import asyncio
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from zvonar.cli.common import fail, plant, sentences, settings, show, with_database
from zvonar.service import sip_probe, sip_trunks, town_call
from zvonar.service.doctor import process_of, unreachable
from zvonar.service.home import Home
from zvonar.service.plant import ARI_USER, Plant, SecretMissing, sip_trunk
from zvonar.store import trunks
from zvonar.store.trunks import Trunk

commands = typer.Typer(no_args_is_help=True)
town = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]

# Answers to an OPTIONS by which a carrier shows that it is there, though it may not speak of itself.
_THERE = {404, 405, 481, 483, 488, 501}


@commands.callback()
def group() -> None:
    """SIP sip_trunks."""


@town.callback()
def town_group() -> None:
    """The trial phone network."""


@commands.command("add")
@sentences
def add(
    name: Annotated[str, typer.Argument(help="Unique name; an existing one is replaced.")],
    host: Annotated[str | None, typer.Option(help="Name or address of the carrier.")] = None,
    port: Annotated[int | None, typer.Option(help="Its SIP port.", min=1, max=65535)] = None,
    username: Annotated[str | None, typer.Option(help="Where the carrier wants one.")] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="File that holds the password.", dir_okay=False)
    ] = None,
    secret_env: Annotated[str | None, typer.Option(help="Variable that holds the password.")] = None,
    from_domain: Annotated[str | None, typer.Option(help="Host part of From.")] = None,
    from_user: Annotated[str | None, typer.Option(help="User part of From.")] = None,
    register: Annotated[bool, typer.Option("--register", help="Keep a registration.")] = False,
    codecs: Annotated[str | None, typer.Option(help="alaw,ulaw by preference.")] = None,
    channels: Annotated[int | None, typer.Option(help="Calls at once.")] = None,
    cps: Annotated[str | None, typer.Option(help="Calls a second; 0 is no limit.")] = None,
    caller_id: Annotated[
        list[str] | None, typer.Option(help="Number to show, or a block: +7495123XXXX; repeatable.")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Lower is tried first.")] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Carry nothing yet.")] = False,
    file: Annotated[Path | None, typer.Option(help="JSON with the same names.", dir_okay=False)] = None,
    json: Json = False,
) -> None:
    """Add a SIP trunk, or change the one of this name; a running gateway loads it at once."""
    try:
        rate = Decimal(cps) if cps is not None else None
    except InvalidOperation:
        fail(f"--cps is a number, not {cps!r}.")
    given = sip_trunks.described(
        file,
        {
            "host": host,
            "port": port,
            "username": username,
            "secret_file": str(secret_file.absolute()) if secret_file is not None else None,
            "secret_env": secret_env,
            "from_domain": from_domain,
            "from_user": from_user,
            "register": register or None,
            "codecs": [part.strip() for part in codecs.split(",") if part.strip()] if codecs else None,
            "channels": channels,
            "cps": rate,
            "caller_ids": caller_id or None,
            "priority": priority,
            "enabled": False if disabled else None,
        },
    )
    machinery = plant()
    asterisk = machinery.installed()
    if asterisk is None:
        fail("there is no Asterisk here yet to check the trunk with: zvonar setup.")
    new = sip_trunks.checked(name, given, asterisk, machinery.home.run)
    stored, every = with_database(lambda db: sip_trunks.add(db, new))
    said = _load(machinery, stored, every)
    if stored.enabled and unreachable(machinery, given.host):
        typer.secho(
            f"zvonar: SIP is bound to {machinery.settings.sip_bind}, from where {given.host} cannot be reached: "
            "set ZVONAR_SIP_BIND to an address of this machine.",
            err=True,
            fg="yellow",
        )
    show(sip_trunks.document(stored), as_json=json, lines=lambda: f"Trunk {stored.name} is stored; {said}")


def _load(machinery: Plant, stored: Trunk, every: list[Trunk]) -> str:
    """Let a running gateway know; what came of it."""
    asterisk = machinery.installed()
    running = process_of(machinery, asterisk, "gateway") if asterisk is not None else None
    if asterisk is None or running is None or running.adopt() is None:
        return "the gateway loads it at its next start."
    try:
        machinery.gateway(asterisk, machinery.ports(), every)
    except SecretMissing as exc:
        return f"the running gateway was left as it is: {exc} It loads the trunk at its next start."
    machinery.reload_trunks()
    return "the running gateway has it." if stored.enabled else "it is disabled and carries nothing."


@commands.command("list")
@sentences
def list_(json: Json = False) -> None:
    """Show every trunk, in the order in which they are tried."""
    every = with_database(lambda db: trunks.of_gateway(db, "gateway"))
    documents = [sip_trunks.document(trunk) for trunk in every]

    def lines() -> str:
        return "\n".join(
            f"{one['name']:16} {one['host']}:{one['port']}  priority {one['priority']}, "
            f"{one['in_use']} of {one['channels']} channels"
            f"{', ' + format(one['cps'], 'f') + ' a second' if one['cps'] else ''}"
            f"{', trial' if one['trial'] else ''}{'' if one['enabled'] else ', disabled'}"
            for one in documents
        )

    show(documents, as_json=json, lines=lambda: lines() or "There is no trunk: zvonar trunk add.")


@commands.command("test")
@sentences
def ask(
    name: Annotated[str, typer.Argument(help="The trunk's name.")],
    deadline: Annotated[float, typer.Option(help="Seconds to wait.", min=0.1, max=60)] = 5.0,
    json: Json = False,
) -> None:
    """Ask the carrier's SIP server whether it is there and takes our password; no call is made."""
    machinery = plant()
    trunk = with_database(lambda db: sip_trunks.named(db, name))
    sip = sip_trunk(trunk)
    if unreachable(machinery, sip.host):
        fail(
            f"SIP is bound to {machinery.settings.sip_bind}, from where {sip.host} cannot be reached: "
            "set ZVONAR_SIP_BIND to an address of this machine."
        )
    answer = sip_probe.options(sip, bind=machinery.settings.sip_bind, deadline=deadline)
    good = 200 <= answer.status < 300 or answer.status in _THERE
    document = {
        "trunk": trunk.name,
        "ok": good,
        "status": answer.status,
        "phrase": answer.phrase,
        "milliseconds": round(answer.seconds * 1000),
        "authenticated": answer.authenticated,
    }
    said = f"{sip.host}:{sip.port} answered {answer.status} {answer.phrase} in {document['milliseconds']} ms"
    show(document, as_json=json, lines=lambda: f"{said}." if good else said + _advice(answer))
    if not good:
        raise typer.Exit(1)


def _advice(answer: sip_probe.SipAnswer) -> str:
    if answer.status in (401, 407):
        shown = "check username and password" if answer.authenticated else "it wants a username and password"
        return f": {shown}."
    if answer.status == 403:
        return ": it does not let us in; check the credentials, or have this machine's address allowed."
    return ": the carrier has trouble, or does not serve this host; ask its support."


@town.command("call")
@sentences
def call(
    caller: Annotated[str, typer.Argument(metavar="FROM", help="Town number that calls.")],
    callee: Annotated[str, typer.Argument(metavar="TO", help="Number of ours that is called.")],
    digits: Annotated[str | None, typer.Option(help="Keys to press after the answer.")] = None,
    json: Json = False,
) -> None:
    """Let a town subscriber call one of our numbers, and stay on the line until we hang up."""
    given = settings()
    machinery = Plant(given, Home(given.home))
    asterisk, ports = machinery.installed(), machinery.home.known_ports()
    process = process_of(machinery, asterisk, "town") if asterisk is not None else None
    if ports is None or process is None or process.adopt() is None:
        raise town_call.TownNotRunning()
    made = asyncio.run(
        town_call.call(
            caller,
            callee,
            digits,
            ari_url=f"http://127.0.0.1:{ports.town_ari}",
            user=ARI_USER,
            password=machinery.home.secret("town-ari"),
        )
    )
    document = {
        "answered": made.answered,
        "sip_code": made.sip_code,
        "hangup_cause": made.hangup_cause,
        "seconds": round(made.seconds, 1),
    }
    if made.answered:
        show(document, as_json=json, lines=lambda: f"Answered; ended after {made.seconds:.1f} s.")
        return
    if json:
        show(document, as_json=True, lines=str)
    if made.sip_code == 403:
        fail(
            "rejected with SIP 403, which is how a call confirms, and what callers of a number without a text hear."
        )
    fail(f"not answered: SIP {made.sip_code or 'gave no status'}, cause {made.hangup_cause}.")
