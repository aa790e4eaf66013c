"""What is lost when a part of a running service is killed? Nothing that was accepted; see Dialling.check."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from .dialling import PREDICTED
from .house import ROLES, House
from .mouth import Mouth
from .processes import end_all, kill, until
from .test_serve import sentence

MIX = "0123456789" + "1570" * 3  # every digit, then those that stay on the line


def undisturbed(results: dict[str, str]) -> Counter[bool]:
    """How many calls came to what their last digit says, and how many did not."""
    return Counter(PREDICTED[number[-1]] == result for number, result in results.items())


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_role_comes_back_and_nothing_is_missing(service: House, role: str) -> None:
    dialling = service.campaign(MIX)
    dialling.until_ended(4)
    before = service.role(role)
    kill([before])
    until(lambda: service.health()[0] == 200 and service.role(role) != before, about=service.health)
    dialling.over()
    if role == "dialer":
        # Those who talked when it died are adopted, and hear the prompt again.
        dialling.nobody_lost()
    else:
        assert undisturbed(dialling.results())[False] == 0, dialling.results()


def test_postgresql_killed_in_mid_campaign(service: House) -> None:
    dialling = service.campaign(MIX)
    dialling.until_ended(4)
    before = service.postmaster()
    roles = {role: service.role(role) for role in ROLES}
    kill([before])
    until(lambda: service.health()[0] == 503)
    until(lambda: service.health()[0] == 200, about=service.health)
    dialling.over()
    assert service.postmaster() != before
    assert {role: service.role(role) for role in ROLES} == roles, "a role died of it"
    # Calls went on meanwhile: Asterisk and the scripts need no database.
    assert undisturbed(dialling.results())[False] == 0, dialling.results()


def test_the_gateway_killed_in_mid_campaign(service: House) -> None:
    dialling = service.campaign(MIX)
    dialling.until_ended(4)
    until(lambda: dialling.count("talking") >= 2, about=dialling.standing)
    before = service.asterisk("gateway")
    kill([before])
    until(lambda: service.asterisk("gateway") != before)
    dialling.over()
    came = undisturbed(dialling.results())
    assert came[False] > 0, "nobody was on the line"
    assert came[True] > 4, dialling.results()
    disturbed = {result for number, result in dialling.results().items() if PREDICTED[number[-1]] != result}
    # A callee who had heard the question to its end gave no input, whoever hung up.
    assert disturbed <= {"lost/none", "answered/error", "answered/hung_up", "answered/no_input"}
    assert service.health()[0] == 200


def test_the_town_killed_in_mid_campaign(service: House) -> None:
    dialling = service.campaign(MIX)
    dialling.until_ended(4)
    before = service.asterisk("town")
    kill([before])
    until(lambda: service.asterisk("town") != before)
    dialling.over()
    assert undisturbed(dialling.results())[True] > 4, dialling.results()
    asyncio.run(awake(service))
    again = service.campaign("570")
    again.over()
    assert again.results() == {number: PREDICTED[number[-1]] for number in again.numbers}


async def awake(house: House) -> None:
    """Wait until the town answers."""
    async with Mouth(house.home):
        pass


def test_a_receiver_that_is_down_for_a_while_misses_nothing(service: House) -> None:
    service.receiver.close()
    dialling = service.campaign("2467")
    until(
        lambda: (
            service.value(
                "SELECT count(*) FROM deliveries WHERE state = 'pending' AND tries > 0"
                " AND starts_with(order_key, 'call/')"
            )
            >= 1
        ),
    )
    assert not service.receiver.of(dialling.name)
    service.receiver.open()
    dialling.over()
    first = {posts[0].attempt for posts in service.receiver.calls(dialling.name).values()}
    assert max(first) > 1, "nothing had failed before"


def test_a_killed_supervisor_takes_its_roles_along_and_the_next_adopts_the_rest(service: House) -> None:
    dialling = service.campaign(MIX)
    dialling.until_ended(4)
    outlive = {service.postmaster(), service.asterisk("gateway"), service.asterisk("town")}
    roles = [service.role(role) for role in ROLES]
    assert service.serving is not None
    kill([service.serving.pid])
    service.serving.was_killed()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in roles))
    assert outlive <= set(service.processes())
    service.serve()
    assert outlive == {service.postmaster(), service.asterisk("gateway"), service.asterisk("town")}
    dialling.over()
    dialling.nobody_lost()


def test_everything_killed_in_mid_campaign(service: House) -> None:
    dialling = service.campaign(MIX)
    dialling.until_ended(4)
    until(lambda: dialling.count("talking") >= 2, about=dialling.standing)
    assert service.serving is not None
    end_all(service.processes)
    service.serving.was_killed()
    service.serve()
    dialling.over()
    came = undisturbed(dialling.results())
    assert came[True] > 4, dialling.results()


def test_everything_killed_while_it_starts(at_rest: House) -> None:
    assert at_rest.command("stop").returncode == 0
    for sign in ("database", "gateway", "roles"):
        serving = at_rest.serve("--town", wait=False)
        serving.until_said(f"zvonar: {sign}")
        end_all(at_rest.processes)
        serving.was_killed()
    at_rest.serve()
    dialling = at_rest.campaign("2")
    dialling.over()


def test_an_asterisk_whose_starter_died_before_writing_it_down_is_adopted_on_its_ports(
    service: House,
) -> None:
    before = {name: service.asterisk(name) for name in ("gateway", "town")}
    ports = (service.home / "run/ports.json").read_bytes()
    roles = [service.role(role) for role in ROLES]
    assert service.serving is not None
    kill([service.serving.pid])
    service.serving.was_killed()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in roles))
    for name in before:
        (service.home / f"run/{name}.json").unlink()
    service.serve()
    assert {name: service.asterisk(name) for name in before} == before
    assert (service.home / "run/ports.json").read_bytes() == ports


def test_a_role_that_cannot_start_is_given_up_with_a_sentence(at_rest: House) -> None:
    assert at_rest.account
    with at_rest.store() as connection:
        connection.execute("ALTER TABLE dialer_epochs RENAME TO mislaid")
        try:
            done = at_rest.command("serve", "--port", at_rest.port, "--town")
        finally:
            connection.execute("ALTER TABLE mislaid RENAME TO dialer_epochs")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("zvonar: ")][-1]
    assert "The dialer" in said
    assert "ends as soon as it starts" in said
    assert not [pid for pid, command in at_rest.processes().items() if "zvonar.service.role" in command]


def test_a_database_of_a_newer_release_is_a_sentence(at_rest: House) -> None:
    at_rest.json("account", "add", "newer")
    with at_rest.store() as connection:
        ours = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        assert ours is not None
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        try:
            done = at_rest.command("serve", "--port", at_rest.port)
        finally:
            connection.execute("UPDATE alembic_version SET version_num = %(version_num)s", ours)
    assert done.returncode == 1
    assert "newer Zvonar" in sentence(done.stderr)


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    """A disk of this size, for root."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=711", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
        shutil.rmtree(path.parent)  # its room, which nobody could leave before


@pytest.mark.parametrize(("megabytes", "installs"), [(20, False), (30, True)], ids=["asterisk", "database"])
def test_a_full_disk_is_a_sentence(at_rest: House, megabytes: int, installs: bool) -> None:
    """In a mount namespace of the command's own, so an ordinary user can mount, and nothing is left."""
    disk = at_rest.room / "disk"
    disk.mkdir(exist_ok=True)
    before = f"mount -t tmpfs -o size={megabytes}m,mode=711 tmpfs {disk} && mkdir -m 711 {disk}/h"
    if installs:
        before += f" && ln -s {at_rest.home}/asterisk {disk}/h/asterisk"
    user: tuple[str, ...] = ()
    again = ""
    if os.geteuid() != 0:
        # Whoever mounts has to be root of a namespace; the command is then nobody special again.
        user = ("--user", "--map-root-user")
        again = f"unshare --user --map-user={os.geteuid()} --map-group={os.getegid()}"
    done = subprocess.run(
        ["unshare", *user, "--mount", "sh", "-c", f'{before} && exec {again} "$0" setup', at_rest.zvonar],
        check=False,
        env={**at_rest.env, "ZVONAR_HOME": f"{disk}/h"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 1, done.stderr
    assert "full" in sentence(done.stderr)
    assert "free" in sentence(done.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk that a test can see")
def test_a_disk_that_fills_up_in_mid_campaign(installed: Path) -> None:
    house = House(None)
    house.receiver.open()
    with small_disk(house.home, 400):
        try:
            (house.home / "asterisk").symlink_to(installed / "asterisk")
            house.serve()
            dialling = house.campaign(MIX)
            dialling.until_ended(4)
            serving, filler = house.serving, house.home / "filler"
            assert serving is not None

            def is_refused() -> bool:
                """Take what room is left, and what PostgreSQL keeps for its log; it frees some as it recovers.

                Whoever connects once the disk is full may be refused before he can fill that log.
                """
                with contextlib.suppress(psycopg.OperationalError), house.store() as connection:
                    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
                        while file.write(bytes(1 << 16)):
                            pass
                    while True:
                        connection.execute(
                            "SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000000))"
                        )
                return "is full: free some space" in serving.said

            until(lambda: is_refused() and house.health()[0] == 503, about=dialling.standing)
            filler.unlink()
            until(lambda: house.health()[0] == 200, about=house.health)
            dialling.over()
        finally:
            house.leave()


def test_what_a_service_says_of_itself_after_bad_days(service: House) -> None:
    assert service.serving is not None
    whole, _, _ = service.serving.said.rpartition("\n")  # the last line may just be being written
    said = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    assert all({"event", "level", "timestamp", "role"} <= set(line) for line in said)
