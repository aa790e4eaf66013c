"""Does `python -m bench` leave rows that a machine can read? How fast it is, is not asked here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEYS = ["bench", "case", "value", "unit", "baseline", "ratio"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize(
    ("names", "benches", "units"),
    [
        (["lease"], {"lease", "dispatch"}, {"ms", "1/s"}),
        (["callo_add", "callo_export"], {"callo_add", "callo_export"}, {"ms", "1/s"}),
        (["autocall_read", "autocall_create"], {"autocall_read", "autocall_create"}, {"ms", "MB", "1/s"}),
        (["delivery"], {"delivery"}, {"ms", "1/s"}),
        (["amocrm_push"], {"amocrm_push"}, {"1/s", ""}),
        (["callo_import"], {"callo_import"}, {"s", "MB", "ms"}),
    ],
)
def test_each_row_has_the_documented_shape_and_its_baseline(
    tmp_path: Path, names: list[str], benches: set[str], units: set[str]
) -> None:
    out = tmp_path / "results.jsonl"
    done = run(*names, "--tiny", "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["bench"] for row in rows} == benches
    for row in rows:
        assert list(row) == KEYS
        assert row["value"] > 0
        assert row["baseline"] > 0
        assert abs(row["ratio"] - row["value"] / row["baseline"]) <= 0.01 * row["ratio"] + 0.01
        assert row["case"] in done.stdout
    assert {row["unit"] for row in rows} == units


def test_an_unknown_benchmark_is_an_error_and_leaves_no_rows(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    done = run("speed", "--out", str(out))
    assert done.returncode != 0
    assert "lease, delivery, memory, dial" in done.stderr
    assert not out.exists()
