"""Zvonar, a self-hosted outbound-calling platform. Start reading at `service` and `core`."""

__version__ = "0.1.0"
