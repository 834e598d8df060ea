"""TLS by libpq's parameters in the URL: requirements are met, or an error says which is not."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place, place_factory
from tests.servers.postgresql import PostgresqlServer
from tests.servers.tls import TlsFront, tls_front

OpenFront = Callable[[str | None], TlsFront]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def root(authority: trustme.CA, tmp_path: Path) -> Path:
    """The file with the certificate of the authority."""
    file = tmp_path / "root.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def open_front(authority: trustme.CA, place: Place) -> Iterator[OpenFront]:
    """A function that opens a proxy whose certificate is for a name; without a name, it has no TLS."""
    directory = parse_qs(urlsplit(place.uri).query)["host"][0]
    with ExitStack() as stack:

        def open_one(name: str | None) -> TlsFront:
            context = None
            if name is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                authority.issue_cert(name).configure_cert(context)
            return stack.enter_context(tls_front(context, f"{directory}/.s.PGSQL.5432"))

        yield open_one


def uri_of(front: TlsFront, place: Place, parameters: str) -> str:
    return f"postgresql://postgres@localhost:{front.port}{urlsplit(place.uri).path}?hostaddr=127.0.0.1&{parameters}"


async def test_a_movement_uses_tls_with_a_server_whose_certificate_is_valid(
    open_front: OpenFront, place: Place, root: Path, postgresql: PostgresqlServer
) -> None:
    source = place_factory(postgresql)()
    source.run("CREATE TABLE item (id int PRIMARY KEY, name text)", "INSERT INTO item VALUES (1, 'one'), (2, 'two')")
    front = open_front("localhost")
    destination = PostgresDestination(uri_of(front, place, f"sslmode=verify-full&sslrootcert={root}"))
    movement = await Movements(PostgresSource(source.uri), destination).move()
    assert movement.status is Status.SUCCESS
    assert place.rows("SELECT * FROM item ORDER BY id") == [(1, "one"), (2, "two")]
    assert set(front.spoken) == {"TLSv1.3"}


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("elsewhere.example", "sslmode=verify-full&sslrootcert={root}", "does not match host name"),
        ("localhost", "sslmode=verify-full&sslrootcert={other}", "certificate verify failed"),
        ("localhost", "sslmode=verify-full&sslrootcert={absent}", "does not exist"),
        ("localhost", "sslmode=sideways", "sslmode"),
    ],
)
async def test_a_server_with_another_certificate_gets_nothing(
    name: str, parameters: str, words: str, open_front: OpenFront, place: Place, root: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    front = open_front(name)
    filled = parameters.format(root=root, other=other, absent=tmp_path / "absent.pem")
    with pytest.raises(ConfigurationError, match=words) as caught:
        async with PostgresSource(uri_of(front, place, filled)).open_snapshot():
            pass
    assert "TLS" in str(caught.value)
    assert "run the command again" not in str(caught.value)


async def test_nothing_is_sent_without_the_required_tls(open_front: OpenFront, place: Place) -> None:
    front = open_front(None)
    uri = uri_of(front, place, "sslmode=require").replace("postgres@", "postgres:secret@")
    with pytest.raises(ConfigurationError, match="does not support SSL") as caught:
        async with PostgresSource(uri).open_snapshot():
            pass
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("parameters", ["sslmode=require", "sslmode=verify-ca&sslrootcert={root}"])
async def test_weaker_requirements_are_met_as_well(
    parameters: str, open_front: OpenFront, place: Place, root: Path
) -> None:
    front = open_front("elsewhere.example")
    async with PostgresSource(uri_of(front, place, parameters.format(root=root))).open_snapshot() as snapshot:
        assert await snapshot.streams() == []
    assert set(front.spoken) == {"TLSv1.3"}
