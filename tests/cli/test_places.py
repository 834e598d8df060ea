"""What is one place under two names, and what the pipeline uses itself, is refused or left out, by name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.app import CommandLine, contents, make_database
from tests.connectors.postgres.places import place_factory
from tests.servers.postgresql import PostgresqlServer


def make_tree(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    return directory


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_database_is_not_moved_into_itself_by_another_name(pipeline: CommandLine, link: object) -> None:
    source = make_database(pipeline.directory / "app.db")
    assert callable(link)
    link(source, pipeline.directory / "other.db")
    refused = pipeline("move", "app.db", "other.db")
    assert (refused.code, "are the same place" in refused.err) == (2, True)
    assert not (pipeline.directory / ".pipeline").exists()


def test_a_tree_is_not_moved_into_itself_by_a_link(pipeline: CommandLine) -> None:
    make_tree(pipeline.directory / "files", "a.txt")
    (pipeline.directory / "link").symlink_to("files")
    assert pipeline("move", "files", "link").code == 2
    assert pipeline("move", "files", "link/below/").code == 2


TOO_LONG = f"{'a' * 300}/app.db"


@pytest.mark.parametrize(
    "arguments",
    [
        ["move", "app.db", TOO_LONG],
        ["move", TOO_LONG, "copy.db"],
        ["move", "app.db", f"sqlite:///{TOO_LONG}"],
        ["move", f"sqlite:///{TOO_LONG}", "copy.db"],
        ["move", "app.db", f"sqlite:///{'a' * 300}.db"],
        ["move", "files/", f"file:///{TOO_LONG}"],
        ["move", f"file:///{TOO_LONG}", "copy/"],
        ["move", "app.db", f"sam:{TOO_LONG}"],
        ["move", f"{TOO_LONG}.py:exporter", "copy.db"],
        ["move", "app.db", "copy.db", "--home", TOO_LONG],
        ["status", "--home", TOO_LONG],
        ["check", "app.db", f"sqlite:///{TOO_LONG}"],
        ["check", "files/", f"file:///{TOO_LONG}"],
    ],
)
def test_a_path_that_is_too_long_is_no_defect(arguments: list[str], pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    make_tree(pipeline.directory / "files", "a.txt")
    refused = pipeline(*arguments)
    assert refused.code in (1, 2)
    assert "a" * 200 in refused.out + refused.err
    assert "defect" not in refused.out + refused.err


def test_a_path_that_is_too_long_is_no_event_file(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "copy.db").code == 0
    refused = pipeline("show", TOO_LONG)
    assert (refused.code, "is neither a file on this computer nor the id of an Event File" in refused.err) == (2, True)


def test_the_home_in_the_source_is_named_and_not_moved(pipeline: CommandLine) -> None:
    make_tree(pipeline.directory / "files", "a.txt")
    moved = pipeline("move", "files", "copy", "--home", "files/.pipeline")
    assert moved.code == 0
    home = pipeline.directory / "files" / ".pipeline"
    assert f"not moved: 1 pipeline file (.pipeline): it is the home directory of the pipeline ({home})" in moved.out
    assert not (pipeline.directory / "copy" / ".pipeline").exists()
    assert pipeline("verify", moved.out.split()[1].strip(","), "--home", "files/.pipeline").code == 0


def test_nothing_is_written_over_the_home_in_the_destination(pipeline: CommandLine) -> None:
    make_tree(pipeline.directory / "files", "a.txt", "home/queue.db", "home/store/x")
    move = ("move", "files", "copy", "--home", "copy/home", "--flow", "f")
    for _ in range(2):
        moved = pipeline(*move)
        assert moved.code == 1
        assert "not moved: 1 file (home): the home directory of the pipeline" in moved.out
    assert (pipeline.directory / "copy" / "a.txt").exists()
    assert not (pipeline.directory / "copy" / "home" / "store" / "x").exists()
    assert pipeline(*move, "--accept-missing", "file").code == 0


@pytest.mark.parametrize("home", ["files", "copy"])
def test_a_home_that_is_one_of_the_ends_is_refused(pipeline: CommandLine, home: str) -> None:
    make_tree(pipeline.directory / "files", "a.txt")
    refused = pipeline("move", "files", "copy", "--home", home)
    assert (refused.code, "belongs to the home directory of the pipeline" in refused.err) == (2, True)


@pytest.mark.parametrize("own", ["queue.db", "store/app.db"])
def test_the_pipelines_own_files_are_no_destination(pipeline: CommandLine, own: str) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", f".pipeline/{own}").code == 2


def test_the_destinations_database_in_the_tree_that_goes_along_is_left_out(pipeline: CommandLine) -> None:
    source = make_database(pipeline.directory / "app.db")
    make_tree(pipeline.directory / "files", "a.txt")
    move = ("move", "app.db", "files/copy.db", "--files", "files", "copies")
    assert pipeline(*move).code == 0
    moved = pipeline(*move)
    assert (moved.code, "pipeline file" in moved.out) == (0, True)
    assert contents(pipeline.directory / "files" / "copy.db") == contents(source)
    assert sorted(path.name for path in (pipeline.directory / "copies").glob("*.*")) == [".pipeline-import", "a.txt"]


def test_no_file_is_written_over_the_sources_database(pipeline: CommandLine) -> None:
    (pipeline.directory / "copies").mkdir()
    source = make_database(pipeline.directory / "copies" / "app.db")
    make_tree(pipeline.directory / "files", "app.db")
    before = contents(source)
    refused = pipeline("move", "copies/app.db", "copy.db", "--files", "files", "copies")
    assert (refused.code, "which is the source's database" in refused.err) == (2, True)
    assert contents(source) == before


def test_a_derived_flow_does_not_write_over_the_home(pipeline: CommandLine) -> None:
    make_tree(pipeline.directory / "files", "a.txt", ".pipeline/x")
    assert pipeline("move", "files", "copy", "--home", "there/.pipeline", "--flow", "f").code == 0
    refused = pipeline("flow", "add-destination", "f", "there/", "--home", "there/.pipeline")
    assert (refused.code, "is in the destination" in refused.err) == (2, True)


def test_a_database_of_a_server_is_not_moved_into_itself_by_another_url(
    pipeline: CommandLine, postgresql: PostgresqlServer
) -> None:
    make = place_factory(postgresql)
    one, other = make().uri, make().uri
    same = f"{one}&application_name=app" if "?" in one else f"{one}?application_name=app"
    for command in (("move", one, same), ("flow", "create", "f", one, same)):
        refused = pipeline(*command)
        assert (refused.code, "are the same database of the same server" in refused.err) == (2, True)
    assert pipeline("flow", "create", "f", one, other).code == 0


@pytest.mark.parametrize("place", ["nosuch:", "nosuch:copy.db", "nosuch:dir/"])
@pytest.mark.parametrize("command", [("move",), ("flow", "create", "crm"), ("move", "--dry-run")])
def test_a_place_of_an_unknown_plugin_is_no_new_file(
    command: tuple[str, ...], place: str, pipeline: CommandLine
) -> None:
    make_database(pipeline.directory / "app.db")
    for role, ends in (("Exporter", (place, "copy.db")), ("Importer", ("app.db", place))):
        refused = pipeline(*command, *ends)
        told = " ".join(refused.err.split())
        assert (refused.code, f"neither a file {place}, nor an {role} nosuch that is installed" in told) == (2, True)
    assert f"A new file of this name: ./{place}" in told
    assert {path.name for path in pipeline.directory.iterdir()} <= {"app.db", ".pipeline"}


def test_a_further_destination_of_an_unknown_plugin_is_no_new_file(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("flow", "create", "crm", "app.db", "copy.db").code == 0
    refused = pipeline("flow", "add-destination", "crm", "nosuch:")
    assert (refused.code, "nor an Importer nosuch" in refused.err) == (2, True)


@pytest.mark.parametrize("name", ["nosuch:", "nosuch:copy.db"])
def test_a_file_whose_name_looks_like_a_plugin_is_written_as_a_path(name: str, pipeline: CommandLine) -> None:
    app = make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", f"./{name}").code == 0
    assert contents(pipeline.directory / name) == contents(app)
    assert pipeline("move", "app.db", name).code == 0  # it exists by now
    (pipeline.directory / "old:copies").mkdir()
    assert pipeline("move", "app.db", "old:copies/copy.db").code == 0


def test_a_link_to_the_database_does_not_replace_the_copy(pipeline: CommandLine) -> None:
    home = pipeline.directory
    (home / "src").mkdir()
    (home / "elsewhere").mkdir()
    app = make_database(home / "elsewhere" / "app.db")
    (home / "src" / "app.db").symlink_to(app)
    (home / "dst").mkdir()
    pipeline("move", "src/app.db", "dst/app.db", "--files", "src", "dst", "--flow", "crm")
    copy = home / "dst" / "app.db"
    assert not copy.is_symlink()
    assert contents(copy) == contents(app)


@pytest.mark.parametrize(
    "command",
    [("start", "crm"), ("sweep",), ("status",), ("token", "list"), ("token", "revoke", "ab"), ("notify", "list")],
)
def test_a_home_that_is_not_there_is_named_and_not_made(pipeline: CommandLine, command: tuple[str, ...]) -> None:
    refused = pipeline(*command, "--home", "mistyped")
    assert (refused.code, "There is no directory mistyped here" in refused.err) == (2, True)
    assert not (pipeline.directory / "mistyped").exists()


def test_a_token_is_revoked_with_json(pipeline: CommandLine) -> None:
    made = pipeline("token", "create", "ann", "--json").objects[0]
    (revoked,) = pipeline("token", "revoke", str(made["id"]), "--json").objects
    assert (revoked["id"], revoked["revoked"] is None) == (made["id"], False)


def test_a_source_directory_that_is_gone_is_not_taken_for_a_database(pipeline: CommandLine) -> None:
    make_tree(pipeline.directory / "files", "a.txt")
    assert pipeline("move", "files", "copy/", "--flow", "docs").code == 0
    (pipeline.directory / "files").rename(pipeline.directory / "moved")
    refused = pipeline("move", "files", "copy/", "--flow", "docs")
    assert (refused.code, "files: there is no such file or directory; check the path" in refused.err) == (2, True)
    assert (pipeline.directory / "copy" / "a.txt").exists()
