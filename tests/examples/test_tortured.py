"""The examples survive faults: what `pipeline torture` does to them leaves both sides equal, with no second object."""

from __future__ import annotations

import pytest

from pipeline.testing.torture.report import told
from pipeline.testing.torture.seeds import Request, torture
from tests.examples.moving import EXAMPLES

TRACKER = f"{EXAMPLES}/tracker/tortured.py"
SUBJECTS = {
    "tracker": Request((f"{TRACKER}:exporter", f"{TRACKER}:importer")),
    "tracker's Importer": Request((f"{TRACKER}:importer",)),
    "CSV folder": Request((f"{EXAMPLES}/csv_folder/csv_folder.py:importer",), {"orders": ("customer_id", "number")}),
    "documents": Request((f"{EXAMPLES}/documents/documents.py:importer",)),
    "SQL": Request((f"{EXAMPLES}/sql/sql_app.py:importer",)),
}
SEEDS = 60


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
def test_an_example_survives_faults(name: str) -> None:
    result = torture(SUBJECTS[name], range(SEEDS))
    assert result.seeds == SEEDS
    assert result.shortest is None, told(SUBJECTS[name], result.shortest)
