"""The bare scan that reading is measured against: `SELECT *` in key order, in Python, every row read and thrown away.

With apsw, which makes tuples in half the time that the sqlite3 module takes: the harder measure.
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
    """Scan the table `item` in a process of its own."""
    script = directory / "scan.py"
    script.write_text(_SCAN)
    return measuring.run([sys.executable, script, database], directory)
