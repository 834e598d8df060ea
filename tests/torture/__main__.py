"""`python -m tests.torture`: kill real processes again and again, and look whether all holds (docs/how-to/torture.md)."""

from __future__ import annotations

import argparse
import random
import sys

from tests.torture.checks import BrokenError
from tests.torture.diary import Diary
from tests.torture.run import Plan, torture

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many processes to kill (100)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="decides what is done to whom")
    parser.add_argument("--minutes", type=float, default=60.0, help="the longest it may take (60)")
    arguments = parser.parse_args()
    try:
        torture(Plan(arguments.seed, arguments.kills, minutes=arguments.minutes), Diary(echo=True))
    except BrokenError as broken:
        print(f"BROKEN: {broken}")
        print(f"again: python -m tests.torture --seed {arguments.seed} --kills {arguments.kills}")
        sys.exit(1)
