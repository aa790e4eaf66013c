"""`zvonar campaign preflight|show|cancel|approve|reject`: where does a campaign stand, and what would it do?"""

from typing import Annotated, Any

import typer

from zvonar.cli.common import now, sentences, show, with_database
from zvonar.store import accounts, campaigns, preflight, steering
from zvonar.store.campaigns import Campaign
from zvonar.store.db import Database
from zvonar.store.preflight import Preflight

CampaignId = Annotated[int, typer.Argument(help="Campaign id.", min=1, max=2**63 - 1)]
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@sentences
def preflight_(campaign: CampaignId, json: Json = False) -> None:
    """Say what a campaign would do if it ran now: how many calls, who is skipped and why, how long, at which cost."""

    async def look(db: Database) -> tuple[Preflight, str]:
        found = await campaigns.get_any(db, campaign)
        account = await accounts.get(db, found.account_id)
        return await preflight.preflight(db, found.account_id, campaign, now=now()), account.currency

    flown, currency = with_database(look)
    document: dict[str, Any] = {
        "campaign_id": campaign,
        "currency": currency,
        **{field: getattr(flown, field) for field in flown.__struct_fields__},
    }
    show(document, as_json=json, lines=lambda: _flown(flown, currency))


@sentences
def show_(campaign: CampaignId, json: Json = False) -> None:
    """Say where a campaign stands, and why."""

    async def look(db: Database) -> tuple[Campaign, dict[str, int]]:
        found = await campaigns.get_any(db, campaign)
        return found, await campaigns.tallies(db, found.account_id, campaign)

    found, tallies = with_database(look)
    document = {**standing(found), "tallies": tallies}
    show(
        document,
        as_json=json,
        lines=lambda: "\n".join(f"{key:16} {value}" for key, value in {**standing(found), **tallies}.items()),
    )


@sentences
def cancel(campaign: CampaignId, json: Json = False) -> None:
    """End a campaign for good; what waits is stopped, what is up ends by itself."""

    async def cancelling(db: Database) -> Campaign:
        found = await campaigns.get_any(db, campaign)
        return await steering.cancel(db, found.account_id, campaign, now=now())

    _say(with_database(cancelling), json)


@sentences
def approve(campaign: CampaignId, json: Json = False) -> None:
    """Allow a moderated account's campaign to run."""

    async def approving(db: Database) -> Campaign:
        found = await campaigns.get_any(db, campaign)
        return await steering.approve(db, found.account_id, campaign, now=now())

    _say(with_database(approving), json)


@sentences
def reject(campaign: CampaignId, json: Json = False) -> None:
    """Cancel a campaign that waits for approval."""

    async def rejecting(db: Database) -> Campaign:
        found = await campaigns.get_any(db, campaign)
        return await steering.reject(db, found.account_id, campaign, now=now())

    _say(with_database(rejecting), json)


def standing(campaign: Campaign) -> dict[str, Any]:
    """A campaign's status, and why it has that."""
    return {
        "id": campaign.campaign_id,
        "account_id": campaign.account_id,
        "name": campaign.name,
        "status": str(campaign.status),
        "waits": campaign.waits,
        "reason": campaign.reason,
        "reason_details": campaign.reason_details,
        "started_at": campaign.started_at,
        "finished_at": campaign.finished_at,
    }


def _say(campaign: Campaign, as_json: bool) -> None:
    document = standing(campaign)
    show(
        document,
        as_json=as_json,
        lines=lambda: "\n".join(f"{key:16} {value}" for key, value in document.items()),
    )


def _flown(flown: Preflight, currency: str) -> str:
    skipped = [f"  {n} {reason}" for reason, n in sorted(flown.skipped.items())]
    ends = "-" if flown.finishes_at is None else f"{flown.finishes_at:%Y-%m-%d %H:%M} UTC"
    opens = "never" if flown.opens_at is None else f"{flown.opens_at:%Y-%m-%d %H:%M} UTC"
    return "\n".join(
        [
            f"{flown.would_dial} of {flown.calls} waiting calls would be dialled, from {opens} on.",
            *(["Skipped:", *skipped] if skipped else []),
            *([f"{flown.capped_now} of them have to wait for a cap."] if flown.capped_now else []),
            f"Dialling takes {_seconds(flown.seconds)}, at most {_seconds(flown.seconds_at_most)}; done by {ends}.",
            f"Worst case {flown.worst_case} {currency}; available {flown.available} {currency}"
            + ("." if flown.covered else ", which is not enough."),
        ]
    )


def _seconds(seconds: int | None) -> str:
    if seconds is None:
        return "for ever (there is no trunk)"
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
