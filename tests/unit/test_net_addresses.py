"""Which addresses agents may open: only the public Internet, however an address is written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starlings.messages import ConfigError
from starlings_agents.net.addresses import Policy, closed, load_policy, read_networks

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.31.255.255", "192.168.1.1"),  # noqa: S104
        *("169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "168.63.129.16"),
        *("192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1"),
        *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:a9fe:a9fe", "::8.8.8.8", "::127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::", "2001::1"),
        *("2001:db8::1", "100::1", "5f00::1", "2001:4860:4860::8888%eth0"),
    ],
)
def test_what_is_not_of_the_public_internet_is_closed(address):
    assert closed(ip_address(address)) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "1.1.1.1", "2606:4700::1111"])
def test_the_public_internet_is_open(address):
    assert closed(ip_address(address)) is None


@given(st.sampled_from(PRIVATE), st.integers(min_value=0))
def test_no_ipv6_form_of_a_private_address_is_open(network, number):
    network = next(iter(read_networks(network)))
    inner = int(network[number % network.num_addresses])
    assert closed(IPv4Address(inner)) is not None
    for outer in ("::ffff:0:0", "64:ff9b::", "::"):
        assert closed(IPv6Address(int(ip_address(outer)) + inner)) is not None
    assert closed(IPv6Address(int(ip_address("2002::")) + (inner << 80))) is not None


def test_a_setting_opens_networks_and_ports_and_nothing_else(monkeypatch):
    monkeypatch.setenv("STARLINGS_FETCH_ALLOW", "10.1.0.0/16, 127.0.0.1")
    monkeypatch.setenv("STARLINGS_FETCH_PORTS", "443,8000-8002")
    policy = load_policy()
    assert policy.refusal(ip_address("10.1.2.3")) is None
    assert policy.refusal(ip_address("127.0.0.1")) is None
    assert policy.refusal(ip_address("10.2.0.1")) is not None
    assert policy.refusal(ip_address("::ffff:127.0.0.1")) is not None
    assert [port for port in range(70_000) if policy.opens_port(port)] == [443, 8000, 8001, 8002]


def test_without_a_setting_only_ports_of_the_web_are_open():
    assert not Policy().opens_port(22)
    assert Policy().opens_port(443)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("STARLINGS_FETCH_ALLOW", "10.0.0.1/8", "no network like"),
        ("STARLINGS_FETCH_ALLOW", "intranet", "no network like"),
        ("STARLINGS_FETCH_PORTS", "0", "1 to 65535"),
        ("STARLINGS_FETCH_PORTS", "90-80", "smaller one first"),
        ("STARLINGS_FETCH_PORTS", "http", "no port or range"),
        ("STARLINGS_FETCH_MAX_BYTES", "0", "1 to 5e7"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch, tmp_path, name, value, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name) as caught:
        load_policy()
    assert words in str(caught.value)
