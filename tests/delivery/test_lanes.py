"""Who may go next? The laws of the lanes, without a clock, a network or a database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zvonar.delivery.lanes import Lanes, Leased, Limits
from zvonar.store.deliveries import Delivery

NOW = datetime(2025, 11, 22, 12, tzinfo=UTC)
LIMITS = Limits(total=32, per_address=8)


class Hand:
    """Makes deliveries, and keeps what was started."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.lanes = Lanes(limits)
        self.limits = limits
        self.under_way: list[Leased] = []
        self.clock = 0.0
        self._ids: Iterator[int] = count(1)

    def put(self, address: str, times: int, *, start_by: datetime = NOW) -> None:
        leased = [
            Leased(
                delivery=Delivery(
                    delivery_id=(number := next(self._ids)),
                    account_id=1,
                    event_id=number,
                    event_at=NOW,
                    kind="test",
                    address=address,
                    method="POST",
                    url=address,
                    content_type="text/plain",
                    body=b"",
                    tries=0,
                    tries_before=0,
                ),
                worker_id=1,
                until=NOW,
                start_by=start_by,
            )
            for _ in range(times)
        ]
        self.under_way += self.lanes.put(leased, at=NOW, clock=self.clock)

    def end(self, address: str, *, taken: bool = True) -> None:
        """End the oldest try at this address."""
        one = next(one for one in self.under_way if one.delivery.address == address)
        self.under_way.remove(one)
        self.under_way += self.lanes.done(one, taken=taken, at=NOW, clock=self.clock)

    def pass_time(self, seconds: float) -> None:
        self.clock += seconds
        self.under_way += self.lanes.look(at=NOW, clock=self.clock)

    def rooms(self, *, busy: bool = True) -> tuple[dict[str, int], int]:
        return self.lanes.quick_rooms(busy=busy, clock=self.clock)

    def at(self, address: str) -> int:
        return sum(one.delivery.address == address for one in self.under_way)

    def prove(self, address: str) -> None:
        """Have it answer quickly until it has all its places."""
        for _ in range(4):
            self.put(address, 1)
            self.end(address)


def test_an_unknown_address_begins_small_and_grows_as_it_answers() -> None:
    hand = Hand()
    hand.put("a", 100)
    assert hand.at("a") == 4
    hand.end("a")
    assert hand.at("a") == 8
    for _ in range(50):
        hand.end("a")
        assert hand.at("a") == 8


def test_after_a_failure_it_gets_one_at_a_time_then_twice_as_many() -> None:
    hand = Hand()
    hand.prove("a")
    hand.put("a", 8)
    for _ in range(8):
        hand.end("a", taken=False)
    hand.put("a", 100)
    seen = []
    for _ in range(4):
        seen.append(hand.at("a"))
        for _ in range(hand.at("a")):
            hand.end("a")
    assert seen == [1, 2, 8, 8]  # twice as many with each one that ended well


def test_those_that_do_not_answer_leave_half_of_the_places_to_those_that_do() -> None:
    hand = Hand()
    hand.prove("live")
    for number in range(100):
        hand.put(f"dead {number}", 4)
    assert len(hand.under_way) == LIMITS.slow
    hand.put("live", 100)
    assert hand.at("live") == LIMITS.per_address
    for _ in range(92):
        hand.end("live")
        assert hand.at("live") == min(8, hand.at("live"))
    assert sum(one.delivery.address != "live" for one in hand.under_way) == LIMITS.slow


def test_places_of_addresses_that_have_become_slow_are_made_up_for() -> None:
    """Many good receivers stop answering at the same moment; another good one goes on nevertheless."""
    hand = Hand()
    for number in range(4):
        hand.prove(f"was quick {number}")
    hand.prove("live")
    for number in range(4):
        hand.put(f"was quick {number}", 8)
    assert len(hand.under_way) == LIMITS.total
    hand.put("live", 20)
    assert hand.at("live") == 0
    hand.pass_time(1.5)
    assert hand.at("live") == LIMITS.per_address
    assert len(hand.under_way) <= 3 * LIMITS.total


def test_the_slow_ones_take_turns() -> None:
    hand = Hand(Limits(total=8, per_address=4))
    for name in "abcdef":
        hand.put(name, 4)
    assert [one.delivery.address for one in hand.under_way] == ["a"] * 4
    hand.clock += 5.0  # whatever they say now, they are slow
    for _ in range(4):
        hand.end("a")
    assert sorted(one.delivery.address for one in hand.under_way) == ["b", "c", "d", "e"]


def test_a_quick_address_gets_work_ahead_and_gives_it_back_when_it_fails() -> None:
    hand = Hand()
    hand.prove("a")
    hand.prove("b")
    rooms, _ = hand.rooms()
    assert rooms["a"] > LIMITS.per_address
    hand.put("a", rooms["a"])
    assert "a" not in hand.rooms()[0]
    hand.end("a", taken=False)
    assert len(hand.lanes.stale) == rooms["a"] - LIMITS.per_address - 4
    # What is left does not stand in the way of other addresses' leases.
    assert hand.lanes.other_rooms()[2] > 0


def test_only_busy_addresses_are_asked_for_at_every_ring() -> None:
    hand = Hand()
    hand.prove("a")
    hand.pass_time(10.0)
    hand.prove("b")
    assert list(hand.rooms()[0]) == ["b"]
    assert list(hand.rooms(busy=False)[0]) == ["a"]


def test_a_slow_address_gets_no_work_ahead() -> None:
    hand = Hand()
    hand.put("a", 1)
    hand.pass_time(3.0)
    hand.end("a")
    rooms, first, _ = hand.lanes.other_rooms()
    assert (rooms["a"], first) == (8, 4)
    assert hand.rooms()[0] == {}


def test_what_waited_too_long_in_hand_is_given_back_untried() -> None:
    hand = Hand()
    hand.put("a", 3, start_by=NOW - timedelta(seconds=1))
    assert hand.under_way == []
    assert len(hand.lanes.stale) == 3


def test_a_stop_gives_up_what_waits_and_starts_nothing_more() -> None:
    hand = Hand()
    hand.put("a", 20)
    assert len(hand.lanes.give_up()) == 16
    while hand.under_way:
        hand.end("a")
    assert hand.lanes.trying == 0


class Traffic(RuleBasedStateMachine):
    """Whatever comes and goes: nobody has more places than it may, and nothing is started twice or forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.hand = Hand(Limits(total=12, per_address=4))
        self.given = 0
        self.ended = 0

    @rule(address=st.sampled_from("abcdefgh"), times=st.integers(1, 10))
    def come(self, address: str, times: int) -> None:
        self.hand.put(address, times)
        self.given += times

    @rule(which=st.integers(0, 100), taken=st.booleans())
    def end(self, which: int, taken: bool) -> None:
        if self.hand.under_way:
            address = self.hand.under_way[which % len(self.hand.under_way)].delivery.address
            self.hand.end(address, taken=taken)
            self.ended += 1

    @rule(seconds=st.floats(0, 2))
    def wait(self, seconds: float) -> None:
        self.hand.pass_time(seconds)

    @invariant()
    def places_are_kept(self) -> None:
        hand = self.hand
        assert hand.lanes.trying == len(hand.under_way) <= 3 * hand.limits.total
        assert all(hand.at(address) <= hand.limits.per_address for address in "abcdefgh")
        ids = [one.delivery.delivery_id for one in hand.under_way]
        assert len(ids) == len(set(ids))

    def teardown(self) -> None:
        # Whoever answers at last gets all that is left.
        while self.hand.under_way:
            self.hand.end(self.hand.under_way[0].delivery.address)
            self.ended += 1
        assert self.ended + len(self.hand.lanes.stale) == self.given


TestTraffic = Traffic.TestCase


@given(st.lists(st.sampled_from("abc"), max_size=60))
def test_one_address_is_served_in_the_order_of_its_leases(addresses: list[str]) -> None:
    hand, started = Hand(), []
    for address in addresses:
        hand.put(address, 1)
    while hand.under_way:
        one = hand.under_way[0]
        started.append(one)
        hand.end(one.delivery.address)
    for address in "abc":
        ids = [one.delivery.delivery_id for one in started if one.delivery.address == address]
        assert ids == sorted(ids)


def test_many_that_never_answer_leave_room_in_hand_for_an_unknown_one() -> None:
    """Each has a backlog. Once it is known that they hang, one of each is in hand at most."""
    hand = Hand()
    for _ in range(12):
        for number in range(60):
            rooms, first, limit = hand.lanes.other_rooms()
            hand.put(f"dead {number}", min(limit, rooms.get(f"dead {number}", first)))
        hand.clock += 10.0
        for one in list(hand.under_way):
            hand.end(one.delivery.address, taken=False)
    _, first, limit = hand.lanes.other_rooms()
    assert limit >= first
    hand.put("live", first)
    while not hand.at("live"):  # it has its turn
        hand.end(hand.under_way[0].delivery.address, taken=False)
