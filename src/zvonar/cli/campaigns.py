"""`zvonar campaign …`: what to say, to whom, when?"""

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from zvonar.cli.common import fail, now, sentences, show, with_database
from zvonar.core.campaign import CampaignSettings, CampaignStatus, CampaignType
from zvonar.core.errors import SettingsInvalid
from zvonar.core.schedule import parse_window
from zvonar.core.script import Prompt, Script, plain
from zvonar.store import accounts, campaigns, steering
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database

commands = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]
Text = Annotated[str | None, typer.Option(help="What is said.")]
ClipId = Annotated[int | None, typer.Option("--clip", help="A clip to play instead of a text.")]
Callback = Annotated[str | None, typer.Option(help="Gets a POST at every change.")]
AttemptCount = Annotated[int | None, typer.Option("--attempts", help="Attempts a call, all in all.", min=1)]
WindowText = Annotated[str | None, typer.Option("--window", help="When to dial, such as 09:00-20:00.")]
SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="JSON file with any of a campaign's settings.", dir_okay=False),
]


@commands.command("add")
@sentences
def add(
    account: Annotated[str, typer.Option(help="Account id or name.")],
    name: Annotated[str, typer.Option(help="What you call it.")],
    kind: Annotated[CampaignType, typer.Option("--type", help="Campaign type.")] = CampaignType.regular,
    text: Text = None,
    clip: ClipId = None,
    callback_url: Callback = None,
    attempts: AttemptCount = None,
    window: WindowText = None,
    settings: SettingsFile = None,
    paused: Annotated[bool, typer.Option("--paused", help="Dial nothing yet.")] = False,
    json: Json = False,
) -> None:
    """Add a campaign and print it with its id."""
    chosen = _settings(CampaignSettings(), settings, text, clip, callback_url, attempts, window)
    if not name.strip() or len(name) > 200 or "\0" in name:
        fail("a campaign's name is 1 to 200 characters.")

    async def adding(db: Database) -> Campaign:
        owner = await accounts.named(db, account)
        return await campaigns.add(
            db,
            owner.account_id,
            name=name.strip(),
            type=kind,
            settings=chosen,
            status=CampaignStatus.paused if paused else CampaignStatus.running,
            now=now(),
        )

    _show(with_database(adding), json)


@commands.command("set")
@sentences
def set_(
    campaign: Annotated[int, typer.Argument(help="Campaign id.")],
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    text: Text = None,
    clip: ClipId = None,
    callback_url: Callback = None,
    attempts: AttemptCount = None,
    window: WindowText = None,
    settings: SettingsFile = None,
    paused: Annotated[
        bool | None, typer.Option("--paused/--running", help="Stop dialling, or go on.")
    ] = None,
    json: Json = False,
) -> None:
    """Change a campaign; what is not given stays as it is."""

    async def changing(db: Database) -> Campaign:
        found = await campaigns.get_any(db, campaign)
        changed = msgspec.structs.replace(
            found,
            name=(name or found.name).strip(),
            settings=_settings(found.settings, settings, text, clip, callback_url, attempts, window),
        )
        stored = await campaigns.change(db, changed, now=now())
        if paused is True:
            stored = await steering.pause(db, stored.account_id, campaign, now=now())
        elif paused is False:
            stored = await steering.start(db, stored.account_id, campaign, now=now())
        return stored

    _show(with_database(changing), json)


def _settings(
    base: CampaignSettings,
    file: Path | None,
    text: str | None,
    clip: int | None,
    callback_url: str | None,
    attempts: int | None,
    window: str | None,
) -> CampaignSettings:
    """The settings of the file over `base`, and the options over both."""
    merged: dict[str, Any] = msgspec.to_builtins(base)
    if file is not None:
        try:
            given = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise SettingsInvalid(f"{file.name} is not a JSON object: {exc}.") from None
        merged |= given
    try:
        settings = msgspec.convert(merged, CampaignSettings, strict=False)
    except msgspec.ValidationError as exc:
        raise SettingsInvalid(f"{exc}.") from None
    changes: dict[str, Any] = {}
    if text is not None or clip is not None:
        prompt = Prompt(text=text, clip_id=clip)
        if settings.script is None:
            changes["script"] = plain(prompt)
        else:
            changes["script"] = _first_prompt(settings.script, prompt)
    if callback_url is not None:
        changes["callback_url"] = callback_url or None
    if attempts is not None:
        changes["retry"] = msgspec.structs.replace(settings.retry, max_attempts=attempts)
    if window is not None:
        hours = parse_window(window)
        changes["window"] = msgspec.structs.replace(settings.window, start=hours.start, end=hours.end)
    return msgspec.structs.replace(settings, **changes).checked()


def _first_prompt(script: Script, prompt: Prompt) -> Script:
    node = msgspec.structs.replace(script.nodes[script.start], prompt=prompt)
    return msgspec.structs.replace(script, nodes={**script.nodes, script.start: node})


def _show(campaign: Campaign, as_json: bool) -> None:
    document = {
        "id": campaign.campaign_id,
        "account_id": campaign.account_id,
        "name": campaign.name,
        "type": str(campaign.type),
        "status": str(campaign.status),
        "waits": campaign.waits,
        "reason": campaign.reason,
        "reason_details": campaign.reason_details,
        "calls": campaign.calls,
        "created_at": campaign.created_at,
        "settings": msgspec.to_builtins(campaign.settings, builtin_types=(datetime, Decimal)),
    }
    show(
        document,
        as_json=as_json,
        lines=lambda: "\n".join(f"{key:12} {value}" for key, value in document.items() if key != "settings"),
    )
