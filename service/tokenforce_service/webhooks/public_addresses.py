"""Addresses to which webhooks may be sent: public unicast addresses, and ranges that the operator allows.

A service that posts to any URL lets its users reach machines that only the service can reach (server-side request
forgery). Source: the IANA special-purpose registries (RFC 6890). They are listed here, because `is_global` of
`ipaddress` differs between patch releases of Python (3.11.7 takes 192.0.0.192 for public) and includes multicast.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NAT64 = ip_network("64:ff9b::/96")
"""The well-known prefix (RFC 6052): a network without IPv4 reaches the IPv4 address in the last 32 bits by it."""
_UNICAST = ip_network("2000::/3")
"""Global unicast (RFC 4291). Loopback, link-local, unique local and multicast addresses are outside of it."""
_NEVER: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by carriers (CGNAT), and Alibaba's metadata
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # metadata and agents of Azure, although it looks public
            "169.254.0.0/16",  # link-local, metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments, and Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays (RFC 7526: no longer in use)
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: hides an IPv4 address, and is no longer in use
            "3fff::/20",  # documentation (RFC 9637)
        ),
    )
)


def may_be_called(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """Whether a webhook may be sent to this address. `allowed`: ranges of the operator's own network."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        if address.ipv4_mapped is not None:
            return may_be_called(address.ipv4_mapped, allowed)
    if _is_in(address, allowed):
        return True
    if isinstance(address, IPv6Address):
        if address in NAT64:
            return may_be_called(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address not in _UNICAST:
            return False
    return not _is_in(address, _NEVER)


def parsed(text: str) -> Address | None:
    """An IP address in its usual form, otherwise None, as for `2130706433`, `0x7f.1` and `0177.0.0.1`."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)  # False for the other IP version
