"""Clients as the AWS configuration of the machine makes them: endpoints, redirects, CA bundles."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.aws.options import AwsOptions
from pipeline.aws.session import open_client, resolved_options
from pipeline.domain.errors import ConfigurationError, PipelineError
from pipeline.stores.s3.object_store import open_s3_store
from tests.aws.fault_proxy import Answer, fault_proxy

KEYS = AwsOptions(access_key_id="a", secret_access_key="b", region="us-east-1", tries=3, first_wait_seconds=0.001)


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")


def test_an_endpoint_of_the_environment_counts_as_one_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://stack:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store:2")
    assert resolved_options("s3", KEYS).endpoint_url == "http://store:2"
    assert resolved_options("sqs", KEYS).endpoint_url == "http://stack:1"
    assert resolved_options("sqs", AwsOptions(endpoint_url="http://set:3")).endpoint_url == "http://set:3"


def test_an_endpoint_of_a_profile_counts_as_one_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[profile lab]\nendpoint_url = http://lab:4\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert resolved_options("s3", AwsOptions()) == AwsOptions(endpoint_url="http://lab:4", region="us-east-1")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert resolved_options("s3", AwsOptions()).endpoint_url is None


async def test_a_redirect_is_not_followed_without_credentials() -> None:
    async with fault_proxy("http://127.0.0.1:9") as proxy:
        proxy.every(Answer(307, "TemporaryRedirect", (f"Location: {proxy.url}/elsewhere",)))
        with pytest.raises(PipelineError, match="TemporaryRedirect"):
            async with open_s3_store("data", aws=_at(proxy.url), path_style=True):
                pass
        assert {head.target.split("?")[0] for head in proxy.seen} == {"/data"}
        assert all("authorization" in head.headers for head in proxy.seen)


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_useless_ca_bundle_is_named(
    content: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    with pytest.raises(ConfigurationError, match=rf"the CA bundle {bundle} cannot be used: .*correct AWS_CA_BUNDLE"):
        async with open_client("s3", KEYS):
            pass


def _at(url: str) -> AwsOptions:
    return AwsOptions(url, "us-east-1", "a", "b", tries=2, first_wait_seconds=0.001)
