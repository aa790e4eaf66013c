"""How are deliveries going, for Prometheus?"""

from prometheus_client import Counter, Gauge, Histogram

_fanned_out = Counter("zvonar_events_fanned_out", "Events that became deliveries.")
_delivered = Counter("zvonar_deliveries", "Deliveries that an address took.", ["kind"])
_failed = Counter("zvonar_delivery_failures", "Tries that failed, by reason.", ["kind", "error"])
_dead = Counter("zvonar_deliveries_given_up", "Deliveries that ran out of tries.", ["kind"])
_unrendered = Counter(
    "zvonar_events_unrendered", "Times that an event could not be rendered and stepped aside."
)
_disabled = Counter("zvonar_receivers_disabled", "Addresses that were given up, by reason.", ["reason"])
_in_flight = Gauge("zvonar_deliveries_in_flight", "Deliveries being tried now.", multiprocess_mode="livesum")
_lag = Histogram(
    "zvonar_delivery_seconds",
    "From the event to the address that took it.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 5, 30, 300, 3600),
)


class PrometheusDeliveryMeters:
    """Counts for /metrics."""

    def fanned_out(self, events: int) -> None:
        _fanned_out.inc(events)

    def unrendered(self, events: int) -> None:
        _unrendered.inc(events)

    def disabled(self, reason: str) -> None:
        _disabled.labels(reason).inc()

    def delivered(self, kind: str, lag: float) -> None:
        _delivered.labels(kind).inc()
        _lag.observe(lag)

    def failed(self, kind: str, error: str, *, dead: bool) -> None:
        _failed.labels(kind, error).inc()
        if dead:
            _dead.labels(kind).inc()

    def in_flight(self, deliveries: int) -> None:
        _in_flight.set(deliveries)
