"""What does /metrics say? The counters of all roles, and what only the database knows."""

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from zvonar.service.home import Home
from zvonar.store import campaigns, outbox
from zvonar.store.db import Database, StoreUnavailable


class _FromStore(Collector):
    """Gauges that were read from the database for this one scrape."""

    def __init__(self, tallies: dict[str, int], lag: outbox.Lag) -> None:
        self._tallies = tallies
        self._lag = lag

    def collect(self) -> Iterator[Metric]:
        for kind, label, text in (
            ("state", "state", "Calls by state."),
            ("result", "result", "Calls that have ended, by the result of their last attempt."),
            ("end", "end", "Calls that have ended, by how."),
        ):
            family = GaugeMetricFamily(f"zvonar_calls_by_{kind}", text, labels=[label])
            for key, count in self._tallies.items():
                if key.startswith(f"{kind}/"):
                    family.add_metric([key.partition("/")[2]], count)
            yield family
        yield GaugeMetricFamily("zvonar_events_pending", "Events not fanned out yet.", value=self._lag.events)
        yield GaugeMetricFamily(
            "zvonar_deliveries_pending", "Deliveries on their way.", value=self._lag.pending
        )
        yield GaugeMetricFamily("zvonar_deliveries_dead", "Deliveries given up.", value=self._lag.dead)
        yield GaugeMetricFamily(
            "zvonar_deliveries_disabled", "Deliveries for disabled addresses.", value=self._lag.disabled
        )
        yield GaugeMetricFamily(
            "zvonar_events_aside", "Events that cannot be rendered.", value=self._lag.unrendered
        )
        yield GaugeMetricFamily(
            "zvonar_delivery_lag_seconds", "Age of the oldest event not delivered.", value=self._lag.oldest
        )


async def exposition(db: Database, home: Home, *, now: datetime) -> bytes:
    """The scrape. Without the database it still says what the roles counted, and that the store is away."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(home.metrics))  # type: ignore[no-untyped-call]
    away = GaugeMetricFamily("zvonar_store_up", "Whether the database answers.", value=1)
    try:
        registry.register(_FromStore(await campaigns.all_tallies(db), await outbox.lag(db, now=now)))
    except StoreUnavailable:
        away = GaugeMetricFamily("zvonar_store_up", "Whether the database answers.", value=0)

    class _Up(Collector):
        def collect(self) -> Iterator[Metric]:
            yield away

    registry.register(_Up())
    return generate_latest(registry)
