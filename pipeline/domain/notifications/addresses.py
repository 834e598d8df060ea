"""Where a notification may go: only to public addresses, unless a network is allowed by name.

A receiver's URL comes from a person or another system. Without this rule it could make a notifier send requests to
services of its own network, such as the metadata service of a cloud.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pipeline.domain.errors import ConfigurationError

Network = IPv4Network | IPv6Network

_REFUSED = tuple(
    map(
        ip_network,
        (
            "100.64.0.0/10", "169.254.0.0/16", "192.88.99.0/24", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32",
            "2002::/16", "fec0::/10",
        ),
    )
)  # fmt: skip
"""Networks that `is_global` does not exclude in every release of Python, or that embed an address of another network."""


def parse_networks(texts: Sequence[str]) -> Sequence[Network]:
    """Return networks such as 10.1.0.0/16. ConfigurationError names the first one that is none."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ip_network(text))
        except ValueError:
            raise ConfigurationError(f"{text!r} is no network. Write one such as 10.1.0.0/16 or fd00::/8.") from None
    return found


def is_refused(address: str, allowed: Sequence[Network]) -> bool:
    """Whether no notification goes to this address, in numbers, because it is not public and not in `allowed`."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip in network for network in allowed if network.version == ip.version):
        return False
    embedded = any(ip in network for network in _REFUSED if network.version == ip.version)
    return not ip.is_global or ip.is_multicast or ip.is_reserved or embedded
