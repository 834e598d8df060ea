"""The contracts of the ports, as clauses. All implementations and fakes pass them unchanged; broken doubles fail."""

import pytest

pytest.register_assert_rewrite(
    "tests.contracts.destination",
    "tests.contracts.event_queue",
    "tests.contracts.object_store_reading",
    "tests.contracts.object_store_writing",
    "tests.contracts.processes",
    "tests.contracts.source",
)
