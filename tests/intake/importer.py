"""The process of one list, with batches so small that a kill finds it in the middle."""

import asyncio
import os
import sys
from functools import partial

import msgspec

from zvonar.intake import load, process

if __name__ == "__main__":
    process.work = partial(load.work, rows=200)
    config = msgspec.json.decode(os.environ.pop(process.CONFIG), type=process.Config)
    sys.exit(asyncio.run(process.run(config, int(sys.argv[1]), int(sys.argv[2]))))
