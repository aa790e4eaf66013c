"""What holds of a campaign when it is over, whatever was killed meanwhile?"""

from typing import TYPE_CHECKING

import psycopg

from zvonar.line.asterisk import town

from .processes import until

if TYPE_CHECKING:
    from .house import House

CAMPAIGN = 180.0  # seconds for a campaign, a crash in its middle included
# What comes of a call, by the last digit of its number.
PREDICTED = {
    **dict.fromkeys("058", "answered/no_input"),
    **dict.fromkeys("19", "answered/choice"),
    "2": "busy/none",
    "3": "no_answer/none",
    "4": "invalid_number/none",
    "6": "congestion/none",
    "7": "answered/hung_up",
}

# What every account has, and what its ledger and its attempts say of that.
MONEY = """
SELECT balance, held, at_risk,
    coalesce((SELECT sum(amount) FROM ledger WHERE account_id = a.account_id), 0) AS ledger,
    coalesce((SELECT sum(amount) FROM ledger WHERE account_id = a.account_id AND kind = 'charge'), 0) AS charges,
    coalesce((SELECT sum(cost) FROM attempts WHERE account_id = a.account_id), 0) AS cost
FROM accounts a
"""


class Dialling:
    """A campaign of a test, and the laws that hold when it is over."""

    def __init__(self, house: "House", campaign_id: int, name: str, numbers: list[str]) -> None:
        self.house = house
        self.id = campaign_id
        self.name = name
        self.numbers = numbers

    def count(self, *states: str) -> int:
        """Calls in one of these states."""
        return int(
            self.house.value(
                "SELECT count(*) FROM calls WHERE campaign_id = %s AND state = ANY(%s)", self.id, list(states)
            )
        )

    def until_ended(self, at_least: int) -> None:
        """Wait until so many calls have come to their end, the others not yet: the middle of the campaign."""
        until(lambda: self.count("finished") >= at_least, CAMPAIGN, about=self.standing)
        assert self.count("finished") < len(self.numbers), "the campaign was over too soon to disturb it"

    def states(self) -> dict[str, int]:
        rows = self.house.rows(
            "SELECT state, count(*) AS n FROM calls WHERE campaign_id = %s GROUP BY state", self.id
        )
        return {row["state"]: row["n"] for row in rows}

    def standing(self) -> str:
        """Where it stands, and what the service said last: for whoever waited in vain."""
        said = self.house.serving.said.splitlines()[-40:] if self.house.serving else []
        return "\n".join([str(self.states()), *said])

    def over(self, seconds: float = CAMPAIGN) -> None:
        """Wait until every call has ended, the campaign with them, and everything is told; then the laws."""

        def done() -> bool:
            try:
                return bool(
                    self.house.value(
                        "SELECT status = 'completed' AND NOT EXISTS (SELECT FROM outbox WHERE fanned_out_at IS NULL)"
                        " AND NOT EXISTS (SELECT FROM deliveries WHERE state = 'pending')"
                        " FROM campaigns WHERE campaign_id = %s",
                        self.id,
                    )
                )
            except psycopg.OperationalError:
                return False  # it is just being started again

        until(done, seconds, about=self.standing)
        self.check()

    def nobody_lost(self) -> None:
        """Whoever was rung has a result; lost is at most who was about to be, and no INVITE was sent."""
        lost = self.house.rows(
            "SELECT leg_id FROM legs JOIN calls c USING (account_id, call_id)"
            " WHERE c.campaign_id = %s AND c.disposition = 'lost'",
            self.id,
        )
        invites = town.invites(self.house.home / "town")
        assert not [row["leg_id"] for row in lost if row["leg_id"] in invites], self.results()

    def results(self) -> dict[str, str]:
        """What came of each number."""
        rows = self.house.rows(
            "SELECT phone, disposition || '/' || coalesce(script_result, 'none') AS result FROM calls"
            " WHERE campaign_id = %s",
            self.id,
        )
        return {row["phone"]: row["result"] for row in rows}

    def check(self) -> None:
        """The laws: final states, at most one INVITE a leg, every body delivered, money that adds up."""
        assert set(self.states()) == {"finished"}, self.states()
        self._check_invites()
        self._check_money()
        self._check_callbacks()

    def _check_invites(self) -> None:
        invites = town.invites(self.house.home / "town")
        assert all(count == 1 for leg, count in invites.items() if leg != "-"), invites
        legs = {
            row["leg_id"]: row["phase"]
            for row in self.house.rows("SELECT leg_id, phase FROM legs WHERE direction = 'out'")
        }
        assert set(invites) - {"-"} <= set(legs), "the town was called by a leg that nobody knows"
        assert set(legs.values()) <= {"ended"}, legs

    def _check_money(self) -> None:
        for account in self.house.rows(MONEY):
            assert account["balance"] == account["ledger"], account
            assert account["held"] == account["at_risk"] == 0, account
            assert account["charges"] == -account["cost"], account
        assert self.house.value("SELECT sum(in_use) FROM trunks") == 0
        assert self.house.value("SELECT sum(in_use + leg_held) FROM campaign_guards") == 0
        tallies = self.house.rows(
            "SELECT key, sum(n)::int AS n FROM campaign_tallies WHERE campaign_id = %s GROUP BY key", self.id
        )
        for kind in ("state/", "result/", "end/"):
            assert sum(row["n"] for row in tallies if row["key"].startswith(kind)) == len(self.numbers)

    def _check_callbacks(self) -> None:
        receiver = self.house.receiver
        wanted = {
            row["event_id"]
            for row in self.house.rows(
                "SELECT d.event_id FROM deliveries d JOIN outbox USING (event_id) WHERE campaign_id = %s",
                self.id,
            )
        }
        assert wanted <= {post.event_id for post in receiver.of(self.name)}, "a body is missing"
        heard = receiver.calls(self.name)
        known = {
            row["call_id"]: row
            for row in self.house.rows(
                "SELECT call_id, phone, attempts, talk_seconds FROM calls WHERE campaign_id = %s", self.id
            )
        }
        assert set(heard) == set(known)
        for call_id, posts in heard.items():
            assert [post.event_id for post in posts] == sorted(post.event_id for post in posts)
            said, call = posts[-1].said["call"], known[call_id]
            assert (said["number"], said["tries"], said["duration"]) == (
                call["phone"],
                call["attempts"],
                call["talk_seconds"],
            )
            assert said["status"] != "awaiting"
            assert not said["lock"]
        # Repetitions are the same bytes.
        bodies: dict[int, set[bytes]] = {}
        for post in receiver.of(self.name):
            bodies.setdefault(post.event_id, set()).add(post.body)
        assert all(len(same) == 1 for same in bodies.values())
        statuses = [
            post.said["autocall"]["status"] for post in receiver.of(self.name) if "autocall" in post.said
        ]
        assert "running" in statuses
        assert statuses[-1] == "completed"
