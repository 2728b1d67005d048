"""Which addresses agents may connect to, where somebody else chose the address.

Only what the Internet routes is open: a request to this machine, its network or its cloud's
metadata service would speak with the rights of the machine. Forms of IPv6 that carry an IPv4
address (mapped, 6to4, Teredo, NAT64) are closed altogether, whatever they carry. `allow` opens
networks and `ports` says which ports, both by setting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from starlings.service.settings import load_settings
from starlings_agents.own_settings import OwnSettings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_PORT = 65_535

# What Python's tables count as global, or did in some version, and what has no business here.
_CLOSED = tuple(
    (ip_network(network), why)
    for network, why in (
        ("169.254.0.0/16", "link-local, where clouds keep their metadata service"),
        ("fe80::/10", "link-local"),
        ("fd00:ec2::/32", "a cloud's metadata service"),
        ("100.100.100.200/32", "a cloud's metadata service"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("100.64.0.0/10", "shared by a provider's customers"),
        ("192.88.99.0/24", "a relay of 6to4"),
        ("::ffff:0:0/96", "IPv4 mapped into IPv6"),
        ("::/96", "IPv4 within IPv6"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("2002::/16", "6to4"),
        ("2001::/32", "Teredo"),
        ("fec0::/10", "site-local"),
        ("5f00::/16", "segment routing"),
    )
)


class FetchSettings(OwnSettings):
    """What may be opened, and how much of it is read."""

    model_config = SettingsConfigDict(env_prefix="STARLINGS_FETCH_")

    allow: str = Field(
        default="",
        description="networks beside the public Internet, such as 10.1.0.0/16,127.0.0.1",
    )
    ports: str = Field(
        default="80,443,8080,8443", description="ports and ranges, such as 80,443,8000-8999"
    )
    max_bytes: int = Field(
        default=5_000_000, ge=1, le=50_000_000, description="bytes of an answer, unpacked: 1 to 5e7"
    )
    timeout_s: float = Field(
        default=20.0, gt=0, le=600, description="seconds for an answer, redirects included"
    )
    max_redirects: int = Field(default=5, ge=0, le=20, description="redirects followed: 0 to 20")

    @field_validator("allow")
    @classmethod
    def _networks(cls, value: str) -> str:
        read_networks(value)
        return value

    @field_validator("ports")
    @classmethod
    def _port_ranges(cls, value: str) -> str:
        read_ports(value)
        return value


@dataclass(frozen=True)
class Policy:
    """Where agents may connect to."""

    allow: tuple[Network, ...] = ()
    ports: tuple[range, ...] = (range(80, 81), range(443, 444))

    def refusal(self, address: Address) -> str | None:
        """Say why an address is closed; None: it is open."""
        if any(address in network for network in self.allow):
            return None
        return closed(address)

    def opens_port(self, port: int) -> bool:
        """Tell whether a port may be connected to."""
        return any(port in ports for ports in self.ports)


def load_policy() -> Policy:
    """Read from the settings where agents may connect to.

    Raises:
        ConfigError: naming what is wrong.
    """
    return policy_of(load_settings(FetchSettings))


def policy_of(settings: FetchSettings) -> Policy:
    """Read the policy out of settings."""
    return Policy(tuple(read_networks(settings.allow)), tuple(read_ports(settings.ports)))


def closed(address: Address) -> str | None:
    """Say why an address is not of the public Internet; None: it is."""
    for network, why in _CLOSED:
        if address in network:
            return why
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return "of one network interface"
    if address.is_loopback or address.is_unspecified:
        return "this machine"
    if address.is_multicast:
        return "multicast"
    if address.is_private or not address.is_global:
        return "private or reserved"
    return None


def read_address(text: str) -> Address:
    """Read an address as a resolver gives it, with its zone where it has one."""
    return ip_address(text)


def read_networks(text: str) -> Iterable[Network]:
    """Read networks and addresses, with commas in between.

    Raises:
        ValueError: naming the one that cannot be read.
    """
    networks: list[Network] = []
    for part in _parts(text):
        try:
            networks.append(ip_network(part))
        except ValueError:
            raise ValueError(f"has {part!r}, which is no network like 10.1.0.0/16") from None
    return networks


def read_ports(text: str) -> Iterable[range]:
    """Read ports and ranges of ports, with commas in between.

    Raises:
        ValueError: naming the one that cannot be read.
    """
    ranges: list[range] = []
    for part in _parts(text):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise ValueError(f"has {part!r}, which is no port or range like 8000-8999")
        ports = range(int(first), int(last or first) + 1)
        if not ports or ports.start < 1 or ports.stop > MAX_PORT + 1:
            raise ValueError(f"has {part!r}; ports are 1 to {MAX_PORT}, the smaller one first")
        ranges.append(ports)
    return ranges


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
