"""How are deliveries going? What the loops report, whoever counts it."""

from typing import Protocol


class DeliveryMeters(Protocol):
    """Counts what it is told; must not fail or block."""

    def fanned_out(self, events: int) -> None:
        """So many events became deliveries."""

    def unrendered(self, events: int) -> None:
        """So many events could not be rendered, and stepped aside."""

    def delivered(self, kind: str, lag: float) -> None:
        """An address took a delivery `lag` seconds after its event."""

    def failed(self, kind: str, error: str, *, dead: bool) -> None:
        """A try failed, for a reason of `verdict.Failure`; `dead` if it was the last."""

    def disabled(self, reason: str) -> None:
        """A receiver was given up, because it is `gone` or `failing`."""

    def in_flight(self, deliveries: int) -> None:
        """So many deliveries are being tried by this process now."""


class NoMeters:
    """Counts nothing."""

    def fanned_out(self, events: int) -> None:
        pass

    def unrendered(self, events: int) -> None:
        pass

    def delivered(self, kind: str, lag: float) -> None:
        pass

    def failed(self, kind: str, error: str, *, dead: bool) -> None:
        pass

    def disabled(self, reason: str) -> None:
        pass

    def in_flight(self, deliveries: int) -> None:
        pass
