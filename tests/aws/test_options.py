"""AwsOptions: they are checked when they are created, and never show a secret."""

from __future__ import annotations

import pytest

from pipeline.aws.options import AwsOptions
from pipeline.aws.session import open_client
from pipeline.domain.errors import ConfigurationError


def test_no_repr_shows_a_secret() -> None:
    options = AwsOptions(access_key_id="AKIA1", secret_access_key="hush-hush", session_token="hushed-too")
    for text in (repr(options), str(options)):
        assert "AKIA1" in text
        assert "hush" not in text


def test_an_endpoint_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigurationError, match="must not hold a user") as raised:
        AwsOptions(endpoint_url="https://me:hush-hush@host:1")
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("url", ["localhost:4566", "ftp://host", "https://", ""])
def test_an_invalid_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not valid; write it as https"):
        AwsOptions(endpoint_url=url)


def test_half_a_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="belong together"):
        AwsOptions(access_key_id="AKIA1")


async def test_a_client_without_a_region_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ConfigurationError, match=r"use sqs.*set aws_region"):
        async with open_client("sqs", AwsOptions(access_key_id="a", secret_access_key="b")):
            pass


async def test_a_missing_profile_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ConfigurationError, match=r"nobody.*name a profile that exists"):
        async with open_client("s3", AwsOptions(endpoint_url="http://127.0.0.1:9")):
            pass
