"""What does a call cost, and what is held while it lasts? Tariff arithmetic.

Everything is Decimal in the account's one currency, four decimals stored, half-up.
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from math import ceil

from msgspec import Struct

from zvonar.core.errors import NoTariff, SettingsInvalid

QUANTUM = Decimal("0.0001")
MAX_PRICE = Decimal(1_000_000)  # far above any price, far below what the store's numeric(16,4) holds


def rounded(amount: Decimal) -> Decimal:
    """The amount as it is stored: four decimals, half-up."""
    return amount.quantize(QUANTUM, rounding=ROUND_HALF_UP)


class Rate(Struct, frozen=True, kw_only=True):
    """The price of one destination."""

    prefix: str  # E.164 digits without the plus; "" is everything
    per_minute: Decimal
    connection_fee: Decimal = Decimal(0)  # charged once per answered leg
    first_interval: int = 1  # seconds billed at least
    step: int = 1  # seconds; durations beyond the first interval are rounded up to it

    def checked(self) -> "Rate":
        """Self, or SettingsInvalid."""
        for price in (self.per_minute, self.connection_fee):
            # Finite first: comparing with a NaN raises.
            if not price.is_finite() or not 0 <= price <= MAX_PRICE or price != rounded(price):
                raise SettingsInvalid(f"a price is 0 to {MAX_PRICE} with at most four decimals.")
        if self.first_interval < 1 or self.step < 1:
            raise SettingsInvalid("first interval and step are at least one second.")
        if not (self.prefix.isascii() and (self.prefix == "" or self.prefix.isdigit())):
            raise SettingsInvalid("a prefix is digits, without a plus.")
        return self

    def billed_seconds(self, seconds: float) -> int:
        """Talk time as it is billed; nothing for an unanswered leg (0 seconds)."""
        if seconds <= 0:
            return 0
        beyond = max(0, ceil(seconds) - self.first_interval)
        return self.first_interval + -(-beyond // self.step) * self.step

    def charge(self, seconds: float) -> Decimal:
        """The price of an answered leg that lasted so long."""
        billed = self.billed_seconds(seconds)
        if billed == 0:
            return Decimal(0)
        return rounded(self.connection_fee + self.per_minute * billed / 60)

    def worst_case(self, max_seconds: int) -> Decimal:
        """What to hold before dialling: no leg of at most `max_seconds` can cost more."""
        return self.charge(max(max_seconds, 1))


class Tariff(Struct, frozen=True, kw_only=True):
    """A price list by longest prefix."""

    tariff_id: int
    name: str
    rates: dict[str, Rate]  # by prefix

    def rate_for(self, phone: str) -> Rate:
        """The rate of an E.164 number, by longest prefix; NoTariff where none matches."""
        digits = phone.removeprefix("+")
        for length in range(len(digits), -1, -1):
            rate = self.rates.get(digits[:length])
            if rate is not None:
                return rate
        raise NoTariff()


def tariff(tariff_id: int, name: str, rates: Iterable[Rate]) -> Tariff:
    """A Tariff of these rates, each checked; SettingsInvalid where two price the same prefix."""
    by_prefix: dict[str, Rate] = {}
    for rate in rates:
        if by_prefix.setdefault(rate.prefix, rate.checked()) is not rate:
            raise SettingsInvalid(f"prefix {rate.prefix!r} has two prices.")
    return Tariff(tariff_id=tariff_id, name=name, rates=by_prefix)
