"""`zvonar amocrm …`: who works in an account's own CRM, and with which tokens?"""

from typing import Annotated

import typer

from zvonar.cli.common import now, sentences, show, with_database
from zvonar.service import amocrm
from zvonar.store.crm_users import NewUser, Role

commands = typer.Typer(no_args_is_help=True)

AccountOption = Annotated[str, typer.Option("--account", help="Account id or name.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@commands.callback()
def group() -> None:
    """The CRM that an account has here, for software that speaks amoCRM's API."""


@commands.command("code")
@sentences
def code(account: AccountOption, json: Json = False) -> None:
    """Another authorization code, for twenty minutes; it works once."""
    made = with_database(lambda db: amocrm.new_code(db, account, now=now()))
    show(made, as_json=json, lines=lambda: str(made["code"]))


@commands.command("user-add")
@sentences
def user_add(
    account: AccountOption,
    name: Annotated[str, typer.Option(help="As call_responsible may name them.")],
    email: Annotated[str, typer.Option(help="Unique in the account.")],
    phone: Annotated[str | None, typer.Option(help="As call_responsible may name them, too.")] = None,
    role: Annotated[Role, typer.Option(help="A viewer may look only.")] = Role.editor,
    json: Json = False,
) -> None:
    """Add a user, and show their long-lived token, now and never again."""
    new = NewUser(name=name, email=email, phone=phone, role=role)
    made = with_database(lambda db: amocrm.add_user(db, account, new, now=now()))
    show(made, as_json=json, lines=lambda: "\n".join(f"{key:14} {value}" for key, value in made.items()))


@commands.command("redirect-uri")
@sentences
def redirect_uri(
    account: AccountOption,
    uri: Annotated[str, typer.Argument(help="The only address that tokens are given to; empty for any.")],
    json: Json = False,
) -> None:
    """Bind the account's integration to a redirect_uri."""
    made = with_database(lambda db: amocrm.set_redirect_uri(db, account, uri or None))
    show(made, as_json=json, lines=lambda: f"Tokens are given to {made['redirect_uri'] or 'any address'}.")
