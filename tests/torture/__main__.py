"""`python -m tests.torture`: kills real processes many times and checks the results (docs/how-to/torture.md)."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.torture.checks import BrokenError
from tests.torture.run import Plan, torture
from tests.torture.run_log import RunLog

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many processes to kill (100)")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="decides which processes are disrupted, and how"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="the time limit (60)")
    parser.add_argument("--small", action="store_true", help="20 kills in small worlds, as in the tests")
    parser.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="a new directory for databases and logs, which are kept"
    )
    arguments = parser.parse_args()
    seed, keep = arguments.seed, arguments.keep
    if keep is not None:
        keep.mkdir(parents=True)
        keep = keep.absolute()
    plan = Plan(seed, arguments.kills, minutes=arguments.minutes, directory=keep)
    try:
        torture(Plan.small(seed, directory=keep) if arguments.small else plan, RunLog(echo=True))
    except BrokenError as broken:
        print(f"BROKEN: {broken}")
        print(
            f"again: python -m tests.torture --seed {seed} {'--small' if arguments.small else f'--kills {plan.kills}'}"
        )
        sys.exit(1)
