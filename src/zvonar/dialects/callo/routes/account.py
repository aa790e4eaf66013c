"""What is there, and what has it cost? `users/balance/`, `phones/cost/`, `phones/camp_stats/`, `campaigns/`."""

from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

from litestar import HttpMethod, Response, route
from litestar.types import ControllerRouterHandler

from zvonar.core.campaign import CampaignStatus
from zvonar.core.schedule import zone_of
from zvonar.dialects.callo import answers, errors
from zvonar.dialects.callo.requests.account import campaign_form, mode_form, statistics_form
from zvonar.dialects.callo.routes.common import Req, Service, account_of, campaign_of, opened, zone_for
from zvonar.store import campaigns, results
from zvonar.store.campaigns import Campaign

_ARCHIVED = frozenset({CampaignStatus.completed, CampaignStatus.cancelled})
_TALLIED = Decimal("0.0001")  # the unit in which costs are counted


def handlers(service: Service) -> list[ControllerRouterHandler]:
    """The requests about an account's campaigns and money."""

    @route("/users/balance", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def balance(request: Req) -> Response[dict[str, Any]]:
        """What is left."""
        language, form = await opened(request)
        account = await account_of(service, form, now=service.now())
        form.check()
        assert account is not None
        return Response({"balance": answers.balance(account.balance)}, headers=errors.headers(language))

    @route("/phones/cost", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def cost(request: Req) -> Response[dict[str, Any]]:
        """What a campaign has cost, ever and today."""
        language, form = await opened(request)
        now = service.now()
        account = await account_of(service, form, now=now)
        campaign_id = campaign_form(form)
        assert account is not None
        campaign = await campaign_of(service.db, account, campaign_id)
        zone = zone_of(account.timezone)
        midnight = datetime.combine(now.astimezone(zone), time(0), zone).astimezone(UTC)
        tallies = await campaigns.tallies(service.db, account.account_id, campaign.campaign_id)
        today = await campaigns.spent_since(
            service.db, account.account_id, campaign.campaign_id, since=midnight
        )
        answer = {
            "campaign_id": campaign.campaign_id,
            "forever_cost": answers.money(tallies.get("cost", 0) * _TALLIED),
            "daily_cost": answers.money(today),
            "currency": account.currency,
        }
        return Response(answer, headers=errors.headers(language))

    @route("/phones/camp_stats", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def statistics(request: Req) -> Response[dict[str, Any]]:
        """What has come of a campaign's calls."""
        language, form = await opened(request)
        account = await account_of(service, form, now=service.now())
        asked = statistics_form(form, zone_for(account))
        assert account is not None
        campaign = await campaign_of(service.db, account, asked.campaign_id)
        counted = await results.count(
            service.db,
            account.account_id,
            campaign.campaign_id,
            created_from=asked.created_from,
            created_till=asked.created_till,
        )
        return Response(answers.statistics(counted, language=language), headers=errors.headers(language))

    @route("/campaigns", http_method=[HttpMethod.GET, HttpMethod.POST], status_code=200)
    async def listed(request: Req) -> Response[list[dict[str, Any]]]:
        """The account's campaigns, newest first."""
        language, form = await opened(request)
        account = await account_of(service, form, now=service.now())
        mode = mode_form(form)
        assert account is not None
        found = await campaigns.of_account(service.db, account.account_id)
        rows = [_listed(campaign) for campaign in found if mode == "all" or mode == _mode(campaign)]
        return Response(rows, headers=errors.headers(language))

    return [balance, cost, statistics, listed]


def _mode(campaign: Campaign) -> str:
    return "archive" if campaign.status in _ARCHIVED else "active"


def _listed(campaign: Campaign) -> dict[str, Any]:
    # [G]: nobody has shown this answer; a client's diagnostics asks for it and expects a list.
    return {
        "id": campaign.campaign_id,
        "name": campaign.name,
        "campaign_type": campaign.type,
        "status": campaign.status,
        "mode": _mode(campaign),
        "calls_count": campaign.calls,
        "created": answers.instant(campaign.created_at),
    }
