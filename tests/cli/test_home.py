"""Does the home's machinery come up, say how it is, and go away?"""

from pathlib import Path

from .commands import Run, run_in


def states(document: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {part["name"]: part["state"] for part in document["parts"]}


def test_a_second_setup_finds_nothing_missing(zvonar: Run) -> None:
    said = zvonar("setup")
    assert said.code == 0, said.err
    assert said.out.startswith("Ready in ")
    assert "Unpacking" not in said.err


def test_doctor_finds_a_home_that_is_set_up_fit(zvonar: Run) -> None:
    said = zvonar("doctor", "--json")
    assert said.code == 0, said.out
    found = states(said.document)
    assert {name for name, state in found.items() if state == "missing"} == set()
    assert list(found) == [
        *(
            "home",
            "database",
            "asterisk",
            "voice",
            "gateway",
            "town",
            "ports",
            "deliveries",
            "mail",
            "sms",
            "words",
            "transcripts",
            "trunks",
        ),
    ]
    assert zvonar("doctor").code == 0


def test_doctor_says_what_is_missing_and_makes_nothing(bare: Path) -> None:
    said = run_in(bare / "none", "doctor", "--json")
    assert said.code == 1
    missing = [part for part in said.document["parts"] if part["state"] == "missing"]
    assert [part["name"] for part in missing] == ["database", "asterisk", "voice"]
    assert {part["remedy"] for part in missing} == {"zvonar setup"}
    assert not (bare / "none").exists()


def test_doctor_names_a_setting_that_cannot_work(bare: Path, home: Path) -> None:
    said = run_in(home, "doctor", "--json", ZVONAR_DATABASE_URL="postgresql://localhost:1/none")
    assert said.code == 1
    assert states(said.document)["database"] == "missing"
    said = run_in(home, "doctor", "--json", ZVONAR_ASTERISK=str(bare / "asterisk"))
    assert said.code == 1
    assert states(said.document)["asterisk"] == "missing"
    said = run_in(bare / "none", "doctor", ZVONAR_PORT_BASE="many")
    assert (said.code, said.out) == (1, "")
    assert "ZVONAR_PORT_BASE is not usable" in said.err


def test_stop_ends_the_database_and_the_next_command_starts_it(zvonar: Run, account: int) -> None:
    assert zvonar("stop").out == "Stopped: database.\n"
    assert zvonar("stop").out == "Nothing was running.\n"
    parts = {part["name"]: part for part in zvonar("doctor", "--json").document["parts"]}
    assert "is stopped" in parts["database"]["message"]
    assert zvonar("campaign", "add", "--account", account, "--name", "n", "--text", "x", "--paused").code == 0
