"""Opening addresses that somebody else chose: real servers on loopback, hostile ones among them."""

from __future__ import annotations

import gzip
import itertools
import socket
import time
import tracemalloc
import zlib
from ipaddress import ip_address, ip_network

import pytest
from support.web_server import Page, web_server

from starlings import StepFailed, TransientError
from starlings.messages import StarlingsError
from starlings_agents.net.addresses import Policy
from starlings_agents.net.fetching import Asked, Limits, fetch
from starlings_agents.net.guard import GuardedNetwork

ANY_PORT = (range(1, 65_536),)
HERE = Policy((ip_network("127.0.0.1"),), ANY_PORT)
MIB = 1024 * 1024


@pytest.fixture
def web():
    with web_server() as served:
        yield served


@pytest.fixture
def inside():
    """A server at an address that is not open, and that would tell a secret."""
    with web_server("127.0.0.2") as served:
        served.pages["/"] = Page("keys of the cloud")
        yield served


async def get(url, *, policy=HERE, method="GET", body=None, **more):
    limits = Limits(**{"size_bytes": MIB, "time_s": 30, "redirects": 3, **more})
    return await fetch(Asked(url, method, body=body), policy=policy, limits=limits)


async def refused(url, **more):
    with pytest.raises(StepFailed) as caught:
        await get(url, **more)
    assert not caught.value.retryable
    return caught.value


async def test_a_page_comes_with_its_address_status_and_type(web):
    web.pages["/a"] = Page("hällo", type="Text/HTML; Charset=UTF-8")
    page = await get(f"{web.url}/a?q=1")
    assert (page.status, page.body.decode(), page.media_type) == (200, "hällo", "text/html")
    assert (page.url, page.charset) == (f"{web.url}/a?q=1", "utf-8")
    assert web.asked[0].headers["host"] == f"127.0.0.1:{web.port}"


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_packed_pages_are_unpacked(web, pack):
    text = b"star" * 100_000
    encoding = "gzip" if pack is gzip.compress else "deflate"
    web.pages["/"] = Page(pack(text), headers={"content-encoding": encoding})
    assert (await get(web.url)).body == text


async def test_several_gzip_members_and_bare_deflate_are_unpacked(web):
    members = gzip.compress(b"one ") + gzip.compress(b"two")
    web.pages["/gzip"] = Page(members, headers={"content-encoding": "x-gzip"})
    assert (await get(f"{web.url}/gzip")).body == b"one two"
    bare = zlib.compressobj(wbits=-15)
    data = bare.compress(b"bare " * 1000) + bare.flush()
    web.pages["/bare"] = Page(data, headers={"content-encoding": "deflate"})
    assert (await get(f"{web.url}/bare")).body == b"bare " * 1000


async def test_of_a_page_of_200_megabytes_little_is_read(web):
    sent = itertools.count()
    pieces = (
        b"x" * MIB for _ in itertools.takewhile(lambda _: next(sent) < 200, itertools.count())
    )
    web.pages["/"] = Page(pieces, headers={"content-length": str(200 * MIB)})
    error = await refused(web.url)
    assert error.code == "too_large"
    assert "STARLINGS_FETCH_MAX_BYTES" in str(error)
    assert next(sent) < 50


async def test_a_gzip_bomb_is_left_at_the_limit_and_takes_no_memory(web):
    bomb = gzip.compress(bytes(200 * MIB), compresslevel=9)
    assert len(bomb) < MIB
    web.pages["/"] = Page(bomb, headers={"content-encoding": "gzip"})
    tracemalloc.start()
    try:
        error = await refused(web.url)
        assert tracemalloc.get_traced_memory()[1] < 20 * MIB
    finally:
        tracemalloc.stop()
    assert error.code == "too_large"


async def test_an_endless_row_of_empty_gzip_members_ends_at_the_limit(web):
    empty = gzip.compress(b"") * 10_000
    web.pages["/"] = Page(itertools.repeat(empty), headers={"content-encoding": "gzip"})
    assert (await refused(web.url)).code == "too_large"


@pytest.mark.parametrize(
    ("encoding", "body", "code"),
    [
        ("br", b"\x8b\x02\x80", "encoding_unsupported"),
        ("gzip, gzip", b"", "encoding_unsupported"),
        ("gzip", b"no gzip at all", "encoding_broken"),
        ("gzip", gzip.compress(b"x" * 1000, mtime=0)[:20], "encoding_broken"),
    ],
)
async def test_encodings_that_cannot_be_read_are_named(web, encoding, body, code):
    web.pages["/"] = Page(body, headers={"content-encoding": encoding})
    assert (await refused(web.url)).code == code


@pytest.mark.parametrize(
    "goal",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "//169.254.169.254/x",
        "http://2852039166/",
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_the_metadata_service_is_refused(web, goal, status):
    web.pages["/"] = Page(status=status, headers={"location": goal})
    error = await refused(web.url)
    assert error.code == "address_forbidden"
    assert "STARLINGS_FETCH_ALLOW" in str(error)


async def test_a_redirect_to_a_closed_address_never_arrives_there(web, inside):
    web.pages["/"] = Page(status=302, headers={"location": inside.url})
    assert (await refused(web.url)).code == "address_forbidden"
    assert inside.asked == []


async def test_redirects_are_followed_a_few_times(web):
    web.pages["/"] = Page(status=302, headers={"location": "b?x=1"})
    web.pages["/b"] = Page("here")
    page = await get(web.url)
    assert (page.body, page.url) == (b"here", f"{web.url}/b?x=1")
    web.pages["/b"] = Page(status=302, headers={"location": "/"})
    assert (await refused(web.url)).code == "too_many_redirects"


async def test_what_has_an_effect_is_not_sent_on_by_a_redirect(web):
    web.pages["/"] = Page(status=307, headers={"location": "/b"})
    assert (await get(web.url, method="POST", body=b"pay")).status == 307
    assert len(web.asked) == 1


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.1", "0x7f.0.0.1", "2130706433", "0", "[::1]", "[::ffff:127.0.0.1]"],
)
async def test_a_name_or_odd_spelling_of_this_machine_is_refused(web, host):
    error = await refused(f"http://{host}:{web.port}/", policy=Policy(ports=ANY_PORT))
    assert error.code == "address_forbidden"
    assert web.asked == []


async def test_a_name_that_resolves_to_a_private_address_is_refused(inside):
    async def resolve(_host, _port):
        return [ip_address("127.0.0.2")]

    network = GuardedNetwork(HERE, resolve=resolve)
    asked = Asked(f"http://innocent.example:{inside.port}/")
    with pytest.raises(StepFailed, match=r"innocent\.example is 127\.0\.0\.2") as caught:
        await fetch(asked, policy=HERE, limits=Limits(), network=network)
    assert caught.value.code == "address_forbidden"
    assert inside.asked == []


async def test_a_name_that_resolves_otherwise_a_moment_later_gains_nothing(web, inside):
    answers = itertools.chain(["127.0.0.1"], itertools.repeat("127.0.0.2"))
    questions = []

    async def resolve(host, port):
        questions.append((host, port))
        return [ip_address(next(answers))]

    web.pages["/"] = Page("what is open")
    network = GuardedNetwork(HERE, resolve=resolve)
    asked = Asked(f"http://rebinding.example:{web.port}/")
    page = await fetch(asked, policy=HERE, limits=Limits(), network=network)
    assert page.body == b"what is open"
    assert len(questions) == 1  # the address that was checked is the one that was connected to
    with pytest.raises(StepFailed):  # and the next connection is checked anew
        await fetch(asked, policy=HERE, limits=Limits(), network=network)
    assert inside.asked == []


async def test_a_name_with_open_and_closed_addresses_leads_to_the_open_one(web, inside):
    async def resolve(_host, _port):
        return [ip_address("127.0.0.2"), ip_address("127.0.0.1")]

    web.pages["/"] = Page("open")
    network = GuardedNetwork(HERE, resolve=resolve)
    asked = Asked(f"http://both.example:{web.port}/")
    assert (await fetch(asked, policy=HERE, limits=Limits(), network=network)).body == b"open"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://example.org/", "url_invalid"),
        ("file:///etc/passwd", "url_invalid"),
        ("gopher://127.0.0.1:25/", "url_invalid"),
        ("//example.org/", "url_invalid"),
        ("http:///x", "url_invalid"),
        ("http://user:secret@example.org/", "url_invalid"),
        ("http://[::1/", "url_invalid"),
        ("http://a:99999/", "port_forbidden"),
        ("", "url_invalid"),
        ("http://8.8.8.8:22/", "port_forbidden"),
        ("http://8.8.8.8:6379/", "port_forbidden"),
    ],
)
async def test_addresses_that_may_not_be_opened_are_told_apart(url, code):
    error = await refused(url, policy=Policy())
    assert error.code == code
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("number", "code", "retryable"),
    [(socket.EAI_NONAME, "unknown_host", False), (socket.EAI_AGAIN, "unreachable", True)],
)
async def test_a_name_nobody_knows_is_told_from_a_resolver_that_is_away(number, code, retryable):
    async def resolve(_host, _port):
        raise socket.gaierror(number, "said the resolver")

    network = GuardedNetwork(HERE, resolve=resolve)
    with pytest.raises(StarlingsError, match=r"nobody\.example") as caught:
        await fetch(Asked("http://nobody.example/"), policy=HERE, limits=Limits(), network=network)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)


async def test_a_page_that_trickles_is_left_after_the_time_limit(web):
    web.pages["/"] = Page(hangs=True)
    began = time.monotonic()
    with pytest.raises(TransientError, match="STARLINGS_FETCH_TIMEOUT_S") as caught:
        await get(web.url, time_s=0.1)
    assert caught.value.code == "fetch_timeout"
    assert time.monotonic() - began < 20


async def test_a_server_that_is_not_there_may_come_back():
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(TransientError) as caught:
            await get(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert caught.value.code == "unreachable"
