"""The dashboard in a real browser: no accessibility fault, nothing from elsewhere, live, and by keyboard alone."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PAGES = ["/", "/flows/crm", "/flows/crm/movements/1", "/flows/crm/movements/1/files", "/flows/crm/files/1/pet/full/0"]
PAGES += [f"/flows/crm/{name}" for name in ("movements/1/rejected", "log", "mappings", "verify")] + ["/notifications"]
PAGES += ["/flows/crm/checks", "/flows/crm/approvals", "/workers", "/tokens", "/login", "/nope"]

LONG = "a_table_whose_name_is_longer_than_any_screen_that_people_hold_in_a_hand_is_wide_" * 2
"""The label of a group."""

pytestmark = [pytest.mark.server, pytest.mark.slow]
if CHROMIUM is None and not os.environ.get("CI"):
    pytestmark.append(pytest.mark.skip(reason="chromium is not installed"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The link of a server in a process of its own, and its directory, with the Flow `crm`."""
    from tests.http.conftest import create_app

    directory = tmp_path_factory.mktemp("site")
    create_app(directory / "app.db")
    with closing(sqlite3.connect(directory / "app.db")) as db, db:
        db.execute(f"CREATE TABLE {LONG}(id INTEGER PRIMARY KEY)")
    pipeline = [sys.executable, "-m", "pipeline"]
    move = [*pipeline, "move", "app.db", "copy.db", "--flow", "crm"]
    subprocess.run(move, cwd=directory, check=True, capture_output=True, timeout=60)
    server = subprocess.Popen(
        [*pipeline, "serve", "--port", "0"], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert server.stdout is not None
    found = re.search(rb"http://\S+", server.stdout.readline())
    assert found
    yield found[0].decode(), directory
    server.terminate()
    assert server.wait(60) == 0
    server.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM is not None, "install chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def new_page(browser: Any, link: str, **options: Any) -> Any:
    """Return a page that has logged in, which fails when anything comes from another place or an error is shown."""
    page = browser.new_context(**options).new_page()
    origin = link.partition("?")[0]
    page.on(
        "request",
        lambda request: page.wrong.append(request.url) if not request.url.startswith((origin, "data:")) else None,
    )
    page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.wrong = []
    page.goto(link)
    return page


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 320), ("dark", 320)])
def test_no_page_has_an_accessibility_fault(site: tuple[str, Path], browser: Any, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    link, _ = site
    page = new_page(browser, link, color_scheme=scheme, viewport={"width": width, "height": 800})
    for path in PAGES:
        page.goto(link.partition("/?")[0] + path)
        found = Axe().run(page, options={"runOnly": WCAG}).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], path
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, path
    assert [text for text in page.wrong if "404" not in text] == []
    page.context.close()


def test_a_page_follows_a_movement_without_being_loaded_again(site: tuple[str, Path], browser: Any) -> None:
    link, directory = site
    page = new_page(browser, link)
    page.goto(link.partition("/?")[0] + "/flows/crm")
    page.evaluate("window.same = true")
    move = [sys.executable, "-m", "pipeline", "move", "app.db", "copy.db", "--flow", "crm"]
    subprocess.run(move, cwd=directory, check=True, capture_output=True, timeout=60)
    page.get_by_role("rowheader", name="2", exact=True).wait_for(timeout=20_000)
    assert page.evaluate("window.same") is True
    assert page.wrong == []
    page.context.close()


def test_a_page_whose_session_is_over_asks_to_log_in(site: tuple[str, Path], browser: Any) -> None:
    link, _ = site
    page = new_page(browser, link)
    page.goto(link.partition("/?")[0] + "/flows/crm")
    page.context.clear_cookies()
    page.get_by_role("heading", name="Log in").wait_for(timeout=20_000)
    page.context.close()


def test_a_keyboard_alone_is_enough(site: tuple[str, Path], browser: Any) -> None:
    link, _ = site
    page = new_page(browser, link)
    keys = ["Tab", "Enter"]
    for key in keys:
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.id") == "content"
    press_until(page, "crm")
    page.wait_for_url("**/flows/crm")
    press_until(page, "Start a Movement")
    page.get_by_text("READY").first.wait_for(timeout=10_000)
    for verb, status, asks in [("Pause", "PAUSED", True), ("Resume", "READY", False), ("Stop", "CANCELLED", True)]:
        press_until(page, verb)
        if asks:
            page.get_by_role("heading", name=verb).wait_for(timeout=10_000)
            press_until(page, verb)
        page.get_by_text(status).first.wait_for(timeout=20_000)
    page.context.close()


def test_a_keyboard_alone_checks_approves_and_compares(site: tuple[str, Path], browser: Any) -> None:
    link, directory = site
    create = [sys.executable, "-m", "pipeline", "flow", "create", "asked", "app.db", "asked.db"]
    subprocess.run(create, cwd=directory, check=True, capture_output=True, timeout=60)
    required = [sys.executable, "-m", "pipeline", "flow", "set", "asked", 'approvals.required=["source"]', "--yes"]
    subprocess.run(required, cwd=directory, check=True, capture_output=True, timeout=60)
    page = new_page(browser, link)
    for name, heading in [("asked", "asked"), ("Checks", "Checks")]:
        press_and_read(page, name, heading)
    press_until(page, "Run all checks")
    page.get_by_role("status").wait_for(timeout=20_000)
    for name, heading in [("asked", "asked"), ("Approvals", "Approvals")]:
        press_and_read(page, name, heading)
    press_until(page, "Approve for the source")
    page.get_by_text("start-up token approved on").wait_for(timeout=10_000)
    for name, heading in [("Flows", "Flows"), ("crm", "crm"), ("Verify", "Verify")]:
        press_and_read(page, name, heading)
    press_until(page, "Compare")
    page.get_by_role("status").wait_for(timeout=20_000)
    assert page.wrong == []
    page.context.close()


def press_and_read(page: Any, name: str, heading: str) -> None:
    """Press something that leads to the page with this heading."""
    press_until(page, name)
    page.get_by_role("heading", name=heading, level=1, exact=True).wait_for(timeout=10_000)


def press_until(page: Any, name: str) -> None:
    """Go from one thing to the next until one has this name, and press it."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText").strip() == name:
            page.keyboard.press("Enter")
            return
    pytest.fail(f"nothing on the page is called {name!r}")


def test_without_javascript_everything_can_be_read_and_done(site: tuple[str, Path], browser: Any) -> None:
    link, _ = site
    page = new_page(browser, link, java_script_enabled=False)
    page.get_by_role("link", name="crm").click()
    page.get_by_role("link", name="1", exact=True).first.click()
    page.get_by_role("heading", name="Movement 1").wait_for(timeout=5_000)
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Log in").wait_for(timeout=5_000)
    page.context.close()
