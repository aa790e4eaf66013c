"""Does each campaign get its share of a trunk, whatever the others do?"""

from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.control import MAX_WEIGHT
from zvonar.core.share import CREDIT, Claim, Share, portions, quotas

weights = st.integers(1, 20) | st.integers(1, MAX_WEIGHT)
campaigns = st.dictionaries(st.integers(1, 12), weights, min_size=1, max_size=8)


def served(share: Share, waiting: dict[int, int], turns: int) -> dict[int, int]:
    """How many placements each of these campaigns gets, all of which have more to place."""
    got = dict.fromkeys(waiting, 0)
    for _ in range(turns):
        key = min(waiting, key=share.turn)
        share.took(key, waiting[key])
        got[key] += 1
    return got


@given(waiting=campaigns, turns=st.integers(1, 400))
def test_who_always_has_something_to_place_gets_his_weight_s_part(
    waiting: dict[int, int], turns: int
) -> None:
    got = served(Share(), waiting, turns)
    assert sum(got.values()) == turns
    for one, n in got.items():
        for other, m in got.items():
            # The bound of start-time fair queueing: one placement of each.
            apart = abs(n / waiting[one] - m / waiting[other])
            assert apart <= 1 / waiting[one] + 1 / waiting[other] + 1e-6


@given(
    waiting=campaigns,
    phases=st.lists(st.tuples(st.sets(st.integers(1, 12)), st.integers(1, 60)), min_size=1, max_size=6),
)
def test_a_turn_is_never_left_unused_and_nobody_saves_up_for_later(
    waiting: dict[int, int], phases: list[tuple[set[int], int]]
) -> None:
    share = Share()
    for away, turns in phases:
        present = {key: weight for key, weight in waiting.items() if key not in away} or waiting
        got = served(share, present, turns)
        assert sum(got.values()) == turns
        for one, n in got.items():
            for other, m in got.items():
                # Whoever comes back may catch up on the moment that his next calls took to come.
                ahead = n / present[one] - m / present[other]
                assert ahead <= CREDIT + 1 / present[one] + 1 / present[other] + 1e-6


claims = st.builds(Claim, weight=weights, up=st.integers(0, 50), limit=st.integers(-5, 60))


@given(room=st.integers(0, 120), some=st.dictionaries(st.integers(), claims, max_size=8))
def test_room_is_given_out_by_weight_and_none_of_it_is_left(room: int, some: dict[int, Claim]) -> None:
    given_ = portions(room, some)
    assert set(given_) == set(some)
    assert all(0 <= n <= max(0, some[key].limit) for key, n in given_.items())
    assert sum(given_.values()) == min(room, sum(max(0, claim.limit) for claim in some.values()))
    for one, n in given_.items():
        for other, m in given_.items():
            # Whoever was given more than his part beside another had no rival who could have used it.
            if n > 0 and m < some[other].limit:
                mine = (some[one].up + n) / some[one].weight
                theirs = (some[other].up + m + 1) / some[other].weight
                assert mine <= theirs + 1e-9


@given(ahead=st.integers(10, 100), pairs=campaigns)
def test_everybody_may_have_a_call_waiting_and_the_weighty_more(ahead: int, pairs: dict[int, int]) -> None:
    found = quotas(ahead, pairs.items())
    assert all(n >= 1 for n in found.values())
    assert sum(found.values()) <= ahead + len(pairs)
    assert quotas(ahead, []) == {}


def test_who_is_forgotten_starts_where_the_others_are() -> None:
    share = Share()
    for campaign_id in range(5000):
        share.took(campaign_id, 1)
    assert share.turn(7) <= share.turn(999_999) + 1
