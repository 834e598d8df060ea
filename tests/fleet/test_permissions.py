"""Each role sends only requests that its policy in docs/reference/permissions.md allows."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

import pipeline.queues.sqs.event_queue
import pipeline.stores.s3.object_store
from pipeline.assembly.commands.lifecycle.starts import start
from pipeline.assembly.commands.notifications import add_endpoint, list_endpoints
from pipeline.assembly.commands.workers import Role, open_worker, sweep
from pipeline.aws.options import AwsOptions
from pipeline.aws.session import open_client
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.settings import load_settings
from tests.fleet.fleet import FLOW, Fleet, build, change, open_fleet
from tests.servers.addresses import S3AndSqs, S3Server

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "permissions.md"
ACTIONS = {
    "HeadObject": "s3:GetObject", "GetObject": "s3:GetObject", "PutObject": "s3:PutObject", "HeadBucket": "s3:ListBucket",
    "CreateMultipartUpload": "s3:PutObject", "UploadPart": "s3:PutObject", "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload", "DeleteObject": "s3:DeleteObject", "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads", "SendMessageBatch": "sqs:SendMessage",
    "DeleteMessageBatch": "sqs:DeleteMessage", "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}  # fmt: skip
"""The permission of each operation whose name differs from it (AWS service authorization reference)."""


@dataclass
class Recorder:
    """Records the calls of clients that it opens: permission, resource, and the prefix of a listing."""

    calls: set[tuple[str, str, str | None]] = field(default_factory=set)

    @asynccontextmanager
    async def open(self, service: str, options: AwsOptions, **config: Any) -> AsyncIterator[Any]:
        """Open a client whose calls are recorded."""
        async with open_client(service, options, **config) as client:
            client.meta.events.register("provide-client-params.*.*", self._note)
            yield client

    def _note(self, params: Mapping[str, Any], model: Any, **_: object) -> None:
        action = ACTIONS.get(model.name, f"{model.service_model.service_name}:{model.name}")
        if "Bucket" in params:
            key = params.get("Key")
            resource = f"arn:aws:s3:::{params['Bucket']}" + (f"/{key}" if key is not None else "")
        else:
            queue = params.get("QueueName") or params["QueueUrl"].rsplit("/", 1)[-1]
            resource = f"arn:aws:sqs:REGION:ACCOUNT:{queue}"
        self.calls.add((action, resource, params.get("Prefix")))


@dataclass(frozen=True)
class Policy:
    """The policy of one role, for one fleet."""

    statements: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, role: str, fleet: Fleet) -> Policy:
        """Read the policy from the page."""
        section = PAGE.read_text().split(f"## {role}\n")[1].split("\n## ")[0]
        text = re.findall(r"```json\n(.*?)```", section, re.DOTALL)[0]
        bucket = fleet.settings["store"].removeprefix("s3://")
        for name, value in (("BUCKET", bucket), ("FLOW", FLOW), ("pipeline-exports", f"{bucket}-exports")):
            text = text.replace(name, value)
        return cls(tuple(orjson.loads(text.replace("pipeline-imports", f"{bucket}-imports"))["Statement"]))

    def allows(self, action: str, resource: str, prefix: str | None) -> bool:
        """Whether a statement allows the call."""
        return any(
            action in _listed(statement["Action"])
            and any(fnmatchcase(resource, pattern) for pattern in _listed(statement["Resource"]))
            and self._prefix_allowed(statement, prefix)
            for statement in self.statements
        )

    def _prefix_allowed(self, statement: Mapping[str, Any], prefix: str | None) -> bool:
        patterns = statement.get("Condition", {}).get("StringLikeIfExists", {}).get("s3:prefix", ["*"])
        return prefix is None or any(fnmatchcase(prefix, pattern) for pattern in patterns)

    def actions(self) -> set[str]:
        """Return all allowed actions."""
        return {action for statement in self.statements for action in _listed(statement["Action"])}


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that stops waits for its open long poll."""
    monkeypatch.setattr("pipeline.engine.messaging.consumer.POLL_SECONDS", 1.0)


@pytest.fixture
def fleet(tmp_path: Path, seaweedfs: S3Server, ministack: S3AndSqs) -> Iterator[Fleet]:
    with open_fleet(tmp_path, seaweedfs, ministack.sqs, sweep_seconds="0.5") as opened:
        build(opened.source, 2, 3000)
        opened.connect()
        yield opened


def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Record all clients that are opened from now on."""
    recorder = Recorder()
    monkeypatch.setattr(pipeline.stores.s3.object_store, "open_client", recorder.open)
    monkeypatch.setattr(pipeline.queues.sqs.event_queue, "open_client", recorder.open)
    return recorder


async def work(fleet: Fleet, role: Role, holds: str) -> None:
    """Run one worker in this process until the Movement is exported or settled."""
    settings = load_settings(flags=fleet.as_settings())
    stop = anyio.Event()
    async with open_worker(role, flows=[FLOW], settings=settings) as worker, anyio.create_task_group() as group:
        group.start_soon(worker.run, stop)
        with anyio.fail_after(60):
            await fleet.wait_for(holds)
            await anyio.sleep(settings.sweep_seconds * 2)
        stop.set()


def check(recorder: Recorder, policy: Policy) -> None:
    refused = sorted(call for call in recorder.calls if not policy.allows(*call))
    assert refused == []


async def test_each_worker_sends_only_what_its_policy_allows(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(flags=fleet.as_settings())
    for _ in range(2):
        with monkeypatch.context() as patch:
            recorder = recorded(patch)
            await start(FLOW, settings=settings)
            await sweep(settings=settings)
            check(recorder, Policy.of("Operator", fleet))
        for role, holds in ((Role.EXPORT, "exported"), (Role.IMPORT, "settled")):
            with monkeypatch.context() as patch:
                recorder = recorded(patch)
                await work(fleet, role, holds)
                assert recorder.calls
                check(recorder, Policy.of({"export": "Exporter", "import": "Importer"}[role.value], fleet))
        change(fleet.source, [0], "changed")


async def test_a_notifier_sends_only_what_its_policy_allows(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(flags=fleet.as_settings())
    with monkeypatch.context() as patch:
        recorder = recorded(patch)
        await add_endpoint(Endpoint("ops", "sqs://no-such-queue", datetime.now(UTC)), "", settings=settings)
        await start(FLOW, settings=settings)
        check(recorder, Policy.of("Operator", fleet))
    with monkeypatch.context() as patch:
        recorder, stop = recorded(patch), anyio.Event()
        async with (
            open_worker(Role.NOTIFY, flows=[FLOW], settings=settings) as worker,
            anyio.create_task_group() as group,
        ):
            group.start_soon(worker.run, stop)
            with anyio.fail_after(30):
                while not (await list_endpoints(settings=settings))[0].deliveries.retries:  # noqa: ASYNC110
                    await anyio.sleep(0.5)
            stop.set()
        assert any("/notify/deliveries/" in resource for _, resource, _ in recorder.calls)
        check(recorder, Policy.of("Notifier", fleet))


def test_no_role_may_do_more_than_it_needs(fleet: Fleet) -> None:
    policy = Policy.of("Importer", fleet)
    bucket = "arn:aws:s3:::" + fleet.settings["store"].removeprefix("s3://")
    assert policy.allows("s3:GetObject", f"{bucket}/flows/{FLOW}/events/1/a/full/0.jsonl.zst", None)
    assert not policy.allows("s3:PutObject", f"{bucket}/flows/{FLOW}/events/1/a/full/0.jsonl.zst", None)
    assert not policy.allows("s3:GetObject", f"{bucket}/flows/other/flow.json", None)
    assert not policy.allows("s3:ListBucket", bucket, "flows/other/")
    assert not policy.allows("s3:ListBucket", bucket, "flows/")
    exporter = Policy.of("Exporter", fleet)
    for pruned in ("snapshots/a/1.1", "events/1/a/full/0.jsonl.zst", "movements/1/groups/a/files.1.jsonl"):
        assert exporter.allows("s3:DeleteObject", f"{bucket}/flows/{FLOW}/{pruned}", None)
        assert not policy.allows("s3:DeleteObject", f"{bucket}/flows/{FLOW}/{pruned}", None)
        assert not exporter.allows("s3:DeleteObject", f"{bucket}/flows/other/{pruned}", None)
    for kept in ("flow.json", "movements/1/movement.json", "binaries/00/0", "approvals/1.json"):
        assert not exporter.allows("s3:DeleteObject", f"{bucket}/flows/{FLOW}/{kept}", None)
