"""`zvonar trunk …`, `zvonar town …`: over which SIP routes do calls go?"""

import typer

commands = typer.Typer(no_args_is_help=True)
town = typer.Typer(no_args_is_help=True)


@commands.callback()
def group() -> None:
    """SIP routes."""


@town.callback()
def town_group() -> None:
    """The trial phone network."""
