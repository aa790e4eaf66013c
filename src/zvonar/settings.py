"""What may an operator set? Environment variables that begin with ZVONAR_; the README lists them."""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Network = IPv4Network | IPv6Network


class Settings(BaseSettings):
    """Read once at start, by the command line and the service only."""

    model_config = SettingsConfigDict(env_prefix="ZVONAR_", extra="ignore")

    home: Path = Path("var")  # everything that Zvonar keeps
    cache: Path | None = None  # downloads, shared by all homes of this user
    database_url: str | None = None  # a PostgreSQL >= 15 of your own
    asterisk: Path | None = None  # an installed Asterisk >= 22.5 to run instead of a fetched one
    debian_mirror: str | None = None  # instead of the mirror that this machine's apt uses
    public_url: str | None = None  # prefixes every link; the request's own host unless given
    port_base: Annotated[int | None, Field(ge=1024, le=62000)] = None  # first port of the internal block
    allow_networks: Annotated[tuple[Network, ...], NoDecode] = ()  # opened to deliveries
    smtp_url: str | None = None  # smtp://user:password@host:587, or smtps://; no letters go out without it
    mail_from: str = "zvonar@localhost"  # From of our letters
    whisper_model: Path | None = (
        None  # directory of a CTranslate2 whisper model: words on the line, transcripts
    )
    words_recognisers: Annotated[int, Field(ge=1, le=64)] = 1  # processes that recognise words
    words_wait: Annotated[float, Field(ge=0, le=60)] = 2.0  # seconds for a free one; then keys alone
    transcribe_url: str | None = None  # of an OpenAI-compatible API, https://host/v1, for transcripts
    transcribe_key: str | None = None
    transcribe_model: str = "whisper-1"
    sms_url: str | None = None  # smpp://user:password@host:2775/SENDER, or file:///path of an HTTP template
    keep_deliveries_days: Annotated[int, Field(ge=1, le=3650)] = (
        30  # what was delivered, and the log of its tries
    )
    keep_report_months: Annotated[int, Field(ge=0, le=1200)] = (
        0  # beside the current one; 0 keeps every session
    )
    keep_recordings_days: Annotated[int, Field(ge=0, le=36500)] = 0  # 0 keeps every recording of a call
    sip_bind: str = "127.0.0.1"  # address that the gateway's SIP listens on
    external_address: str | None = None  # what carriers see when the gateway stands behind a NAT
    local_networks: Annotated[tuple[str, ...], NoDecode] = ()  # inside them it is not used
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0  # for calls in progress after SIGTERM
    amocrm_strict_nulls: bool = (
        False  # refuse null in place of an optional parameter of a call, as the vendor may
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("allow_networks", mode="before")
    @classmethod
    def _networks(cls, given: object) -> object:
        if isinstance(given, str):
            return tuple(ip_network(part.strip(), strict=False) for part in given.split(",") if part.strip())
        return given

    @field_validator("local_networks", mode="before")
    @classmethod
    def _words(cls, given: object) -> object:
        return (
            tuple(part.strip() for part in given.split(",") if part.strip())
            if isinstance(given, str)
            else given
        )

    @property
    def cache_directory(self) -> Path:
        """Where downloads are kept for all homes of this user."""
        if self.cache is not None:
            return self.cache
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zvonar"
