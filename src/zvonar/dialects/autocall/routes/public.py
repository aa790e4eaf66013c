"""What may anybody ask, without a key? What calls cost."""

from msgspec import Struct

from zvonar.dialects.autocall.operations import Asked, Example, Operation
from zvonar.store import accounts

TAG = "public"


class TariffRate(Struct, frozen=True, kw_only=True):
    """The price of calls to numbers with a prefix; the longest prefix counts."""

    prefix: str  # E.164 digits without the plus; empty is everything else
    per_minute: str
    connection_fee: str
    first_interval: int  # seconds billed at least
    step: int  # seconds; what is beyond is rounded up to it


class Tariffs(Struct, frozen=True, kw_only=True):
    """The price list of this installation."""

    data: list[TariffRate]


async def tariffs(asked: Asked) -> Tariffs:
    """What calls cost."""
    return Tariffs(
        data=[
            TariffRate(
                prefix=rate.prefix,
                per_minute=str(rate.per_minute),
                connection_fee=str(rate.connection_fee),
                first_interval=rate.first_interval,
                step=rate.step,
            )
            for rate in await accounts.default_rates(asked.db)
        ]
    )


OPERATIONS = (
    Operation(
        method="GET",
        path="/public/tariffs",
        tag=TAG,
        name="getTariffs",
        summary="Read the tariffs",
        handle=tariffs,
        answer=Tariffs,
        public=True,
        examples=(Example(name="all"),),
    ),
)
