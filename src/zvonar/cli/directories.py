"""`zvonar directory …`: whom and what do reports name? Employees, tags, sites and numbers, from a file."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from msgspec import Struct

from zvonar.cli.common import fail, sentences, show, with_database
from zvonar.core import phone as phones
from zvonar.store import accounts, directories
from zvonar.store.db import Database

commands = typer.Typer(no_args_is_help=True)


class _Employee(Struct, forbid_unknown_fields=True):
    full_name: str
    id: int | None = None
    email: str | None = None
    phone: str | None = None
    extension: str | None = None
    is_active: bool = True


class _Tag(Struct, forbid_unknown_fields=True):
    name: str
    color: str = "color1"
    is_system: bool = False


class _Number(Struct, forbid_unknown_fields=True):
    phone: str
    comment: str | None = None
    is_active: bool = True


class _Directory(Struct, forbid_unknown_fields=True):
    employees: list[_Employee] = []
    tags: list[_Tag] = []
    sites: list[str] = []
    virtual_numbers: list[_Number] = []


@commands.callback()
def group() -> None:
    """What reports name."""


@commands.command("load")
@sentences
def load(
    account: Annotated[str, typer.Argument(help="The account's id or name.")],
    file: Annotated[
        Path, typer.Argument(help='{"employees": […], "tags": […], "sites": […], "virtual_numbers": […]}')
    ],
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Add what a JSON file names, or change it: employees by id, the others by name or number."""
    try:
        wanted = msgspec.json.decode(file.read_bytes(), type=_Directory)
    except (msgspec.MsgspecError, ValueError) as exc:
        fail(f"{file.name} is no directory: {exc}")

    async def work(db: Database) -> dict[str, list[int]]:
        own = await accounts.named(db, account)
        country = next(iter(own.countries), "")

        def number(written: str | None) -> str | None:
            return None if written is None else phones.parse(written, country=country, trial=True).e164

        # All numbers before anything is changed.
        numbers = [(one, number(one.phone)) for one in wanted.virtual_numbers]
        staff = [(one, number(one.phone)) for one in wanted.employees]
        made: dict[str, list[int]] = {"employees": [], "tags": [], "sites": [], "virtual_numbers": []}
        for employee, phone in staff:
            fields: dict[str, Any] = msgspec.structs.asdict(employee)
            fields.update(employee_id=fields.pop("id"), phone=phone)
            made["employees"].append(await directories.put_employee(db, own.account_id, **fields))
        for tag in wanted.tags:
            made["tags"].append(
                await directories.put_tag(
                    db, own.account_id, tag.name, color=tag.color, is_system=tag.is_system
                )
            )
        for site in wanted.sites:
            made["sites"].append(await directories.put_site(db, own.account_id, site))
        for one, phone in numbers:
            assert phone is not None
            made["virtual_numbers"].append(
                await directories.put_virtual_number(
                    db, own.account_id, phone, comment=one.comment, is_active=one.is_active
                )
            )
        return made

    ids = with_database(work)
    show(ids, as_json=json, lines=lambda: "\n".join(f"{name:16} {len(found)}" for name, found in ids.items()))
