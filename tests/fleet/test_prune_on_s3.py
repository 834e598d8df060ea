"""Moves, compaction and pruning on a bucket."""

from __future__ import annotations

from pathlib import Path

import anyio

from localstack.provision import Access
from tests.fleet.fleet import FLOW, Fleet, build, change, open_fleet, rows_of
from tests.servers.addresses import S3AndSqs


def test_moves_compaction_and_pruning_work_on_a_bucket(tmp_path: Path, ministack: S3AndSqs) -> None:
    with open_fleet(tmp_path, ministack.s3, ministack.sqs) as fleet:
        build(fleet.source, 2, 2000)
        for marker in ("one", "two", "three"):
            moved = fleet.run("move", str(fleet.source), str(fleet.destination), "--flow", FLOW)
            assert moved.returncode == 0, moved.stderr.decode()
            change(fleet.source, [0], marker)
        before = anyio.run(_objects, fleet)
        for arguments in (("compact", FLOW), ("prune", FLOW, "--yes")):
            ended = fleet.run(*arguments)
            assert ended.returncode == 0, ended.stderr.decode()
        assert anyio.run(_objects, fleet) < before
        assert fleet.run("move", str(fleet.source), str(fleet.destination), "--flow", FLOW).returncode == 0
        assert rows_of(fleet.destination) == rows_of(fleet.source)


async def _objects(fleet: Fleet) -> int:
    settings = fleet.settings
    async with Access(settings["aws_endpoint_url"], settings["aws_region"]).s3() as client:
        listed = await client.list_objects_v2(Bucket=settings["store"].removeprefix("s3://"))
    return listed["KeyCount"]
