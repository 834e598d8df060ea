"""`pipeline torture` finds the mistakes that authors make, tells them in the author's lines, and finds nothing in sound code."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from pipeline.cli.commands.authors.torture import torture as command
from pipeline.domain.errors import ConfigurationError
from pipeline.testing.torture import seeds
from pipeline.testing.torture.interception.instrument import reloaded
from pipeline.testing.torture.loading import load_subject
from pipeline.testing.torture.report import as_document, told
from pipeline.testing.torture.run import learned, run_seed
from pipeline.testing.torture.seeds import Request, open_pool, torture, torture_in
from tests.testing import planted

SECOND, LOST, OLD, STALE = "times: |belongs to no row", "the app does not$", "the app still has", "in place of"
DELETED = "has deleted it, and the source had it all the time"
PLANTED = {
    "no_find": SECOND,
    "key_of_attempt": SECOND,
    "keeps_created": OLD,
    "find_by_name": LOST,
    "update_creates": SECOND,
    "half_made": STALE,
    "swallowed": LOST,
    "appends": SECOND,
    "keeps_deleted": OLD,
    "mark_first": f"{LOST}|{OLD}|{STALE}",
    "lost_records": f"{LOST}|{OLD}|{STALE}",
    "mark_outside": f"{LOST}|{OLD}|{STALE}",
    "commits_anyway": SECOND,
    "publish_repeats": SECOND,
    "stage_without_id": SECOND,
    "by_time": DELETED,
    "partial_list": DELETED,
    "partial_rows": DELETED,
    "cursor_first": f"{DELETED}|{LOST}",
    "cursor_of_now": f"{LOST}|{OLD}|{STALE}",
}
"""What torture must say of each planted mistake."""
WITHOUT_FAULTS = {"update_creates", "appends", "keeps_deleted", "keeps_created"}
SOUND = ("created", "repeated", "keyed", "transacted", "linked", "staged", "listed", "paged", "shifting", "fed")
MOST_SEEDS = 300
SETTINGS = """
from dataclasses import dataclass
from pipeline.kit import Exporter
exporter = Exporter("needs a URL")
@dataclass
class Settings:
    url: str
@exporter.connect
async def connect(settings: Settings):
    yield None
@exporter.rows("a", row=dict, columns={"id": int}, key="id")
async def rows(client):
    yield {"id": 1}
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with open_pool() as pool:
        yield pool


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found_and_told_in_the_authors_lines(
    name: str, pool: ProcessPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeds, "MOST_SHRUNK", 1)  # most of the time goes into making stories short
    monkeypatch.setattr(seeds, "BATCH", 1)  # the batches that are begun run to their end, though nobody looks at them
    request = Request((f"tests.testing.planted:{name}",))
    result = torture_in(pool, request, range(MOST_SEEDS))
    assert result.shortest is not None
    assert re.search(PLANTED[name], "\n".join(result.shortest.broken), re.MULTILINE)
    assert not (result.shortest.faults and name in WITHOUT_FAULTS)
    assert len(result.shortest.faults) <= 8
    assert "planted.py, line " in told(request, result.shortest)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_what_is_sound(name: str, pool: ProcessPoolExecutor) -> None:
    request = Request((f"tests.testing.sound:{name}",))
    result = torture_in(pool, request, range(20, 120))  # the suites of these apps run the first 20
    assert result.shortest is None, told(request, result.shortest)
    assert (result.outcome.duplicates > 0) == (name == "repeated")  # second objects are reported where they are allowed


def test_a_seed_is_the_same_run_each_time() -> None:
    subject = learned(load_subject(["tests.testing.sound:created"], {}))
    runs = [[run_seed(subject, seed) for seed in range(10)] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len({run.story for run in runs[0]}) == 10


@pytest.mark.slow
def test_the_command_that_is_told_replays_the_story(pool: ProcessPoolExecutor) -> None:
    request = Request(("tests.testing.planted:mark_outside",))
    whole = torture_in(pool, request, range(MOST_SEEDS))
    assert whole.shortest is not None
    again = torture_in(pool, request, [whole.shortest.plan.seed])
    assert again.shortest is not None
    assert told(request, again.shortest) == told(request, whole.shortest)
    assert told(request, again.shortest).endswith(f"again: {as_document(request, again)['command']}")


def test_the_command_prints_json_and_its_exit_code_says_whether_something_is_wrong() -> None:
    sound = CliRunner().invoke(command, ["tests.testing.sound:keyed", "--seeds", "3", "--json"], standalone_mode=False)
    assert (sound.return_value, '"failed":[]' in sound.output) == (0, True)
    broken = CliRunner().invoke(command, ["tests.testing.planted:appends", "--seed", "7"], standalone_mode=False)
    assert broken.return_value == 1
    assert broken.output.splitlines()[0] == "seed 7, shrunk to no faults"
    assert broken.output.splitlines()[-1] == "again: pipeline torture tests.testing.planted:appends --seed 7"


def test_a_seed_that_fails_without_faults_is_among_the_failed() -> None:
    request = Request(("tests.testing.planted:appends",))
    document = as_document(request, torture(request, range(7, 20)))
    assert (document["seeds"], document["failed"], document["seed"]) == (1, [7], 7)


def test_the_command_that_is_told_can_be_typed(tmp_path: Path) -> None:
    (tmp_path / "my app.py").write_text(Path(planted.__file__).read_text())
    request = Request((f"{tmp_path}/my app.py:appends",), {"things": ("id",)})
    found = torture(request, range(7, 8)).shortest
    assert found is not None
    again = shlex.split(told(request, found).rpartition("again: ")[2])
    assert again == ["pipeline", "torture", *request.names, "--seed", "7", "--key", "things=id"]


def test_a_terminal_shows_the_progress_until_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    command.main(["tests.testing.sound:keyed", "--seeds", "2"], standalone_mode=False)
    shown = capsys.readouterr()
    assert (shown.err, shown.out.startswith("2 seeds hold")) == ("\r2 seeds\r\x1b[K", True)


def test_an_exporter_and_an_importer_are_tortured_together() -> None:
    names = ("tests.testing.sound:paged", "tests.testing.sound:keyed")
    assert torture(Request(names), range(20)).shortest is None


def test_what_is_missing_is_named_with_how_to_write_it(tmp_path: Path) -> None:
    file = tmp_path / "bare.py"
    file.write_text("from pipeline.kit import Exporter, Importer\nimporter = Importer('a')\nexporter = Exporter('b')\n")
    with pytest.raises(
        ConfigurationError, match=r"bare\.py, line 2: the Importer has no `dump` and no `scratch`"
    ) as error:
        load_subject([f"{file}:importer"], {})
    assert "@importer.scratch\nasync def scratch()" in str(error.value)
    with pytest.raises(ConfigurationError, match=r"bare\.py, line 3: the Exporter has no stream"):
        load_subject([f"{file}:exporter"], {})
    with pytest.raises(
        ConfigurationError, match=r"sound\.py, line \d+: the Importer accepts tracker/1, not the contract"
    ):
        load_subject(["tests.testing.sound:paged", "tests.testing.sound:created"], {})
    file.write_text(SETTINGS)
    with pytest.raises(ConfigurationError, match=r"has no `scratch` and no `change`[\s\S]*The setting 'url'"):
        load_subject([f"{file}:exporter"], {})


def test_a_stream_without_a_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="A key is given for birds"):
        torture(Request(("tests.testing.sound:keyed",), {"birds": ("id",)}), range(1))
    assert torture(Request(("tests.testing.sound:keyed",), {"things": ("name",)}), range(2)).shortest is None


@pytest.mark.parametrize("name", ["importer", "exporter"])
def test_an_app_over_real_http_is_tortured(name: str) -> None:
    assert torture(Request((f"tests.testing.over_http:{name}",)), range(15)).shortest is None


def test_a_module_beside_a_tortured_file_is_its_own_whatever_was_imported_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ModuleType("beside")
    monkeypatch.setitem(sys.modules, "beside", other)
    (tmp_path / "beside.py").write_text("NAME = 'its own'\n")
    (tmp_path / "app.py").write_text("from beside import NAME\n")
    assert reloaded(str(tmp_path / "app.py"), "", "NAME") == "its own"
    assert sys.modules["beside"] is other
