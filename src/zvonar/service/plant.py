"""Is everything there that the roles stand on? PostgreSQL, the gateway, the town; started, adopted, repaired.

Both outlive the service: a crash of ours ends no call and loses no row.
"""

import base64
import http.client
import os
from collections.abc import Callable
from pathlib import Path

import psycopg
import structlog

from zvonar.core.errors import ZvonarError
from zvonar.line.asterisk import config, install, town
from zvonar.line.asterisk.config import GatewayConfig, Secret, SipTrunk, TownConfig
from zvonar.line.asterisk.install import AsteriskInstall
from zvonar.line.asterisk.process import AsteriskProcess
from zvonar.service.home import Home, Ports
from zvonar.settings import Settings
from zvonar.store.migrate import migrate
from zvonar.store.server import PostgresServer
from zvonar.store.trunks import Trunk

log = structlog.get_logger(__name__)

Report = Callable[[str], None]
ARI_USER = "zvonar"
READY = 30.0  # seconds for an Asterisk to answer
TOWN_TRUNK = "town"


class DatabaseRefused(ZvonarError):
    """The database that ZVONAR_DATABASE_URL names cannot be used: check the address and that server."""


class DatabaseFull(ZvonarError):
    """The database has no room left: free space on its disk and start again, nothing committed is lost."""


class SecretMissing(ZvonarError):
    """The file that a trunk's password is to be read from cannot be read."""


class Plant:
    """The machinery of one home."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self.settings = settings
        self.home = home

    # Database.

    def database(self) -> str:
        """The DSN of a running, migrated database. Raises PostgresUnavailable, DatabaseRefused, DatabaseFull."""
        dsn = self.settings.database_url or self.postgres().ensure()
        try:
            migrate(dsn)
        except Exception as exc:
            cause = getattr(exc, "orig", exc)  # SQLAlchemy wraps some of what psycopg raises
            if isinstance(cause, psycopg.errors.DiskFull):
                raise DatabaseFull() from None
            if self.settings.database_url is None or not isinstance(cause, psycopg.Error):
                raise
            # What is wrong with the address itself is not quoted: it may hold a password.
            away = isinstance(cause, psycopg.OperationalError)
            raise DatabaseRefused(str(cause).strip().splitlines()[0] if away else None) from None
        return dsn

    def postgres(self) -> PostgresServer:
        """The embedded server of this home."""
        return PostgresServer(self.home.root)

    # Asterisk.

    def fetch(self, report: Report) -> AsteriskInstall:
        """Asterisk and espeak-ng; fetched where they are not there."""
        if self.settings.asterisk is not None:
            return install.probe(self.settings.asterisk)
        return install.ensure(
            self.home.root, self.settings.cache_directory, report, mirror=self.settings.debian_mirror
        )

    def installed(self) -> AsteriskInstall | None:
        """What is there already; asks no network."""
        if self.settings.asterisk is not None:
            return install.probe(self.settings.asterisk)
        return install.find(self.home.root)

    def ports(self) -> Ports:
        """The home's ports: those that its Asterisk holds, else a free block."""
        known = self.home.known_ports()
        if known is not None and any(self._running(name) for name in ("gateway", "town")):
            return known
        return self.home.choose_ports(base=self.settings.port_base)

    def gateway(self, asterisk: AsteriskInstall, ports: Ports, trunks: list[Trunk]) -> AsteriskProcess:
        """The gateway with these trunks; not started yet."""
        rendered = config.write_gateway(
            GatewayConfig(
                ari_port=ports.gateway_ari,
                ari_user=ARI_USER,
                ari_password=Secret(self.home.secret("gateway-ari")),
                sip_port=ports.gateway_sip,
                rtp_first=ports.gateway_rtp[0],
                rtp_last=ports.gateway_rtp[1],
                bind=self.settings.sip_bind,
                external_address=self.settings.external_address,
                local_networks=self.settings.local_networks,
                trunks=tuple(sip_trunk(trunk) for trunk in trunks if trunk.enabled),
            ),
            asterisk,
            self.home.gateway,
        )
        return AsteriskProcess(
            name="gateway",
            run=self.home.run,
            install=asterisk,
            rendered=rendered,
            ari_port=ports.gateway_ari,
            ari_user=ARI_USER,
            ari_password=Secret(self.home.secret("gateway-ari")),
            sip_port=ports.gateway_sip,
            sip_bind=self.settings.sip_bind,
        )

    def town(self, asterisk: AsteriskInstall, ports: Ports) -> AsteriskProcess:
        """The trial phone network; not started yet."""
        rendered = town.write(
            TownConfig(
                ari_port=ports.town_ari,
                ari_user=ARI_USER,
                ari_password=Secret(self.home.secret("town-ari")),
                sip_port=ports.town_sip,
                rtp_first=ports.town_rtp[0],
                rtp_last=ports.town_rtp[1],
                gateway_port=ports.gateway_sip,
            ),
            asterisk,
            self.home.town,
        )
        return AsteriskProcess(
            name="town",
            run=self.home.run,
            install=asterisk,
            rendered=rendered,
            ari_port=ports.town_ari,
            ari_user=ARI_USER,
            ari_password=Secret(self.home.secret("town-ari")),
            sip_port=ports.town_sip,
        )

    def run_gateway(self, process: AsteriskProcess) -> None:
        """Start or adopt the gateway, and have an adopted one read its trunks again: they may have changed."""
        adopted = process.adopt() is not None
        process.ensure(READY)
        if adopted:
            self.reload_trunks()

    def reload_trunks(self) -> None:
        """Have the running gateway read its SIP configuration again; calls in progress go on."""
        ports = self.home.known_ports()
        if ports is None:
            return
        connection = http.client.HTTPConnection("127.0.0.1", ports.gateway_ari, timeout=5.0)
        password = self.home.secret("gateway-ari")
        token = base64.b64encode(f"{ARI_USER}:{password}".encode()).decode()
        try:
            connection.request(
                "PUT", "/ari/asterisk/modules/res_pjsip.so", headers={"Authorization": f"Basic {token}"}
            )
            connection.getresponse().read()
        finally:
            connection.close()

    def _running(self, name: str) -> bool:
        """Whether an Asterisk of this home is alive, whatever its configuration, recorded or not."""
        recorded = self._recorded(name)
        return recorded is not None and recorded.running() is not None

    def _recorded(self, name: str) -> AsteriskProcess | None:
        asterisk, known = self.installed(), self.home.known_ports()
        if asterisk is None or known is None:
            return None
        root = self.home.root / name
        return AsteriskProcess(
            name=name,
            run=self.home.run,
            install=asterisk,
            rendered=config.Rendered(conf=root / "etc/asterisk.conf", home=root, fingerprint=""),
            ari_port=known.gateway_ari,
            ari_user=ARI_USER,
            ari_password=Secret(""),
            sip_port=known.gateway_sip,
        )

    def stop(self) -> list[str]:
        """Stop whatever of this home outlives the service; what was stopped."""
        stopped = []
        for name in ("gateway", "town"):
            recorded = self._recorded(name)
            if recorded is not None and recorded.running() is not None:
                recorded.stop(10.0)
                stopped.append(name)
        if self.settings.database_url is None and self.postgres().running():
            self.postgres().stop()
            stopped.append("database")
        return stopped


def sip_trunk(trunk: Trunk) -> SipTrunk:
    """A stored trunk as the gateway's configuration wants it; its password comes from its file or variable."""
    given = dict(trunk.settings)
    password: str | None = None
    if secret_file := given.pop("secret_file", None):
        try:
            password = Path(secret_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise SecretMissing(f"Trunk {trunk.name}: {secret_file}.") from exc
    elif variable := given.pop("secret_env", None):
        password = os.environ.get(variable)
        if not password:
            raise SecretMissing(f"Trunk {trunk.name}: the environment has no {variable}.")
    if "codecs" in given:
        given["codecs"] = tuple(given["codecs"])
    return SipTrunk(
        id=str(trunk.trunk_id), password=Secret(password) if password is not None else None, **given
    )
