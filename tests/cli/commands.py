"""How does a test run a command? As an operator does: the installed program, in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ZVONAR = Path(sys.executable).with_name("zvonar")
DEADLINE = 240.0  # seconds for one command; a first setup downloads


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Said]


def run_in(home: Path, *arguments: object, **variables: str) -> Said:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("ZVONAR_", "LC_", "LANG"))
    }
    done = subprocess.run(
        [str(ZVONAR), *map(str, arguments)],
        env={**env, "ZVONAR_HOME": str(home), "COLUMNS": "200", **variables},
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)
