"""A fleet behind a faulty network (resets, delays, truncated and lost answers, 503): the destination equals the source."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from anyio.from_thread import start_blocking_portal

from tests.aws.fault_proxy import Answer, Delay, FaultProxy, LoseAnswer, ResetBefore, Truncate, fault_proxy
from tests.aws.http_messages import Head
from tests.fleet.fleet import build, change, open_fleet, rows_of
from tests.servers.addresses import S3AndSqs, S3Server

FAULTS = (ResetBefore(), LoseAnswer(), Answer(503, "SlowDown"), Answer(500, "InternalError"), Delay(0.3))


@contextmanager
def faulty_network(url: str, dice: random.Random, chance: float, *, truncates: bool) -> Iterator[FaultProxy]:
    """Run a proxy in its own thread that applies each fault to a request with this chance."""

    def by_chance(_: Head) -> bool:
        return dice.random() < chance

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(fault_proxy(url)) as proxy:
        for fault in (*FAULTS, Truncate(1000)) if truncates else FAULTS:
            proxy.every(fault, when=by_chance)
        yield proxy


def test_the_destination_equals_the_source_after_network_faults(
    tmp_path: Path, seaweedfs: S3Server, ministack: S3AndSqs
) -> None:
    dice = random.Random(11)
    with open_fleet(tmp_path, seaweedfs, ministack.sqs, event_file_rows="200") as fleet:
        build(fleet.source, 3, 3000)
        fleet.connect()
        with (
            faulty_network(seaweedfs.endpoint_url, dice, 0.01, truncates=True) as s3,
            faulty_network(ministack.sqs.endpoint_url, dice, 0.02, truncates=False) as sqs,
        ):
            fleet = replace(fleet, settings={**fleet.settings, "aws_endpoint_url": s3.url, "sqs_endpoint_url": sqs.url})
            for role in ("export", "import", "import"):
                fleet.spawn(role)
            for marker in ("first", "second"):
                fleet.start()
                settled = fleet.wait_settled(180)
                assert (settled["status"], settled["problems"]) == ("SUCCESS", []), fleet.log()[-3000:]
                assert rows_of(fleet.destination) == rows_of(fleet.source)
                change(fleet.source, [0, 1, 2], marker)
            assert len(s3.seen) > 100
