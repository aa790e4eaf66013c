"""How much may a UIS client ask? Points by day and minute, a point a request, charged for successes only."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil

from zvonar.store.limits import Budget, Rule

# Guesses: the numbers of one of the vendor's samples; real ones depend on the plan.
DAY = Rule(scope="uis.day", count=3500, seconds=86_400)
MINUTE = Rule(scope="uis.minute", count=200, seconds=60)
RULES = (DAY, MINUTE)
NAMES = {DAY.scope: "day", MINUTE.scope: "minute", "uis.login": "minute"}

MAX_BODY = 1_000_000  # bytes of a request
MAX_LIMIT = 10_000  # rows of a page
DEFAULT_LIMIT = 1_000
MAX_OFFSET = 100_000
MAX_MONTHS = 3  # between date_from and date_till
MAX_DAYS = 366  # the same for get.mgf_calls
MAX_TAGS = 100  # of one call
DEADLINE = 30.0  # seconds for a report; then the database cancels it
SESSION = timedelta(hours=1)  # life of a login's access token
TRACKS = Rule(scope="uis.track", count=6_000, seconds=60)  # visits of an account
# Of one login: guessing passwords takes longer than anybody has.
LOGINS = Rule(scope="uis.login", count=20, seconds=60)


def described(budgets: Sequence[Budget], *, now: datetime) -> dict[str, int]:
    """The `limits` of an answer's metadata."""
    described: dict[str, int] = {}
    for budget in budgets:
        name = NAMES[budget.rule.scope]
        described[f"{name}_limit"] = budget.rule.count
        described[f"{name}_remaining"] = max(budget.rule.count - budget.used, 0)
        described[f"{name}_reset"] = max(ceil((budget.until - now).total_seconds()), 0)
    return described
