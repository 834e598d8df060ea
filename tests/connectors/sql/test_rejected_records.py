"""What the SQL connectors do with records that the database rejects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from pipeline.connectors.sql import retry
from pipeline.connectors.sql.rejected_record import COLUMNS, NO_KEY, RejectedRecord, key_text_of
from pipeline.connectors.sql.splitting import apply_split
from pipeline.domain.ids import EventFileId, Label, Phase, StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Rejection

FILE = EventFileId(2, StreamName("a b/ü"), Phase.FULL, 7)


def rejected(number: int) -> RejectedRecord:
    return RejectedRecord(FILE.stream, Rejection(FILE, number, f"[{number}]", "no", None), b"%d" % number, False)


def test_a_batch_is_split_until_each_failing_record_is_alone() -> None:
    tried: list[range] = []

    def attempt(part: range) -> str | None:
        tried.append(part)
        return "no threes" if 3 in part else None

    def halves(part: range, _reason: str | None) -> Sequence[range]:
        return part[: len(part) // 2], part[len(part) // 2 :]

    assert list(apply_split(range(8), attempt, halves)) == [
        (range(2), None),
        (range(2, 3), None),
        (range(3, 4), "no threes"),
        (range(4, 8), None),
    ]
    assert len(tried) == 7
    assert list(apply_split(range(0), attempt, halves)) == []


def test_a_stored_record_is_read_back() -> None:
    record = replace(rejected(4), blocked=True, depends="a definition", id=9)
    assert len(record.to_row()) == len(COLUMNS)
    assert RejectedRecord.from_row(9, *record.to_row()) == record


def test_the_key_of_a_record_is_json_text() -> None:
    assert key_text_of({"b": "x", "a": 1, "c": None}, ("a", "b")) == '[1,"x"]'
    assert key_text_of({"a": 1}, ("a", "b")) == key_text_of([1], ("a",)) == NO_KEY


@dataclass
class Ledger:
    """Rejected records in memory. As in SQLite, an id is used again when no stored one is greater."""

    stored: dict[int, RejectedRecord] = field(default_factory=dict)
    corrected: dict[EventFileId, int] = field(default_factory=dict)

    def add(self, record: RejectedRecord) -> None:
        number = max(self.stored, default=0) + 1
        self.stored[number] = replace(record, id=number)

    def rejections(self, file: EventFileId | None = None) -> Sequence[Rejection]:
        return [record.rejection for record in self.stored.values()]

    def rejected_ids(
        self, stream: StreamName, blocked_of: EventFileId | None = None, unless: Sequence[str] = ()
    ) -> Sequence[int]:
        return sorted(number for number, record in self.stored.items() if record.depends not in unless)

    def rejected_records(self, ids: Sequence[int]) -> Sequence[RejectedRecord]:
        return [self.stored[number] for number in ids if number in self.stored]

    def schemas(self) -> Sequence[StreamSchema]:
        return [StreamSchema(FILE.stream, Label("x"), (), ("id",))]

    def correct_marks(self, accepted: Mapping[EventFileId, int]) -> None:
        for file, count in accepted.items():
            self.corrected[file] = self.corrected.get(file, 0) + count


@dataclass
class Load:
    """Accepts a record once all with smaller numbers are accepted, and at most one in each call."""

    ledger: Ledger
    batches: list[int] = field(default_factory=list)
    accepted: int = 0

    def retry(self, records: Sequence[RejectedRecord]) -> None:
        self.batches.append(len(records))
        for record in records:
            del self.ledger.stored[record.id]
        may_accept = self.accepted + 1
        for record in records:
            if record.rejection.line == may_accept == self.accepted + 1:
                self.accepted += 1
            else:
                self.ledger.add(record)


@pytest.mark.parametrize("batch_records", [2, 10_000])
def test_retries_go_on_while_they_help_and_marks_count_the_accepted(
    monkeypatch: pytest.MonkeyPatch, batch_records: int
) -> None:
    monkeypatch.setattr(retry, "BATCH_RECORDS", batch_records)
    ledger = Ledger()
    for line in (1, 2, 3, 5, 6):
        ledger.add(rejected(line))
    load = Load(ledger)
    left = retry.retry_rejected_records(ledger, lambda schema: retry.retry_stream(ledger, load, schema.stream))
    assert sorted(rejection.line for rejection in left) == [5, 6]
    assert ledger.corrected == {FILE: 3}
    assert max(load.batches) <= batch_records


def test_a_record_is_not_tried_again_while_what_its_reason_depends_on_holds() -> None:
    ledger = Ledger()
    for line, depends in ((1, "old"), (2, "new"), (3, None)):
        ledger.add(replace(rejected(line), depends=depends))
    load = Load(ledger)
    retry.retry_stream(ledger, load, FILE.stream, unless=["new"])
    assert load.batches == [2]
    assert ledger.corrected == {FILE: 1}
    retry.retry_stream(ledger, load, FILE.stream, unless=["new"])
    assert load.batches == [2, 1]
    assert {record.rejection.line for record in ledger.stored.values()} == {2, 3}
