"""Events of the public platform that are signed: an app verifies who sends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey

from pipeline.http.platform.signing import query_hash
from pipeline.http.site import PlatformProfile
from tests.http.conftest import create_app
from tests.http.flows import begin
from tests.http.platform_app import CONNECT, platform

SECRET, APP = "a secret of the app", "ari:cloud:ecosystem::app/1"


async def first_event(directory: Path, profile: PlatformProfile) -> tuple[dict[str, Any], str, Any]:
    """Return the headers of the first event that an app gets, its URL, and the public keys of the server if it has some."""
    create_app(directory / "app.db")
    async with platform(directory, profile) as (app, settings):
        await app.call("PUT", f"{CONNECT}/webhook", json={"endpoints": [f"{app.url}?b=2&a=1"]})
        await begin(settings)
        await app.event("listener-triggered")
        _, keys = await app.server.get("/.well-known/jwks.json", None)  # a problem, where there are none
        return {name.lower(): value for name, value in app.headers[0].items()}, app.url, keys


async def test_a_connect_app_verifies_an_event_with_the_secret_that_it_shares(tmp_path: Path) -> None:
    headers, url, keys = await first_event(tmp_path, PlatformProfile(secret=SECRET))
    scheme, _, token = headers["authorization"].partition(" ")
    claims = jwt.decode(token, OctKey.import_key(SECRET), algorithms=["HS256"]).claims
    assert (scheme, claims["exp"] - claims["iat"], len(claims["iss"])) == ("JWT", 180, 36)
    assert claims["qsh"] == query_hash("POST", f"{url}?a=1&b=2")
    assert claims["qsh"] != query_hash("POST", url)
    assert keys["status"] == 404


async def test_a_forge_app_verifies_an_invocation_token_with_the_public_key(tmp_path: Path) -> None:
    headers, _, keys = await first_event(tmp_path, PlatformProfile(app_id=APP))
    scheme, _, token = headers["authorization"].partition(" ")
    decoded = jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"])
    claims = decoded.claims
    assert (scheme, claims["iss"], claims["aud"]) == ("Bearer", "forge/invocation-token", APP)
    assert (claims["exp"] - claims["iat"], decoded.header["kid"]) == (25, keys["keys"][0]["kid"])
    assert {"id", "installationId", "environment"} <= claims["app"].keys()
    assert (len(headers["x-b3-traceid"]), len(headers["x-b3-spanid"]), "cloudId" in claims["context"]) == (32, 16, True)
    assert not {"d", "p", "q", "dp", "dq", "qi"} & keys["keys"][0].keys()


@pytest.mark.parametrize(
    ("url", "digest"),
    [  # by the platform's own library, atlassian-jwt 2.0.3
        (
            "https://a.b/x/y/?b=2&a=1&a=0&jwt=q&c=%20+z&d=a%2Cb&e",
            "cfa31dbcb858593190a1faa18549571a1f69b4fbae19fa9b23a2769b81fddb5e",
        ),
        ("https://a.b", "6dfb58321692d08d44565d1331846fc24e7dc08b33259d262f4eff79b21d8e05"),
        ("https://a.b/p&q", "7b4ddc7b663d999bbc0746b8de18d97f5b870eef4f7211aeb2968a24396a0c28"),
    ],
)
def test_the_hash_of_a_request_is_that_of_the_platform(url: str, digest: str) -> None:
    assert query_hash("POST", url) == digest
