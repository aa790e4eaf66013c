"""Can a value become configuration? And does a trunk read as the carrier expects?"""

import re
from pathlib import Path

import msgspec
import pytest

from zvonar.line.asterisk import config
from zvonar.line.asterisk.config import ConfigRefused, GatewayConfig, Secret, SipTrunk, TownConfig
from zvonar.line.asterisk.install import AsteriskInstall

GATEWAY = GatewayConfig(
    ari_port=8088,
    ari_user="zvonar",
    ari_password=Secret("pw"),
    sip_port=5060,
    rtp_first=10000,
    rtp_last=10999,
)
TRUNK = SipTrunk(id="7", host="sip.example.com", username="user", password=Secret("pw"))
EVIL = ("a\nb", "a;b", "a]b", "[x]", "a\r", "a\0", "", " ", "a b", "é", "a" * 200, "a=b", "a,b", "${X}")


def rendered(home: Path, install: AsteriskInstall, settings: GatewayConfig) -> dict[str, str]:
    written = config.write_gateway(settings, install, home)
    return {path.name: path.read_text() for path in written.conf.parent.iterdir()}


@pytest.mark.parametrize("field", ["id", "host", "username", "from_user", "from_domain"])
@pytest.mark.parametrize("value", EVIL)
def test_no_word_of_a_trunk_can_become_configuration(
    tmp_path: Path, install: AsteriskInstall, field: str, value: str
) -> None:
    trunk = msgspec.structs.replace(TRUNK, register=True, **{field: value})
    with pytest.raises(ConfigRefused):
        config.write_gateway(msgspec.structs.replace(GATEWAY, trunks=(trunk,)), install, tmp_path)
    assert not (tmp_path / "etc").exists()  # nothing was written


@pytest.mark.parametrize(
    "value", ["hush\nx", "hush;x", " hush", "hush ", ">hush", "", "hush\0", "хуш", "h" * 129]
)
def test_no_password_can_become_configuration(tmp_path: Path, install: AsteriskInstall, value: str) -> None:
    secret = Secret(value)
    trunk = msgspec.structs.replace(TRUNK, password=secret)
    with pytest.raises(ConfigRefused) as caught:
        config.write_gateway(msgspec.structs.replace(GATEWAY, trunks=(trunk,)), install, tmp_path)
    assert "hush" not in str(caught.value)  # and none is shown
    with pytest.raises(ConfigRefused):
        config.write_gateway(msgspec.structs.replace(GATEWAY, ari_password=secret), install, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"ari_port": 0},
        {"sip_port": 70000},
        {"rtp_first": 2000, "rtp_last": 1000},
        {"bind": "here"},
        {"external_address": "1.2.3"},
        {"local_networks": ("10.0.0.0/33",)},
        {"ari_user": "general"},
        {"trunks": (TRUNK, TRUNK)},
        {"trunks": (msgspec.structs.replace(TRUNK, password=None),)},
        {"trunks": (msgspec.structs.replace(TRUNK, codecs=("opus\n",)),)},
        {"trunks": (msgspec.structs.replace(TRUNK, username=None, password=None, register=True),)},
    ],
)
def test_what_does_not_hold_together_is_refused(
    tmp_path: Path, install: AsteriskInstall, change: dict[str, object]
) -> None:
    with pytest.raises(ConfigRefused):
        config.write_gateway(msgspec.structs.replace(GATEWAY, **change), install, tmp_path)


def test_a_secret_does_not_show() -> None:
    assert "hidden" not in repr(msgspec.structs.replace(TRUNK, password=Secret("hidden")))


def test_a_trunk_on_loopback_keeps_its_media_there(tmp_path: Path, install: AsteriskInstall) -> None:
    pjsip = rendered(tmp_path, install, msgspec.structs.replace(GATEWAY, trunks=(TRUNK,)))["pjsip.conf"]
    assert "bind=127.0.0.1:5060" in pjsip
    assert "media_address=127.0.0.1\nbind_rtp_to_media_address=yes" in pjsip
    for line in ("[trunk-7]", "dtmf_mode=auto_info", "direct_media=no", "rtp_timeout=30", "allow=alaw,ulaw"):
        assert f"\n{line}\n" in pjsip
    assert "contact=sip:sip.example.com:5060" in pjsip
    assert "type=registration" not in pjsip


def test_a_trunk_behind_a_nat_says_so(tmp_path: Path, install: AsteriskInstall) -> None:
    settings = msgspec.structs.replace(
        GATEWAY,
        bind="0.0.0.0",
        external_address="203.0.113.5",
        local_networks=("10.0.0.0/8",),
        trunks=(msgspec.structs.replace(TRUNK, register=True, from_user="78005553535", send_pai=False),),
    )
    pjsip = rendered(tmp_path, install, settings)["pjsip.conf"]
    assert "external_media_address=203.0.113.5\nexternal_signaling_address=203.0.113.5" in pjsip
    assert "local_net=10.0.0.0/8" in pjsip
    assert "bind_rtp_to_media_address" not in pjsip
    assert "client_uri=sip:user@sip.example.com" in pjsip
    assert "from_user=78005553535" in pjsip
    assert "send_pai=no" in pjsip


def test_the_fingerprint_changes_with_the_texts_and_stale_files_go(
    tmp_path: Path, install: AsteriskInstall
) -> None:
    first = config.write_gateway(GATEWAY, install, tmp_path)
    (tmp_path / "etc/manager.conf").write_text("[general]\nenabled=yes\n")
    assert config.write_gateway(GATEWAY, install, tmp_path) == first
    assert not (tmp_path / "etc/manager.conf").exists()
    other = config.write_gateway(msgspec.structs.replace(GATEWAY, trunks=(TRUNK,)), install, tmp_path)
    assert other.fingerprint != first.fingerprint


def test_no_placeholder_is_left(tmp_path: Path, install: AsteriskInstall) -> None:
    town = TownConfig(
        ari_port=1,
        ari_user="u",
        ari_password=Secret("p"),
        sip_port=2,
        rtp_first=3,
        rtp_last=4,
        gateway_port=5,
    )
    config.write_town(town, install, tmp_path / "town")
    config.write_gateway(GATEWAY, install, tmp_path / "gateway")
    for path in tmp_path.glob("*/etc/*.conf"):
        assert not re.search(r"\$[a-z]", path.read_text()), path


def test_a_home_whose_name_would_be_configuration_is_refused(
    tmp_path: Path, install: AsteriskInstall
) -> None:
    with pytest.raises(ConfigRefused, match="directory"):
        config.write_gateway(GATEWAY, install, tmp_path / "a;b")
