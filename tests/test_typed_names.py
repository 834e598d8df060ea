"""Commands that messages propose have the name of the Flow as a shell takes it."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest

import pipeline
from pipeline.domain.errors import ConfigurationError

COMMAND = re.compile(r"pipeline (?!notify)[a-z]+[^`\"{}]*\{([^{}!:]+)\}")
FLOWS = re.compile(r"(?:[a-z_]+\.)*(?:flow|name)|printable\([a-z_.]*flow\)")
SENTENCES = {"pipeline/domain/lifecycle/status.py", "pipeline/domain/lifecycle/table.py"}
"""They get the name in quotes."""
ROOT = Path(pipeline.__file__).parent.parent


def test_no_message_has_a_name_as_it_is() -> None:
    """Names that users choose may have blanks."""
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in sorted(ROOT.glob("pipeline/**/*.py"))}
    found = [
        f"{path}: {match[0]}"
        for path, text in texts.items()
        if path not in SENTENCES
        for match in COMMAND.finditer(text)
        if FLOWS.fullmatch(match[1]) and not re.search(rf"\b{re.escape(match[1])} = .*quote\(", text)
    ]
    assert found == []


async def test_a_name_with_a_blank_is_in_quotes(tmp_path: Path) -> None:
    with apsw.Connection(str(tmp_path / "a.db")) as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    db.close()
    settings = pipeline.Settings(home=tmp_path / "home")
    await pipeline.move(str(tmp_path / "a.db"), str(tmp_path / "b.db"), flow="my crm", settings=settings)
    with pytest.raises(ConfigurationError, match="`pipeline start 'my crm'` or `pipeline move --flow 'my crm'` moves"):
        await pipeline.rerun("my crm", settings=settings)
    with pytest.raises(ConfigurationError, match="`pipeline start 'my crm'`"):
        await pipeline.pause("my crm", settings=settings)
