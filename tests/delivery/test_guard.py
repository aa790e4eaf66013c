"""Can anybody make us talk to the inside? Every vector, with a sink that must not see one connection."""

import asyncio
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import pytest
import pytest_asyncio

from zvonar.delivery import guard
from zvonar.delivery.guard import AddressRefused, SocketGuard, checked, networks
from zvonar.delivery.post import Poster
from zvonar.delivery.verdict import Failure

from ..ports import free_port

INSIDE = {
    "this network": "0.0.0.0",
    "private 10": "10.1.2.3",
    "private 172": "172.31.255.255",
    "private 192": "192.168.0.1",
    "carrier NAT": "100.64.0.1",
    "loopback": "127.0.0.1",
    "loopback elsewhere": "127.255.255.254",
    "link-local": "169.254.1.1",
    "metadata": "169.254.169.254",
    "metadata of Alibaba": "100.100.100.200",
    "metadata of Oracle": "192.0.0.192",
    "platform of Azure": "168.63.129.16",
    "documentation": "203.0.113.9",
    "benchmarks": "198.19.0.1",
    "6to4 relay": "192.88.99.1",
    "multicast": "224.0.0.251",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "unspecified 6": "::",
    "loopback 6": "::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped public": "::ffff:8.8.8.8",
    "compatible": "::127.0.0.1",
    "translated": "::ffff:0:127.0.0.1",
    "NAT64": "64:ff9b::7f00:1",
    "NAT64 of a network's own": "64:ff9b:1::7f00:1",
    "6to4": "2002:7f00:1::1",
    "Teredo": "2001:0:7f00:1::1",
    "ORCHID": "2001:20::1",
    "documentation 6": "2001:db8::1",
    "documentation 6 too": "3fff::1",
    "unique local": "fd00:ec2::254",
    "link-local 6": "fe80::1",
    "link-local 6 with its link": "fe80::1%lo",
    "site-local": "fec0::1",
    "multicast 6": "ff02::1",
    "segment routing": "5f00::1",
    "not given out": "4000::1",
    "a name": "localhost",
    "nothing": "",
}
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450::1",
]

# {port} is the sink's. Each of these reaches it, or would reach something else inside, unless it is stopped.
URLS = [
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://127.000.000.001:{port}/",
    "http://１２７.0.0.1:{port}/",
    "http://①②⑦.0.0.1:{port}/",
    "http://127。0。0。1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "https://127.0.0.1:{port}/",
    "http://public.example:{port}/",  # a name that leads inside
    "http://changing.example:{port}/",  # led elsewhere when it was looked up before
    "http://both.example:{port}/",
    "http://user@127.0.0.1:{port}/",
    "http://user:secret@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://example.com:80@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http:127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}",
    "ftp://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/",
    "unix:///var/run/docker.sock",
    "ws://127.0.0.1:{port}/",
    "http://",
    "http:///",
    "http://[::1",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:{port}\r\nX: y/",
    "",
]
VECTORS = {
    **{url or "empty": url for url in URLS},
    **{
        name: f"http://[{host}]:{{port}}/" if ":" in host else f"http://{host}:{{port}}/"
        for name, host in INSIDE.items()
    },
}


class Sink:
    """Counts who comes."""

    def __init__(self) -> None:
        self.visits = 0
        self.port = 0

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()


@pytest_asyncio.fixture
async def sink() -> AsyncIterator[Sink]:
    sink = Sink()
    sink.port = free_port()
    server = await asyncio.start_server(sink.welcome, "127.0.0.1", sink.port)
    servers = [server]
    if socket.has_ipv6:
        servers.append(await asyncio.start_server(sink.welcome, "::1", sink.port))
    yield sink
    for listening in servers:
        listening.close()
        await listening.wait_closed()


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that look public and lead inside; no question leaves this machine."""
    real = socket.getaddrinfo
    asked: list[str] = []

    def answer(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name == "public.example":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        if name == "both.example":
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            ]
        if name == "changing.example":
            asked.append(name)
            inside = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
            fine = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
            return [fine if len(asked) == 1 else inside]
        numeric = name.strip(".").replace(".", "").replace(":", "")
        if name.rstrip(".").lower() != "localhost" and not all(
            c in "0123456789abcdefxABCDEF" for c in numeric
        ):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return real(host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.parametrize("url", VECTORS.values(), ids=VECTORS)
@pytest.mark.usefixtures("resolver")
@pytest.mark.asyncio
async def test_no_vector_makes_a_connection(url: str, sink: Sink) -> None:
    for method in ("POST", "GET"):
        # A name may have been fine before: it is looked up, and judged, for every connection.
        socket.getaddrinfo("changing.example", 80)
        async with Poster(timeout=5.0) as poster:
            answer = await poster.post(url.format(port=sink.port), b"{}", {}, method=method)
        assert answer.status is None
        assert answer.failure in (Failure.guarded, Failure.resolve, Failure.broken)
    assert sink.visits == 0


@pytest.mark.usefixtures("resolver")
@pytest.mark.asyncio
async def test_a_resolver_that_changes_its_answer_changes_the_verdict(sink: Sink) -> None:
    url = f"http://changing.example:{sink.port}/"
    async with Poster(allowed=networks(["::1/128"]), timeout=5.0) as poster:
        assert (await poster.post(url, b"{}", {})).status == 200
    async with Poster(allowed=networks(["::1/128"]), timeout=5.0) as poster:
        assert (await poster.post(url, b"{}", {})).failure is Failure.guarded
    assert sink.visits == 1


@pytest.mark.asyncio
async def test_at_a_public_address_only_web_ports_are_dialled(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "is_public", lambda _: True)
    url = f"http://127.0.0.1:{sink.port}/"
    async with Poster(timeout=5.0) as poster:
        with monkeypatch.context() as closed:
            closed.setattr(guard, "_CLOSED_PORTS", frozenset([sink.port]))
            assert (await poster.post(url, b"{}", {})).failure is Failure.guarded
            assert sink.visits == 0
        assert (await poster.post(url, b"{}", {})).status == 200


@pytest.mark.parametrize("port", [80, 443, 1024, 3000, 8000, 8080, 8443, 9000, 49152, 65535])
def test_a_web_port_is_open(port: int) -> None:
    assert SocketGuard().permits("8.8.8.8", port)


@pytest.mark.parametrize(
    "port",
    [
        *(0, 21, 22, 23, 25, 53, 81, 110, 143, 389, 445, 465, 587, 631, 853, 993, 1023, 65536),
        *(2375, 2379, 3306, 3389, 5038, 5060, 5432, 5672, 5900, 6000, 6379, 6667, 8500, 9200, 10250, 11211),
    ],
)
def test_other_ports_are_closed_except_in_opened_networks(port: int) -> None:
    assert not SocketGuard().permits("8.8.8.8", port)
    assert SocketGuard(networks(["8.8.8.0/24"])).permits("8.8.8.8", port)


@pytest.mark.asyncio
async def test_the_sink_would_see_a_connection(sink: Sink) -> None:
    async with Poster(allowed=networks(["127.0.0.0/8"]), timeout=5.0) as poster:
        answer = await poster.post(f"http://127.0.0.1:{sink.port}/", b"{}", {})
        assert (answer.status, answer.failure, sink.visits) == (200, None, 1)
        # An opened network opens nothing else, whatever clothes it wears.
        for host in ("[::1]", "[::ffff:127.0.0.1]"):
            refused = await poster.post(f"http://{host}:{sink.port}/", b"{}", {})
            assert refused.failure is Failure.guarded
    assert sink.visits == 1


@pytest.mark.usefixtures("resolver")
@pytest.mark.asyncio
async def test_a_name_is_judged_by_each_address_that_is_dialled(sink: Sink) -> None:
    async with Poster(allowed=networks(["::1/128"]), timeout=5.0) as poster:
        answer = await poster.post(f"http://both.example:{sink.port}/", b"{}", {})
        refused = await poster.post(f"http://public.example:{sink.port}/", b"{}", {})
    assert (answer.status, refused.failure, sink.visits) == (200, Failure.guarded, 1)


@pytest.mark.parametrize("proxy", ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"])
@pytest.mark.asyncio
async def test_a_proxy_of_the_environment_is_not_used(
    proxy: str, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(proxy, f"http://127.0.0.1:{sink.port}")
    async with Poster(timeout=5.0) as poster:
        assert (await poster.post("http://10.0.0.1/", b"{}", {})).failure is Failure.guarded
    assert sink.visits == 0


@pytest.mark.parametrize("host", list(INSIDE.values()), ids=list(INSIDE))
def test_what_is_inside_is_closed(host: str) -> None:
    closed = SocketGuard()
    assert not closed.permits(host, 443)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with pytest.raises(AddressRefused, match="ZVONAR_ALLOW_NETWORKS"):
        closed((family, socket.SOCK_STREAM, 6, "", (host, 80)))


@pytest.mark.parametrize("host", PUBLIC)
def test_what_is_public_is_open(host: str) -> None:
    assert SocketGuard().permits(host, 443)


def test_only_the_internet_protocol_is_spoken() -> None:
    with pytest.raises(AddressRefused):
        SocketGuard([ip_network("0.0.0.0/0")])((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 80)))


def test_named_networks_are_opened() -> None:
    opened = SocketGuard(networks(["10.1.0.0/16", " fd00::/8"]))
    assert opened.permits("10.1.2.3", 5432)
    assert opened.permits("fd00::1", 22)
    assert not opened.permits("10.2.0.1", 443)
    with pytest.raises(ValueError, match="does not appear to be"):
        networks(["everything"])


def test_an_address_is_http_with_a_host_and_without_credentials() -> None:
    assert str(checked("https://example.com:8443/a?b=c")) == "https://example.com:8443/a?b=c"
    for address in ("https://a:b@example.com/", "ftp://example.com/", "https://", "example.com"):
        with pytest.raises(AddressRefused):
            checked(address)
