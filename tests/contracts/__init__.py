"""What each port promises, as clauses, run unchanged against all implementations, fakes and broken doubles."""

import pytest

pytest.register_assert_rewrite(
    "tests.contracts.destination",
    "tests.contracts.event_queue",
    "tests.contracts.object_store_reading",
    "tests.contracts.object_store_writing",
    "tests.contracts.processes",
    "tests.contracts.source",
)
