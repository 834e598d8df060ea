"""`pipeline notify`, and a notifier that delivers a Flow's events to a real receiver."""

from __future__ import annotations

import base64
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import pipeline
from pipeline.assembly.commands import notifications
from pipeline.assembly.commands.workers import Role, run_worker
from pipeline.cli.main import run
from pipeline.domain.notifications.delivery import Delivered
from pipeline.kit import verify_webhook
from pipeline.settings import Settings
from tests.notifications.test_webhooks import FIRST, LOOPBACK, SECOND, Server, endpoint, serving

PUBLIC = "http://93.184.216.34/hook"


@pytest.fixture(autouse=True)
def _moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app, in the current directory; and secrets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIRST", FIRST)
    monkeypatch.setenv("SECOND", SECOND)
    with sqlite3.connect("app.db") as db:
        db.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
        db.execute("INSERT INTO users VALUES (1, 'Ada')")


async def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    with anyio.fail_after(seconds):
        while not holds():  # noqa: ASYNC110
            await anyio.sleep(0.05)


async def test_a_notifier_delivers_what_happens_and_again_what_is_replayed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / ".pipeline", notify_seconds=0.1)
    await pipeline.move("app.db", "copy.db", flow="crm", settings=settings)
    began = datetime.now(UTC)
    async with serving(Server()) as server, anyio.create_task_group() as group:
        to = endpoint(f"http://127.0.0.1:{server.port}")
        await notifications.add_endpoint(to, "env:FIRST", settings=settings)
        assert await notifications.send_test("ops", settings=settings) == Delivered()
        server.requests.clear()
        stop = anyio.Event()
        group.start_soon(lambda: run_worker(Role.NOTIFY, stop=stop, settings=settings))
        await anyio.sleep(1)
        assert server.requests == []  # what happened before it was added is not news
        await pipeline.move("app.db", "copy.db", flow="crm", settings=settings)
        await until(lambda: len(server.requests) == 2)
        # A replay before it is stored that these two are delivered takes them for not delivered.
        with anyio.fail_after(60):
            while (await notifications.list_endpoints(settings=settings))[0].deliveries.delivered < 2:  # noqa: ASYNC110
                await anyio.sleep(0.05)
        assert (await notifications.replay("ops", began - timedelta(days=1), settings=settings))[1] == 6
        await until(lambda: len(server.requests) == 8)
        stop.set()
    events = [verify_webhook(headers, body, FIRST) for headers, body in server.requests]
    assert len({event["id"] for event in events}) == 6
    assert {event["data"]["movement"] for event in events[:2]} == {2}
    (one,) = await notifications.list_endpoints(settings=settings)
    assert (one.deliveries.delivered, one.deliveries.retries) == (8, ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["https://127.0.0.1/", "--secret", "env:FIRST"], "127.0.0.1 is at 127.0.0.1, which is not a public address."),
        (["https://localhost/", "--secret", "env:FIRST"], "not a public address. To allow its network, add"),
        (["https://169.254.169.254/", "--secret", "env:FIRST"], "--allow-private CIDR"),
        ([PUBLIC, "--secret", "env:FIRST"], "is not encrypted. Give an https URL, or add --allow-http."),
        ([PUBLIC, "--secret", FIRST, "--allow-http"], "A secret is given in plain. Give a reference: env:NAME"),
        (
            [PUBLIC, "--secret", "env:HOME", "--allow-http"],
            "A secret of webhooks is `whsec_` and 24 to 64 random bytes",
        ),
        ([PUBLIC, "--allow-http"], "A webhook needs a secret that signs it."),
        (["https://ada:hunter2@93.184.216.34/", "--secret", "env:FIRST"], "a user name or a password in plain"),
        (
            ["ftp://ada:hunter2@93.184.216.34/", "--secret", "env:FIRST"],
            "is no receiver of notifications. Give https://…",
        ),
        (["ada:hunter2@93.184.216.34/", "--secret", "env:FIRST"], "is no receiver of notifications. Give https://…"),
        (["https://[::1/", "--secret", "env:FIRST"], "The endpoint's URL is none: Invalid IPv6 URL."),
        ([PUBLIC, "--secret", "env:FIRST", "--allow-http", "--allow-private", "ten"], "'ten' is no network."),
        (
            [PUBLIC, "--secret", "env:FIRST", "--allow-http", "--type", "movement.*", "--type", "movement.begun"],
            "No type of events matches 'movement.begun'. They are start.queued, ",
        ),
        (
            [PUBLIC, "--secret", "env:FIRST", "--allow-http", "--format", "sam", "--type", "movement.*"],
            "The format sam has group.exported alone, and --type leaves it out: nothing would be delivered.",
        ),
    ],
)
def test_an_endpoint_that_may_not_be_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["notify", "add", "ops", *arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "hunter2" not in shown.err
    assert FIRST not in shown.err
    assert not Path(".pipeline").exists()


def test_what_delivers_nothing_here_yet_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    add = ["notify", "add", "ops", PUBLIC, "--allow-http", "--flow", "crm*"]
    assert run([*add, "--secret", "env:NO_SUCH_VARIABLE"]) == 0
    told = capsys.readouterr().err
    assert "The environment has no variable NO_SUCH_VARIABLE, which a secret refers to." in told
    assert "It is read at each delivery, where the notifier runs." in told
    assert "No Flow here matches 'crm*'. It gets the events of those that will." in told


def test_a_name_of_an_endpoint_is_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["notify", "add", "my hook", "sqs://q"]) == 2
    assert "'my hook' cannot name an endpoint" in capsys.readouterr().err


def test_an_endpoint_is_added_changed_disabled_enabled_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    add = ["notify", "add", "ops", PUBLIC, "--allow-http", "--json"]
    assert run([*add, "--secret", "env:FIRST", "--type", "movement.*"]) == 0
    first = orjson.loads(capsys.readouterr().out)
    assert (first["types"], first["profile"], first["format"]) == (["movement.*"], "standard", "cloudevents")
    assert run([*add, "--secret", "env:SECOND", "--profile", "atlassian"]) == 0
    second = orjson.loads(capsys.readouterr().out)
    assert [one["reference"] for one in second["secrets"]] == ["env:SECOND", "env:FIRST"]
    assert [one["until"] is None for one in second["secrets"]] == [True, False]
    assert run(["notify", "disable", "ops", "--reason", "it moves"]) == 0
    assert run(["notify", "list"]) == 0
    assert "disabled: it moves" in capsys.readouterr().out
    assert run(["notify", "replay", "ops", "--since", "2026-01-01"]) == 0
    assert "ops gets 0 events again once it is enabled: `pipeline notify enable ops`." in capsys.readouterr().out
    assert run(["notify", "enable", "ops"]) == 0
    assert run(["notify", "list", "--json"]) == 0
    (listed,) = orjson.loads(capsys.readouterr().out.splitlines()[-1])["endpoints"]
    assert (listed["disabled"], listed["delivered"], listed["retries"]) == (None, 0, [])
    assert FIRST not in str(listed)
    for verb, told in (("disable", "a person has disabled it"), ("enable", None)):
        assert run(["notify", verb, "ops", "--json"]) == 0
        assert orjson.loads(capsys.readouterr().out)["disabled"] == told
    assert run(["notify", "remove", "ops", "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out) == {"name": "ops", "removed": True}
    assert run(["notify", "disable", "ops"]) == 1
    assert "There is no endpoint named 'ops' here." in capsys.readouterr().err


def test_a_test_says_why_it_was_not_taken(capsys: pytest.CaptureFixture[str]) -> None:
    add = ["notify", "add", "ops", "http://127.0.0.1:9/", "--allow-http", "--allow-private", LOOPBACK[0]]
    assert run([*add, "--secret", "env:FIRST"]) == 0
    capsys.readouterr()
    assert run(["notify", "test", "ops", "--json"]) == 1
    found = orjson.loads(capsys.readouterr().out)
    assert (found["endpoint"], found["delivered"]) == ("ops", False)
    assert "it cannot be reached" in found["reason"]


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("standardwebhooks", ["add", "ops", PUBLIC, "--allow-http", "--secret", "env:FIRST"]),
        ("aiohttp", ["listen", "--secret", "env:FIRST"]),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    missing: str, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "pipeline.cli.commands.platform.listener", raising=False)
    assert run(["notify", *command]) == 2
    assert "pip install 'app-data-pipeline[notify]'" in capsys.readouterr().err


def test_a_time_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["notify", "replay", "ops", "--since", "yesterday"]) == 2
    assert "'yesterday' is no time. Write one such as" in capsys.readouterr().err
    assert run(["notify", "replay", "ops", "--since", "2130-01-01T00:00Z"]) == 2
    assert "2130-01-01 00:00:00 UTC is to come" in capsys.readouterr().err


def test_listen_prints_what_it_receives_and_refuses_what_is_not_signed() -> None:
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "notify",
        "listen",
        "--secret",
        "env:FIRST",
        "--port",
        "0",
        "--count",
        "1",
    ]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as listener:
        try:
            _try_listener(listener)
        finally:
            listener.kill()


def test_listen_verifies_with_a_public_key_what_the_private_one_has_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    private = Ed25519PrivateKey.generate()
    for name, kind, data in (
        ("KEY", "whsk_", private.private_bytes_raw()),
        ("PUBLIC_KEY", "whpk_", private.public_key().public_bytes_raw()),
    ):
        monkeypatch.setenv(name, kind + base64.b64encode(data).decode())
    command = [sys.executable, "-m", "pipeline", "notify", "listen", "--secret", "env:PUBLIC_KEY", "--port", "0"]
    with subprocess.Popen(
        [*command, "--count", "1", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as listener:
        try:
            assert listener.stderr is not None
            url = listener.stderr.readline().split()[-1]
            add = ["notify", "add", "here", url, "--allow-http", "--allow-private", LOOPBACK[0], "--secret"]
            assert run([*add, "env:PUBLIC_KEY"]) == 2
            assert run([*add, "env:KEY"]) == 0
            assert run(["notify", "test", "here"]) == 0
            out, _ = listener.communicate(timeout=60)
        finally:
            listener.kill()
    assert (listener.returncode, orjson.loads(out)["type"]) == (0, "app-data-pipeline.test")


def _try_listener(listener: subprocess.Popen[str]) -> None:
    assert listener.stderr is not None
    url = listener.stderr.readline().split()[-1]
    add = ["notify", "add", "here", url, "--allow-http", "--allow-private", LOOPBACK[0]]
    assert run([*add, "--secret", "env:SECOND"]) == 0
    assert run(["notify", "test", "here"]) == 1
    assert "refused: The request has no valid signature" in listener.stderr.readline()
    assert run([*add, "--secret", "env:FIRST"]) == 0
    assert run(["notify", "test", "here"]) == 0
    out, _ = listener.communicate(timeout=60)
    assert orjson.loads(out)["type"] == "app-data-pipeline.test"
    assert listener.returncode == 0


async def test_status_says_that_an_endpoint_is_disabled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(home=tmp_path / ".pipeline")
    await pipeline.move("app.db", "copy.db", flow="crm", settings=settings)

    def ran(*arguments: str) -> str:
        capsys.readouterr()
        assert run(list(arguments)) == 0
        return capsys.readouterr().out

    def try_it() -> None:
        ran("notify", "add", "ops", "sqs://events", "--flow", "crm")
        ran("notify", "add", "other", "sqs://events", "--flow", "erp")
        assert "Notifications" not in ran("status")
        for name in ("ops", "other"):
            ran("notify", "disable", name, "--reason", "it moves")
        assert "Notifications to ops are disabled: it moves. `pipeline notify enable ops` sends" in ran("status")
        (flow,) = orjson.loads(ran("status", "--json"))["flows"]
        assert flow["disabled_endpoints"] == [{"name": "ops", "reason": "it moves"}]

    await anyio.to_thread.run_sync(try_it)
