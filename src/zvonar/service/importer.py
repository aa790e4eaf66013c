"""Who works a list of numbers off? `python -m zvonar.service.importer ACCOUNT LIST`, a process started by a worker."""

import asyncio
import gc
import os
import sys

import msgspec

from zvonar.intake import process
from zvonar.service import logs


def main() -> None:
    """Work off the list that the command line names."""
    config = msgspec.json.decode(os.environ.pop(process.CONFIG), type=process.Config)
    logs.configure(level=config.log_level, role="importer")
    # Rows come and go by the million and refer to nothing in a ring.
    gc.freeze()
    sys.exit(asyncio.run(process.run(config, int(sys.argv[1]), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
