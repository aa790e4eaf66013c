"""`zvonar serve`: run the service until told to stop."""

import signal
from typing import Annotated

import typer

from zvonar.cli.common import fail, sentences, settings
from zvonar.service import logs
from zvonar.service.home import Home
from zvonar.service.supervisor import ROLES, Serving, Supervisor

PORT = 8700


@sentences
def serve(
    host: Annotated[str, typer.Option(help="Address of the one HTTP port.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The one HTTP port.", min=1, max=65535)] = PORT,
    role: Annotated[str, typer.Option(help="all, or some of api,dialer,worker.")] = "all",
    town: Annotated[bool, typer.Option("--town", help="Connect the trial phone network.")] = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain: no new dials, calls in progress end or are handed over."""
    roles = ROLES if role == "all" else tuple(part.strip() for part in role.split(",") if part.strip())
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        fail(f"there is no role {', '.join(unknown) or role!r}; roles are {', '.join(ROLES)}.")
    given = settings()
    logs.configure(level=given.log_level, role="supervisor")
    supervisor = Supervisor(
        given, Home(given.home), Serving(host=host, port=port, roles=tuple(dict.fromkeys(roles)), town=town)
    )

    def stop(*_: object) -> None:
        supervisor.stop()
        if not supervisor.started:
            # There is nothing to drain yet, and a download would not look at a flag.
            raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    code = supervisor.run(
        report=lambda what: typer.echo(f"zvonar: {what}", err=True),
        ready=lambda address: typer.echo(f"zvonar: serving at {address}", err=True),
    )
    raise typer.Exit(code)
