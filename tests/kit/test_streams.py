"""Streams without a handler are named and left out; a stream waits until those that it comes after are imported."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import anyio
import apsw
import pytest

import pipeline
from pipeline.domain.errors import ConfigurationError
from pipeline.kit import Batch, Import, Importer, Stop
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.log_events import log
from tests.cli.app import CommandLine
from tests.kit.app import move
from tests.kit.plugins import HEAD_LINES, write_plugin

STREAMS = ("a_comments", "b_issues", "c_projects", "d_users")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of four tables with 40 rows each, in the current directory."""
    monkeypatch.chdir(tmp_path)
    with apsw.Connection(str(tmp_path / "app.db")) as app:
        for stream in STREAMS:
            app.execute(f"CREATE TABLE {stream} (id INTEGER PRIMARY KEY)")
            app.execute(
                f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40) INSERT INTO {stream} SELECT i FROM n"
            )
    app.close()
    return str(tmp_path / "app.db")


@pytest.fixture
def logged() -> list[tuple[str, dict[str, object]]]:
    """The log events of the test."""
    events = list[tuple[str, dict[str, object]]]()
    log.configure(lambda level, event, values: events.append((event, {"level": level, **values})))
    return events


class Order:
    """An Importer that notes which stream each record is of. `failing` streams stop."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.failing: set[str] = set()

    def destination(self, *streams: str, **after: tuple[str, ...]) -> ImporterDestination:
        """Return a destination with a handler for each of these streams, which come after others."""
        importer = Importer("order")
        for stream in streams:

            @importer.applies(stream, row=dict, batch=10, after=after.get(stream, ()))
            async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
                of = ctx.file.split("/")[1]
                if of in self.failing:
                    raise Stop("not now")
                await anyio.sleep(0.001)  # the other lanes may go on
                self.seen += [of for _ in batch.records]

        return ImporterDestination("order:x", importer, None)


def notices(movement: pipeline.Movement) -> list[tuple[str, str, str]]:
    return [(item.kind, item.name, item.reason) for item in movement.inventory.items]


async def test_a_stream_without_a_handler_is_named_counted_and_imported_once_it_has_one(
    source: str, tmp_path: Path, logged: list[tuple[str, dict[str, object]]]
) -> None:
    order = Order()
    reporter = pipeline.LogReporter()
    movement = await move(source, order.destination("b_issues", "no_such"), tmp_path, reporter=reporter)
    assert (movement.status, movement.problems) == (pipeline.Status.SUCCESS, ())
    without = "the Importer 'order' has no handler for it; 40 records were skipped"
    assert notices(movement) == [
        ("unhandled stream", "a_comments", without),
        ("unhandled stream", "c_projects", without),
        ("unhandled stream", "d_users", without),
        ("unused handler", "no_such", "the source has no stream of this name"),
    ]
    events = [event for event, _ in logged]
    (skipped,) = [values for event, values in logged if event == "streams_unhandled"]
    assert skipped == {
        "level": "warning", "importer": "order", "streams": ["a_comments", "c_projects", "d_users"], "count": 3,
    }  # fmt: skip
    (unused,) = [values for event, values in logged if event == "handlers_unused"]
    assert unused["streams"] == ["no_such"]
    assert events.index("streams_unhandled") < events.index("movement_started")
    movement = await move(source, order.destination(*STREAMS), tmp_path)
    assert (movement.status, notices(movement)) == (pipeline.Status.SUCCESS, [])
    assert Counter(order.seen) == dict.fromkeys(STREAMS, 40)


async def test_an_importer_that_takes_no_stream_is_named_before_anything_is_moved(source: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"test_streams.py, line \d+: .*no handler for any stream") as caught:
        await move(source, Order().destination("no_such"), tmp_path)
    assert "The source has: a_comments, b_issues, c_projects, d_users. It has handlers for: no_such" in str(
        caught.value
    )
    with pytest.raises(ConfigurationError, match=r"The source has: a_comments\. It has handlers for: b_issues"):
        await move(source, Order().destination("b_issues"), tmp_path, only=["a_comments"])
    assert not list((tmp_path / "home").rglob("movement.json"))


def test_a_stream_that_lacks_what_a_row_needs_is_named_before_anything_is_moved(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = CommandLine(tmp_path, capsys)
    code = """
        importer = Importer("wordy")
        @dataclass
        class Word:
            id: int
            word: str
            language: str = "en"
        @importer.applies("a_comments", row=Word)
        async def words(target, batch, ctx): ...
        @importer.applies("b_issues", row=Word)
        async def more(target, batch, ctx): ...
        """
    write_plugin(Path("wordy.py"), code)
    reason = r"wordy\.py, line {line}: the stream '{stream}' has no column 'word', .* It has: id\."
    first, second = (
        reason.format(line=line, stream=name)
        for line, name in ((HEAD_LINES + 8, "a_comments"), (HEAD_LINES + 10, "b_issues"))
    )
    outcome = run("move", source, "./wordy.py:importer")
    assert outcome.code == 2
    assert re.search(first, outcome.err)
    assert re.search(second, outcome.err)
    assert not list(Path.cwd().rglob("movement.json"))
    outcome = run("check", source, "./wordy.py:importer", "--json")
    assert outcome.code == 1
    (found,) = [one for one in json.loads(outcome.out)["findings"] if one["id"] == "handlers"]
    assert (found["severity"], found["count"], found["excludable"]) == ("blocks", 2, False)
    assert re.search(first, found["sample"][0])


@pytest.mark.parametrize("rows", [250_000, 15])
async def test_a_stream_waits_until_the_others_are_imported(rows: int, source: str, tmp_path: Path) -> None:
    order = Order()
    there = order.destination(*STREAMS, a_comments=("b_issues", "d_users"), b_issues=("c_projects",))
    movement = await move(source, there, tmp_path, rows=rows)
    assert movement.status is pipeline.Status.SUCCESS
    last = {stream: len(order.seen) - order.seen[::-1].index(stream) for stream in STREAMS}
    assert max(last["b_issues"], last["d_users"]) <= order.seen.index("a_comments")
    assert last["c_projects"] <= order.seen.index("b_issues")
    assert Counter(order.seen) == dict.fromkeys(STREAMS, 40)


async def test_a_stream_after_one_that_failed_is_not_imported(source: str, tmp_path: Path) -> None:
    order = Order()
    there = order.destination(*STREAMS, a_comments=("b_issues",), b_issues=("c_projects",))
    order.failing = {"c_projects"}
    movement = await move(source, there, tmp_path)
    assert movement.status is pipeline.Status.INCOMPLETE
    assert set(order.seen) == {"d_users"}
    assert len(movement.problems) == 3
    told = "\n".join(movement.problems)
    assert re.search(
        r"'b_issues' comes after 'c_projects', of which Event File 1/c_projects/\S+ was not imported", told
    )
    assert re.search(r"'a_comments' comes after 'b_issues', of which Event File 1/b_issues/\S+ was not imported", told)
    order.failing = set()
    movement = await move(source, there, tmp_path)
    assert (movement.status, Counter(order.seen)) == (pipeline.Status.SUCCESS, dict.fromkeys(STREAMS, 40))


PLUGIN = """\
importer = Importer("notes")

@importer.applies("*", row=dict)
async def apply(target: None, batch: Batch[dict[str, object]], ctx: Import) -> None:
    with Path(__file__).with_name("seen").open("a") as seen:
        seen.write(f"{ctx.file.split('/')[1]}\\n")

importer.applies("a_comments", row=dict, after=("b_issues",))(apply)
importer.applies("b_issues", row=dict, after=("c_projects", "d_users"))(apply)
"""


async def test_a_stream_waits_where_workers_and_derived_flows_import(source: str, tmp_path: Path) -> None:
    there = f"{write_plugin(tmp_path / 'app.py', PLUGIN)}:importer"
    settings = pipeline.Settings(home=tmp_path / "home", importers=1, progress_seconds=0.2, shard_files=1)
    await pipeline.create_flow("crm", source, there, settings=settings)
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(lambda: pipeline.run_worker(stop=stop, settings=settings))
        movement, _ = await pipeline.start("crm", settings=settings)
        with anyio.fail_after(30):
            settled = await pipeline.wait_settled("crm", movement.number, settings=settings)
        stop.set()
    assert settled.status is pipeline.Status.SUCCESS, settled.problems
    in_order = [{"c_projects", "d_users"}, {"b_issues"}, {"a_comments"}]
    seen = (tmp_path / "seen").read_text().split()
    assert [set(seen[:2]), set(seen[2:3]), set(seen[3:])] == in_order
    (tmp_path / "seen").unlink()
    await pipeline.move(source, str(tmp_path / "copy.db"), flow="more", settings=settings)
    from pipeline.assembly.commands.flows import add_flow_destination, import_flow

    await add_flow_destination("more", f"python://{there}", name="derived", settings=settings)
    assert (await import_flow("derived", settings=settings)).status is pipeline.Status.SUCCESS
    seen = (tmp_path / "seen").read_text().split()
    assert [set(seen[:2]), set(seen[2:3]), set(seen[3:])] == in_order


WRONG_ORDERS = [
    ("importer.applies('a', row=dict, after=('none',))(f)  # here", "'a' comes after 'none', which no handler takes"),
    ("importer.applies('a', row=dict, after=('a',))(f)  # here", "in a circle: 'a' after 'a'"),
    (
        "importer.creates('a', row=dict, after=('b',))(g)  # here\nimporter.stages('b', row=dict, after=('a',))(g).publish(g)",
        "in a circle: '.' after '.' after '.'",
    ),
    ("importer.applies('*', row=dict, after=('a',))(f)  # here", r"in a circle: '\*' after '\*'"),
    ("importer.applies('a', row=dict, after='b')(f)  # here", r"after='b' is text. Write a tuple"),
]


@pytest.mark.parametrize(("code", "message"), WRONG_ORDERS)
def test_an_order_that_cannot_be_is_named_with_the_line(
    code: str, message: str, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "importer = Importer('app')\nasync def g(t, r, c): return ''\n"
    handler = f"async def f(t, b, c): ...  {'# here' if 'text' not in message else ''}\n"
    if "(g)" in code:
        head, code = head.replace("''\n", "''  # here\n"), code.replace("# here", "")
    path = write_plugin(tmp_path / "app.py", head + handler + code)
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "# here" in text)
    outcome = CommandLine(tmp_path, capsys)("move", source, f"{path}:importer")
    assert outcome.code == 2
    assert re.search(f"app.py, line {line}: .*{message}", " ".join(outcome.err.split())), outcome.err


def test_what_is_left_out_is_in_the_summary_and_in_json(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "importer = Importer('app')\n@importer.applies('a_comments', row=dict)\nasync def f(t, b, c): ...\n"
    run = CommandLine(tmp_path, capsys)
    path = write_plugin(tmp_path / "app.py", code)
    moved = run("move", source, f"{path}:importer", "--flow", "crm")
    assert moved.code == 0
    assert (
        "not moved: 3 unhandled streams (b_issues, c_projects, d_users): the Importer 'app' has no handler" in moved.out
    )
    assert "streams_unhandled" in moved.err
    again = json.loads(run("move", source, f"{path}:importer", "--flow", "crm", "--json").out.splitlines()[-1])
    assert [item["name"] for item in again["inventory"]["not_moved"]] == ["b_issues", "c_projects", "d_users"]
