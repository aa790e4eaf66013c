"""What can be typed? `zvonar COMMAND …`; each group of commands has its own module."""

from zvonar.cli.app import app

__all__ = ["app"]
