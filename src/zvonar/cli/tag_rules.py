"""`zvonar tag-rule …`: which sessions get a tag by themselves?"""

from typing import Annotated, Any, get_args

import msgspec
import typer

from zvonar.cli.common import fail, sentences, show, with_database
from zvonar.dialects.uis.fields import WORDS
from zvonar.reports import rules
from zvonar.reports.rules import Condition
from zvonar.store import accounts, directories
from zvonar.store.db import Database

commands = typer.Typer(no_args_is_help=True)

Of = Annotated[str, typer.Argument(help="The account's id or name.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]

_OPERATORS = get_args(Condition.__annotations__["operator"])


@commands.callback()
def group() -> None:
    """Tags that sessions get by themselves."""


@commands.command("add")
@sentences
def add(
    account: Of,
    tag: Annotated[str, typer.Argument(help="The tag's id or name; `directory load` adds tags.")],
    when: Annotated[
        list[str],
        typer.Option(
            help="FIELD OPERATOR VALUE, such as 'is_lost = true', 'talk_duration >= 60',"
            " 'finish_reason in [\"operator_busy\", \"operator_not_responsible\"]', 'utm_source contains ya'."
            " Several times for several, all of which must be true."
        ),
    ],
    json: Json = False,
) -> None:
    """Mark every session to come that is so, ours and those that are uploaded."""
    conditions = [_condition(text) for text in when]

    async def work(db: Database) -> dict[str, Any]:
        own = await accounts.named(db, account)
        known = await directories.tags(db, own.account_id)
        chosen = next((one for one in known if tag in (one.name, str(one.tag_id))), None)
        if chosen is None:
            fail(f"the account has no tag {tag!r}: add it with `zvonar directory load`.")
        rule_id = await rules.add(db, own.account_id, chosen.tag_id, conditions)
        return {"rule_id": rule_id, "tag_id": chosen.tag_id, "tag_name": chosen.name}

    made = with_database(work)
    show(made, as_json=json, lines=lambda: f"Rule {made['rule_id']} sets {made['tag_name']!r}.")


@commands.command("list")
@sentences
def list_(account: Of, json: Json = False) -> None:
    """The account's rules."""

    async def work(db: Database) -> list[rules.Standing]:
        return await rules.of_account(db, (await accounts.named(db, account)).account_id)

    found = with_database(work)

    def line(one: rules.Standing) -> str:
        said = " and ".join(
            f"{c.field} {c.operator} {msgspec.json.encode(c.value).decode()}" for c in one.conditions
        )
        return f"{one.rule_id}  {one.tag_name}  when {said}"

    show(
        [msgspec.to_builtins(one) for one in found],
        as_json=json,
        lines=lambda: "\n".join(map(line, found)) or "There are no rules.",
    )


@commands.command("remove")
@sentences
def remove(account: Of, rule: Annotated[int, typer.Argument(help="As `tag-rule list` shows it.")]) -> None:
    """Set the tag no more; where it was set it stays."""

    async def work(db: Database) -> bool:
        return await rules.remove(db, (await accounts.named(db, account)).account_id, rule)

    if not with_database(work):
        fail(f"the account has no rule {rule}.")
    typer.echo("Removed.")


def _condition(text: str) -> Condition:
    """FIELD OPERATOR VALUE; the value is JSON, or a text as it stands."""
    field, operator, written = (*text.split(maxsplit=2), "", "", "")[:3]
    if operator not in _OPERATORS:
        fail(
            f"{text!r} is no condition: FIELD OPERATOR VALUE, where OPERATOR is one of {' '.join(_OPERATORS)}."
        )
    try:
        value = msgspec.json.decode(written)
    except (msgspec.MsgspecError, ValueError):
        value = written
    try:
        made = msgspec.convert({"field": field, "operator": operator, "value": value}, Condition)
    except msgspec.ValidationError:
        fail(f"{text!r} is no condition: {written} is no value that a field has.")
    if "phone_number" in field and isinstance(made.value, int):
        made = Condition(field=field, operator=made.operator, value=written)  # digits, but a text
    for one in made.value if isinstance(made.value, list) else [made.value]:
        if field in WORDS and one is not None and operator != "contains" and one not in WORDS[field]:
            fail(f"{field} is never {one!r}: it is one of {', '.join(sorted(WORDS[field]))}.")
    return rules.checked(made)
