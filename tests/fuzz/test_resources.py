"""Attacks on memory: each ends in a clear error or a result, within a bound."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from pipeline.codec.event_files.event_file import MAX_EVENT_FILE_BYTES, MAX_HEADER_BYTES, MAX_LINE_BYTES
from tests.fuzz.attacks import ATTACKS

ROOT = Path(__file__).parents[2]
LIMIT_BYTES = 1_500_000_000
"""Address space, including the interpreter and its libraries."""
LINE = MAX_LINE_BYTES >> 20

EXPECTED: dict[str, tuple[str, int]] = {
    # attack: expected message, and the limit of memory in MiB
    "zstd_bomb_of_one_line": (f"line 2 is longer than {MAX_LINE_BYTES:,} bytes", LINE + 64),
    "zstd_bomb_of_lines": (f"more than {MAX_EVENT_FILE_BYTES:,} bytes of lines", 64),
    "zstd_bomb_for_a_header": (f"line 1 is longer than {MAX_HEADER_BYTES:,} bytes", 64),
    "gzip_bomb": (f"line 2 is longer than {MAX_LINE_BYTES:,} bytes", LINE + 64),
    "line_of_a_gigabyte": (f"line 2 is longer than {MAX_LINE_BYTES:,} bytes", LINE + 64),
    "header_of_100_megabytes": (f"line 1 is longer than {MAX_HEADER_BYTES:,} bytes", 64),
    "nesting_of_100_000": ("the document is not JSON", 64),
    "message_of_brackets": ("the message is damaged: Expected `object`, got `array`", 64),
    "file_list_of_a_million_lines": ("line 2 is not JSON", 256),
    "file_list_of_a_million_entries": ("files", 256),
    "state_of_a_claimed_exabyte": ("a range claims", 64),
    "state_whose_keys_swell": ("the keys of a range exceed", 384),
    "document_of_a_gigabyte": ("at most 67108864 were expected", 64),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_on_memory_is_refused_within_bounds(attack: str) -> None:
    command = [sys.executable, "-m", "tests.fuzz.attacks", attack, str(LIMIT_BYTES)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr.decode()[-2000:]
    outcome = orjson.loads(run.stdout)
    words, most_mebibytes = EXPECTED[attack]
    assert words in outcome.get("message", outcome.get("result"))
    assert outcome["peak_mebibytes"] <= most_mebibytes
