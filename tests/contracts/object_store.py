"""The contract of `pipeline.ports.object_store`. To bind an implementation, `check` each of `CLAUSES`."""

from tests.contracts import object_store_reading as reading
from tests.contracts import object_store_writing as writing
from tests.contracts.store_clauses import CLAUSES, Clause, OpenStore, check

__all__ = ["CLAUSES", "Clause", "OpenStore", "check", "reading", "writing"]
