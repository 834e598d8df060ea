"""Contents that an app's dump gives are compared by their bytes, and by name and media type where it gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.app import CommandLine
from tests.kit.plugins import write_plugin

CODE = """
@dataclass
class File:
    id: int
    file: Binary | None

exporter = Exporter("files")

@exporter.rows("files", row=File, key="id")
async def files(client: None) -> AsyncIterator[File]:
    yield File(1, Binary(b"one", name="one.png", media_type="image/png"))
    yield File(2, Binary(b"two", name="two;=.png"))
    yield File(3, Binary(b"three", version="7"))
    yield File(4, None)

importer = Importer("files")
HELD = Path("held")
HELD.mkdir(exist_ok=True)

@importer.applies("files", row=File)
async def apply(target: None, batch: Batch[File], ctx: Import) -> None:
    for upsert in batch.upserts:
        if upsert.row.file is None:
            continue
        async with ctx.binary(upsert.row.file) as pieces:
            content = b"".join([piece async for piece in pieces])
        (HELD / str(upsert.key)).write_bytes(content)

def read(path: Path):
    async def pieces() -> AsyncIterator[bytes]:
        yield path.read_bytes()[:1]
        yield path.read_bytes()[1:]
    return pieces

@importer.dump
async def dump(target: None) -> AsyncIterator[tuple[str, Key, dict[str, object]]]:
    for number in (1, 2, 3):
        path = HELD / str(number)
        yield "files", number, {"id": number, "file": GIVEN}
    yield "files", 4, {"id": 4, "file": None}
"""
NAMES = "['', 'one.png', 'two;=.png', None][number]"
EQUAL = {
    "bytes": "path.read_bytes()",
    "bytes in a Binary": "Binary(path.read_bytes())",
    "a path": "Binary(path)",
    "a function": "Binary(read(path))",
    "a version of the app": 'Binary(path, version="v1")',
    "a version that looks like an id": 'Binary(path, version="0" * 64)',
    "the name": f"Binary(path, name={NAMES})",
    "the name and the type": f"Binary(path, name={NAMES}, media_type='image/png' if number == 1 else None)",
    "a name that the source has not": f"Binary(path, name={NAMES} or 'untitled')",
}
DIFFERENT = {
    "other bytes": "path.read_bytes() + b'!'",
    "another path": "Binary(HELD / '1')",
    "another name": "Binary(path, name='other.png')",
    "another type": f"Binary(path, name={NAMES}, media_type='image/gif')",
    "nothing": "None",
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


@pytest.mark.parametrize(
    ("given", "code"), [*((one, 0) for one in EQUAL.values()), *((one, 1) for one in DIFFERENT.values())]
)
def test_a_content_is_compared_by_what_the_dump_gives_of_it(given: str, code: int, run: CommandLine) -> None:
    write_plugin(Path("app.py"), CODE.replace("GIVEN", given))
    assert run("move", "./app.py:exporter", "./app.py:importer", "--flow", "crm").code == 0
    found = run("verify", "crm")
    assert found.code == code, found.out


def test_a_content_that_cannot_be_read_is_named_with_the_dump(run: CommandLine) -> None:
    write_plugin(Path("app.py"), CODE.replace("GIVEN", "Binary('nowhere')"))
    assert run("move", "./app.py:exporter", "./app.py:importer", "--flow", "crm").code == 0
    found = run("verify", "crm")
    assert found.code == 1
    assert "app.py, line " in found.err
    assert "the content in the column 'file' of 'files', key 1, cannot be read: No such file" in found.err
