"""The bare scan as a baseline for reading: `SELECT *` in key order, in Python; every row is read and discarded.

It uses apsw, which is twice as fast as the sqlite3 module and so the stricter baseline.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import measuring

_SCAN = """
import sys
import apsw
for _ in apsw.Connection(sys.argv[1]).execute("SELECT * FROM item ORDER BY id"):
    pass
"""


def scan(database: str, directory: Path) -> measuring.Run:
    """Scan the table `item` in its own process."""
    script = directory / "scan.py"
    script.write_text(_SCAN)
    return measuring.run([sys.executable, script, database], directory)
