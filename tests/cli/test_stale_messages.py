"""A queue may hold messages that are as old as a Flow of the same name that was removed since."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from pipeline.assembly.runtime import open_runtime
from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain.ids import FlowName, Label, ObjectKey
from pipeline.settings import load_settings
from tests.cli.app import CommandLine, contents, make_database

LISTS = "flows/crm/movements/1/groups/people"


@pytest.mark.parametrize(
    "messages",
    [
        [GroupCompleted(FlowName("crm"), 1, Label("people"), ObjectKey(f"{LISTS}/files.1.9.jsonl"), grown_from=0)],
        [GroupCompleted(FlowName("crm"), 1, Label("people"), ObjectKey(f"{LISTS}/files.7.jsonl"))],
        [
            GroupCompleted(
                FlowName("crm"), 1, Label("gone"), ObjectKey("flows/crm/movements/1/groups/gone/files.1.jsonl")
            )
        ],
    ],
)
def test_a_message_about_a_file_list_that_no_movement_names_hinders_none(
    pipeline: CommandLine, messages: Sequence[GroupCompleted]
) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("flow", "create", "crm", "app.db", "copy.db").code == 0

    async def send() -> None:
        async with open_runtime(load_settings()) as runtime, runtime.imports(FlowName("crm")) as imports:
            await imports.send([encode_message(message) for message in messages])

    anyio.run(send)
    moved = pipeline("move", "--flow", "crm", "--json")
    assert (moved.code, moved.objects[-1]["status"]) == (0, "SUCCESS")
    assert contents(pipeline.directory / "copy.db") == contents(pipeline.directory / "app.db")
