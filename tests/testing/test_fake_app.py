"""FakeApp is a REST service as real ones are: in process and over HTTP."""

from __future__ import annotations

import http.client
import json
from urllib.parse import urlsplit

import anyio
import pytest

from pipeline.testing import FakeApp, Response, run_virtually


async def _all_pages(app: FakeApp, query: str, start: str) -> list[int]:
    """Return the ids of all pages that a way of paging gives."""
    found, at = list[int](), start
    while True:
        page = (await app.request("GET", "/notes", query={query: at})).body
        found += [item["id"] for item in page["items"]]
        if page["next"] is None:
            return found
        at = page["next"]


async def _with_notes(app: FakeApp, count: int) -> FakeApp:
    for number in range(1, count + 1):
        assert (await app.request("POST", "/notes", body={"text": f"note {number}"})).status == 201
    return app


async def test_objects_are_created_changed_found_and_deleted() -> None:
    app = FakeApp()
    made = await app.request("POST", "/notes", body={"text": "a"})
    assert made == Response(201, {"text": "a", "id": 1})
    assert (await app.request("PATCH", "/notes/1", body={"text": "b"})).body == {"text": "b", "id": 1}
    assert (await app.request("GET", "/notes", query={"text": "b"})).body["items"] == [{"text": "b", "id": 1}]
    assert (await app.request("GET", "/notes", query={"text": "a"})).body["items"] == []
    assert (await app.request("DELETE", "/notes/1")).status == 204
    assert [(await app.request(method, "/notes/1")).status for method in ("GET", "PUT", "DELETE")] == [404] * 3
    assert list(app.objects("notes")) == []


async def test_what_is_sent_and_given_is_not_the_object_itself() -> None:
    app, body = FakeApp(), {"tags": ["a"]}
    answers = [(await app.request("POST", "/notes", body=body)).body, (await app.request("GET", "/notes/1")).body]
    answers.append((await app.request("PATCH", "/notes/1", body={"more": [1]})).body)
    answers += [(await app.request("GET", "/notes", query={"cursor": ""})).body["items"][0], *app.objects("notes")]
    answers.append((await app.request("GET", "/notes", query={"since": ""})).body["items"][0])
    for one in [body, *answers]:
        one["tags"].append("b")
    held = {"id": 1, "tags": ["a"], "more": [1]}
    assert (await app.request("GET", "/notes/1")).body == held
    assert (await app.request("GET", "/notes", query={"cursor": "0.0"})).body["items"] == [held]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=", "offset=x", "after=-1", "since=x", "cursor=7.0", "cursor=x", "cursor=0."],
)
async def test_a_number_that_cannot_be_is_answered_400(query: str) -> None:
    app, (name, _, value) = await _with_notes(FakeApp(page_size=2), 3), query.partition("=")
    await app.request("GET", "/notes", query={"cursor": ""})
    assert (await app.request("GET", "/notes", query={name: value})).status == 400


async def test_a_limit_makes_pages_smaller() -> None:
    app = await _with_notes(FakeApp(page_size=2), 3)
    for way, limit, given in [("offset", 1, 1), ("after", 1, 1), ("since", 1, 1), ("offset", 9, 2)]:
        page = (await app.request("GET", "/notes", query={way: "0", "limit": limit})).body
        assert len(page["items"]) == given


@pytest.mark.parametrize(("query", "start"), [("offset", "0"), ("after", "0"), ("cursor", "")])
async def test_each_way_of_paging_gives_every_object_once(query: str, start: str) -> None:
    app = await _with_notes(FakeApp(page_size=3), 7)
    assert await _all_pages(app, query, start) == list(range(1, 8))


@pytest.mark.parametrize(
    ("query", "start", "seen"),
    [("offset", "0", [1, 2, 3, 5, 6, 7]), ("after", "0", [1, 2, 3, 4, 5, 6, 7]), ("cursor", "", [1, 2, 3, 4, 5, 6, 7])],
)
async def test_a_change_between_two_pages_moves_rows_where_pages_are_offsets(
    query: str, start: str, seen: list[int]
) -> None:
    def delete_first(app: FakeApp) -> None:
        app.respond("DELETE", "/notes/1", {}, {}, {})

    app = await _with_notes(FakeApp(page_size=3, between_pages=delete_first), 7)
    assert await _all_pages(app, query, start) == seen


async def test_the_change_feed_names_what_has_changed_and_what_is_gone() -> None:
    app = await _with_notes(FakeApp(page_size=2), 3)
    first = (await app.request("GET", "/notes", query={"since": 0})).body
    assert ([item["id"] for item in first["items"]], first["more"]) == ([1, 2], True)
    await app.request("DELETE", "/notes/1")
    await app.request("PUT", "/notes/2", body={"text": "changed"})
    rest = (await app.request("GET", "/notes", query={"since": first["cursor"]})).body
    assert ([item["id"] for item in rest["items"]], rest["deleted"], rest["more"]) == ([3], [1], True)
    last = (await app.request("GET", "/notes", query={"since": rest["cursor"]})).body
    assert (last["items"], last["more"]) == ([{"text": "changed", "id": 2}], False)


@pytest.mark.parametrize(("honours_keys", "objects"), [(True, 1), (False, 2)])
async def test_an_idempotency_key_makes_one_object_where_it_is_honoured(honours_keys: bool, objects: int) -> None:
    app = FakeApp(honours_keys=honours_keys)
    for _ in range(2):
        await app.request("POST", "/notes", body={}, headers={"Idempotency-Key": "k"})
    assert len(list(app.objects("notes"))) == objects


def test_the_change_feed_shows_a_new_object_late_and_its_cursor_may_be_later() -> None:
    async def main() -> None:
        app = await _with_notes(FakeApp(), 1)
        await anyio.sleep(1)
        app.visible_after = 5.0
        await _with_notes(app, 1)
        await app.request("PUT", "/notes/1", body={"text": "changed"})

        async def changed(since: str) -> tuple[list[int], str]:
            found = (await app.request("GET", "/notes", query={"since": since})).body
            return [one["id"] for one in found["items"]], found["cursor"]

        ids, cursor = await changed("")
        assert ids == [1]
        await anyio.sleep(5)
        assert await changed(cursor) == ([], cursor)
        assert (await changed(str(float(cursor) - 5)))[0] == [2, 1]  # what `lag=5` asks for

    run_virtually(main)


def test_a_new_object_is_seen_later_and_too_many_requests_have_to_wait() -> None:
    async def main() -> None:
        app = FakeApp(visible_after=5.0, rate_limit=3)
        assert (await app.request("POST", "/notes", body={})).status == 201
        assert (await app.request("GET", "/notes")).body["items"] == []
        assert (await app.request("GET", "/notes/1")).status == 200
        refused = await app.request("GET", "/notes/1")
        assert (refused.status, refused.headers) == (429, {"Retry-After": "1"})
        await anyio.sleep(5)
        assert len((await app.request("GET", "/notes")).body["items"]) == 1

    run_virtually(main)


async def test_answers_are_lost_after_the_effect_and_before_it() -> None:
    app, lost = FakeApp(lost_answers=0.5, busy=0.2, seed=1), 0
    statuses = set()
    for number in range(200):
        try:
            statuses.add((await app.request("POST", "/notes", body={"number": number})).status)
        except ConnectionError:
            lost += 1
    made = len(list(app.objects("notes")))
    answered = sum(status == 201 for _, _, status in app.requests)
    assert statuses == {201, 503}
    assert answered < made < answered + lost  # some of the lost ones have taken effect, others have not


async def test_a_path_without_a_collection_has_no_objects() -> None:
    app = FakeApp()
    assert [(await app.request("GET", path)).body["items"] for path in ("/", "")] == [[], []]


def test_an_error_of_the_app_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(app: FakeApp) -> None:
        raise LookupError("a mistake in the test")

    with FakeApp(between_pages=fail).serve() as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        connection.request("GET", "/notes?after=1")
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            connection.getresponse()
        connection.close()
    assert "LookupError: a mistake in the test" in capsys.readouterr().err


def test_it_is_served_over_http(fake_app: FakeApp, fake_app_url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(fake_app_url).netloc, timeout=10)
    for expected in (201, 200):  # the same connection, and the same key
        connection.request("POST", "/notes", json.dumps({"text": "ä"}), {"Idempotency-Key": "k"})
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["id"]) == (expected, 1)
    connection.close()
    fake_app.lost_answers = 2.0
    lost = http.client.HTTPConnection(urlsplit(fake_app_url).netloc, timeout=10)
    lost.request("GET", "/notes")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        lost.getresponse()
    lost.close()
    assert [status for _, _, status in fake_app.requests] == [201, 200, 0]
