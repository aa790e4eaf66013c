"""Does the CEL file tell what became of each channel, torn and rotated as it may be?"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zvonar.line.asterisk import cel
from zvonar.line.asterisk.cel import ChannelFacts

# As Asterisk 22.10 wrote it.
GOLDEN = (
    b'"ANSWER","1795316140.098656","261122000000001.1.1","261122000000001.1.1",""\n'
    b'"HANGUP","1795316139.900000","261122000000002.1.1","261122000000002.1.1",'
    b'"{""hangupcause"":17,""hangupsource"":"""",""dialstatus"":""BUSY""}"\n'
    b'"HANGUP","1795316150.250000","261122000000001.1.1","261122000000001.1.1",'
    b'"{""hangupcause"":16,""hangupsource"":""PJSIP/trunk-town-00000001"",""dialstatus"":""ANSWER""}"\n'
)
ANSWERED = datetime(2026, 11, 22, 2, 55, 40, 98656, UTC)
FACTS = {
    "261122000000001.1.1": ChannelFacts(
        answered_at=ANSWERED, ended_at=datetime(2026, 11, 22, 2, 55, 50, 250000, UTC), hangup_cause=16
    ),
    "261122000000002.1.1": ChannelFacts(
        ended_at=datetime(2026, 11, 22, 2, 55, 39, 900000, UTC), hangup_cause=17
    ),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = cel.path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(GOLDEN)
    return path


def test_golden(file: Path) -> None:
    assert cel.read(file) == FACTS


def test_no_file_is_no_facts(tmp_path: Path) -> None:
    assert cel.read(cel.path(tmp_path)) == {}


@pytest.mark.parametrize("cut", range(1, len(GOLDEN), 7))
def test_a_file_cut_anywhere_tells_what_its_whole_lines_tell(file: Path, cut: int) -> None:
    whole = GOLDEN[:cut].rpartition(b"\n")[0]
    file.write_bytes(GOLDEN[:cut])
    facts = cel.read(file)
    file.write_bytes(whole + b"\n" if whole else b"")
    assert facts == cel.read(file)


def test_a_sealed_torn_line_does_not_swallow_the_next(file: Path) -> None:
    file.write_bytes(GOLDEN[:100])
    cel.seal(file)
    with file.open("ab") as handle:
        handle.write(GOLDEN)
    assert cel.read(file) == FACTS


def test_sealing_a_whole_or_absent_file_changes_nothing(file: Path) -> None:
    cel.seal(file)
    assert file.read_bytes() == GOLDEN
    file.unlink()
    cel.seal(file)
    assert not file.exists()


def test_a_rotated_file_is_still_read(file: Path) -> None:
    head, _, tail = GOLDEN.partition(b"\n")
    file.write_bytes(head + b"\n")
    aside = cel.rotate(file, now=ANSWERED)
    assert aside is not None
    assert not file.exists()
    assert cel.rotate(file, now=ANSWERED) is None
    file.write_bytes(tail)
    assert cel.read(file) == FACTS
    # A whole file that is too old is not even opened.
    long_ago = (ANSWERED - timedelta(days=1)).timestamp()
    os.utime(aside, (long_ago, long_ago))
    assert cel.read(file, since=ANSWERED)["261122000000001.1.1"].answered_at is None


def test_since_and_channels_narrow_what_is_kept(file: Path) -> None:
    assert set(cel.read(file, since=ANSWERED + timedelta(seconds=1))) == {"261122000000001.1.1"}
    assert cel.read(file, channels={"261122000000002.1.1"}) == {
        "261122000000002.1.1": FACTS["261122000000002.1.1"]
    }


@pytest.mark.parametrize(
    "line", [b"\n", b'"ANSWER","soon","c","c",""\n', b'"HANGUP"\n', b"\xff\xfe,1,2,3,4\n"]
)
def test_rubbish_between_lines_is_passed_over(file: Path, line: bytes) -> None:
    file.write_bytes(line + GOLDEN + line)
    assert cel.read(file) == FACTS
