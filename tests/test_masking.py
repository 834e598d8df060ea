"""Secrets that have been revealed are found in every form that the documentation names, and nothing else is masked."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.output.logs import configure_logs
from pipeline.domain.errors import UnreadableError
from pipeline.kit.loading.outcomes import RejectedError
from pipeline.log_events import log
from pipeline.masking import MASK, add_secret, forget_secrets, masked, masked_value
from pipeline.settings import Settings

SECRETS = (
    "very secret",
    "hunter2 xyz/+",
    "p'q\"z",
    "back\\slash\\\\es\\",
    'a\\"b\\',
    "two\nlines\tand more",
    "pässwörd-€-😀",
    "a&b=c%20d",
    "?>?>?>~~~",
)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "repr": repr,
    "ascii": ascii,
    "repr of repr": lambda secret: repr({"auth": repr(secret)}),
    "repr of bytes": lambda secret: repr(secret.encode()),
    "JSON": json.dumps,
    "JSON as it is": lambda secret: json.dumps(secret, ensure_ascii=False),
    "JSON in JSON": lambda secret: json.dumps(json.dumps({"auth": secret})),
    "repr of JSON": lambda secret: repr(json.dumps([secret])),
    "JSON of JavaScript": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "quote": quote,
    "quote all": lambda secret: quote(secret, safe=""),
    "quote_plus": quote_plus,
    "quote twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "URL-safe base64": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode().rstrip("="),
    "quoted base64": lambda secret: quote_plus(base64.b64encode(secret.encode()).decode()),
    "Basic": lambda secret: base64.b64encode(f"user:{secret}".encode()).decode(),
    "Basic of another user": lambda secret: base64.b64encode(f"sam.w:{secret}".encode()).decode(),
    "more base64": lambda secret: base64.b64encode(f"me:{secret}, and more".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_found_in_every_form(secret: str, form: str) -> None:
    add_secret(secret)
    written = FORMS[form](secret)
    around = masked(f"GET https://x/?token= {written} failed")
    quotes = around.removeprefix("GET https://x/?token= ").removesuffix(" failed")
    assert MASK in quotes
    rest = quotes.replace(MASK, "").replace("auth", "")
    assert set(rest) <= set("b\"'{}[]:= \\%57C2"), around


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=12))
def test_any_secret_is_found_in_text_that_python_writes(secret: str) -> None:
    forget_secrets()
    add_secret(secret)
    for written in (secret, repr(secret), ascii(secret), json.dumps(secret), quote(secret), quote_plus(secret)):
        assert MASK in masked(f"({written})")
    assert MASK in masked(base64.b64encode(f"user:{secret}".encode()).decode())


def test_lower_case_codes_are_found() -> None:
    add_secret("a/b c€")
    assert masked("x=a%2fb%20c%e2%82%ac!") == "x=***!"


def test_secrets_that_overlap_leave_nothing() -> None:
    add_secret("abcdef")
    add_secret("defghi")
    assert masked("<abcdefghi>") == "<***>"


def test_a_short_secret_is_not_masked_and_neither_is_another_text() -> None:
    add_secret("abc")
    add_secret("very secret")
    assert masked("abc, a very se cret thing: dmVyeQ==") == "abc, a very se cret thing: dmVyeQ=="


def test_a_long_text_is_masked_in_linear_time() -> None:
    for secret in SECRETS:
        add_secret(secret)
    began = time.perf_counter()
    for text in ("A" * 200_000, "\\" * 200_000, '\\"' * 100_000, "%25" * 60_000):
        assert masked(text) == text
    assert time.perf_counter() - began < 20


def test_errors_rejections_and_log_events_are_masked() -> None:
    add_secret("very secret")
    assert str(UnreadableError("the key ['very secret']")) == "the key ['***']"
    assert RejectedError("very secret is no key").reason == "*** is no key"
    seen = list[object]()
    with log.watched_by(lambda event, values: seen.append(values["reason"])):
        log.info("check_found", reason="very secret")
    assert seen == ["***"]


def test_json_stays_json() -> None:
    add_secret("123456")
    add_secret("nabcd")
    given = {"n": 123456, "x": ["\nabcd", "nabcd", True, None, 1.5], "123456": {}}
    assert masked_value(given) == {"n": MASK, "x": ["\nabcd", MASK, True, None, 1.5], MASK: {}}


def test_a_line_of_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    add_secret("1234")
    configure_logs(Settings(log_format="json", log_level="info"))
    log.info("x", rows=1234, path=Path("/1234"), nested=("a1234",))
    found = json.loads(capsys.readouterr().err)
    assert (found["rows"], found["nested"]) == (MASK, [f"a{MASK}"])
    assert "1234" not in found["path"]


def test_a_number_of_any_length_can_be_masked() -> None:
    assert masked_value(10**5000) == hex(10**5000)
