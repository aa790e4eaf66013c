"""Whose turn is it? Campaigns that share a trunk get parts of it by their weights.

Start-time fair queueing: each placement of a campaign takes 1/weight of virtual time, and the one whose time is least
goes next. Whoever had nothing to place saves nothing up, but for a moment's worth.
"""

import heapq
from collections.abc import Iterable, Mapping

from msgspec import Struct

# What a campaign keeps of the turns it missed while its next calls were being fetched, in placements of weight 1.
CREDIT = 2.0
_TIDY = 1000  # campaigns remembered before the forgotten ones are dropped


class Share:
    """The turns of one trunk."""

    def __init__(self) -> None:
        self._done: dict[int, float] = {}  # virtual time at which a campaign's last placement is over
        self._now = 0.0  # virtual time at which the last placement began

    def turn(self, campaign_id: int) -> float:
        """When this campaign's next placement begins; the least of all goes first."""
        return max(self._done.get(campaign_id, self._now), self._now - CREDIT)

    def took(self, campaign_id: int, weight: int) -> None:
        """This campaign has been given a placement."""
        begins = self.turn(campaign_id)
        self._now = max(self._now, begins)
        self._done[campaign_id] = begins + 1 / weight
        if len(self._done) > _TIDY:
            self._done = {known: done for known, done in self._done.items() if done > self._now - CREDIT}


class Claim(Struct, frozen=True, kw_only=True):
    """What a campaign could use of what is free."""

    weight: int
    up: int  # what it has already
    limit: int  # more than this it cannot use


def portions(room: int, claims: Mapping[int, Claim]) -> dict[int, int]:
    """How much of `room` each claimant gets, so that all of what they have then is as their weights are.

    Whoever has the least beside its weight comes first; nothing is left while somebody could use it.
    """
    given = dict.fromkeys(claims, 0)
    order = [(_beside_its_weight(claim, 0), key) for key, claim in claims.items() if claim.limit > 0]
    heapq.heapify(order)
    while room > 0 and order:
        _, key = order[0]
        given[key] += 1
        room -= 1
        if given[key] < claims[key].limit:
            heapq.heapreplace(order, (_beside_its_weight(claims[key], given[key]), key))
        else:
            heapq.heappop(order)
    return given


def quotas(ahead: int, weights: Iterable[tuple[int, int]]) -> dict[int, int]:
    """How many calls each campaign may have waiting for a slot, of `ahead` in all; at least one each."""
    pairs = list(weights)
    whole = sum(weight for _, weight in pairs)
    return {key: max(1, ahead * weight // whole) for key, weight in pairs}


def _beside_its_weight(claim: Claim, given: int) -> float:
    return (claim.up + given + 1) / claim.weight
