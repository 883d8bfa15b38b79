"""The safe layer on the Toxiproxy client, against real servers."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from itertools import count
from pathlib import Path

import aiohttp
import pytest
import toxiproxy.server
from aiohttp import web

from brownout.cell import Toxic
from brownout.cells.toxiproxy import Toxiproxy
from brownout.errors import CellError, FaultError
from brownout.mending import Journal, faults_of, mend
from brownout.servers import Addresses
from brownout.servers.ports import free_port

pytestmark = pytest.mark.servers

LATENCY = Toxic("latency", {"latency": 50})
ANY_PORT = "127.0.0.1:0"
_numbers = count()

StartToxiproxy = Callable[..., AbstractContextManager[str]]


@pytest.fixture
async def server(servers: Addresses) -> AsyncIterator[Toxiproxy]:
    async with Toxiproxy(servers.toxiproxy) as opened:
        yield opened
        for proxy in await opened.proxies():
            await opened.destroy(proxy.name)


@pytest.fixture
async def proxy(server: Toxiproxy) -> str:
    """The name of a proxy of the server's own API, which is an upstream that answers."""
    name = f"t{next(_numbers)}.orders.users.http.0"
    await server.create(name, ANY_PORT, server.address)
    return name


@asynccontextmanager
async def serving(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Answer every request as ``handler`` does; yields the address."""
    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield f"127.0.0.1:{port}"
    await runner.cleanup()


async def test_a_proxy_is_made_where_it_was_asked_for(server: Toxiproxy) -> None:
    listen = f"127.0.0.1:{free_port()}"
    state = await server.create("c1.a.b.http.0", listen, server.address)
    assert (state.listen, state.upstream, state.dirty) == (listen, server.address, False)


@pytest.mark.parametrize("name", ["c1/a", "", "C1", "c1..a", "c1.a b"])
async def test_a_name_that_would_break_a_path_is_refused(server: Toxiproxy, name: str) -> None:
    with pytest.raises(CellError, match="is no name"):
        await server.create(name, ANY_PORT, server.address)


@pytest.mark.parametrize("listen", ["localhost:0", ":0", "127.0.0.1", "0:x"])
async def test_a_proxy_listens_on_an_ip_address_only(server: Toxiproxy, listen: str) -> None:
    with pytest.raises(CellError, match="cannot listen"):
        await server.create("c1.a", listen, server.address)


async def test_a_taken_name_is_refused(server: Toxiproxy, proxy: str) -> None:
    with pytest.raises(CellError, match="already exists"):
        await server.create(proxy, ANY_PORT, server.address)


async def test_a_taken_port_is_refused_with_a_remedy(server: Toxiproxy, proxy: str) -> None:
    taken = (await server.state(proxy)).listen
    with pytest.raises(CellError, match=r"address already in use.*ip_local_port_range"):
        await server.create("c1.other", taken, server.address)


async def test_destroying_what_is_not_there_is_no_error(server: Toxiproxy, proxy: str) -> None:
    await server.destroy(proxy)
    await server.destroy(proxy)
    assert await server.proxies(proxy) == []


async def test_a_toxic_is_returned_as_the_server_has_it(server: Toxiproxy, proxy: str) -> None:
    said = await server.add(proxy, LATENCY)
    assert (said["type"], said["stream"], said["toxicity"]) == ("latency", "downstream", 1)
    assert said["attributes"] == {"latency": 50, "jitter": 0}


async def test_a_misspelt_attribute_is_refused_and_its_toxic_taken_off(server: Toxiproxy, proxy: str) -> None:
    with pytest.raises(FaultError, match="misspelt"):
        await server.add(proxy, Toxic("latency", {"latncy": 50}))
    assert not (await server.state(proxy)).dirty


async def test_an_unknown_toxic_is_refused(server: Toxiproxy, proxy: str) -> None:
    with pytest.raises(FaultError, match="invalid toxic type"):
        await server.add(proxy, Toxic("lateness", {"latency": 50}))


async def test_a_second_toxic_of_a_type_is_refused(server: Toxiproxy, proxy: str) -> None:
    await server.add(proxy, LATENCY)
    with pytest.raises(FaultError, match="already exists"):
        await server.add(proxy, LATENCY)


async def test_a_toxic_on_a_missing_proxy_is_refused(server: Toxiproxy) -> None:
    with pytest.raises(FaultError, match="proxy not found"):
        await server.add("c1.missing", LATENCY)


async def test_a_removed_toxic_is_gone(server: Toxiproxy, proxy: str) -> None:
    await server.add(proxy, LATENCY)
    await server.remove(proxy, LATENCY)
    assert (await server.state(proxy)).toxics == ()


async def test_removing_a_toxic_that_is_not_on_is_no_error(server: Toxiproxy, proxy: str) -> None:
    await server.remove(proxy, LATENCY)


async def test_removing_a_toxic_from_a_missing_proxy_is_an_error(server: Toxiproxy) -> None:
    with pytest.raises(FaultError, match="proxy not found"):
        await server.remove("c1.missing", LATENCY)


async def test_a_proxy_is_switched_off_and_on_at_the_same_port(server: Toxiproxy, proxy: str) -> None:
    listen = (await server.state(proxy)).listen
    assert not (await server.switch(proxy, on=False)).enabled
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*listen.split(":"))
    assert (await server.switch(proxy, on=True)).listen == listen
    _, writer = await asyncio.open_connection(*listen.split(":"))
    writer.close()


async def test_a_proxy_whose_port_was_taken_meanwhile_is_not_taken_for_on(server: Toxiproxy, proxy: str) -> None:
    listen = (await server.switch(proxy, on=False)).listen
    taken = socket.create_server(("127.0.0.1", int(listen.split(":")[1])))
    with taken, pytest.raises(FaultError, match="address already in use"):
        await server.switch(proxy, on=True)
    await server.switch(proxy, on=True)


async def test_what_is_left_of_faults_is_found_by_prefix(server: Toxiproxy) -> None:
    for name in ("c1.a", "c1.b", "c1.c", "c10.a"):
        await server.create(name, ANY_PORT, server.address)
    await server.switch("c1.a", on=False)
    await server.add("c1.b", LATENCY)
    await server.add("c10.a", LATENCY)
    assert [proxy.name for proxy in await server.dirty("c1.")] == ["c1.a", "c1.b"]


async def test_healing_lifts_everything_whoever_put_it_there(server: Toxiproxy, proxy: str) -> None:
    toxic = {"name": "mine", "type": "bandwidth", "stream": "upstream", "attributes": {"rate": 1}}
    async with aiohttp.ClientSession() as session:
        await session.post(f"http://{server.address}/proxies/{proxy}/toxics", json=toxic)
    await server.add(proxy, LATENCY)
    await server.switch(proxy, on=False)
    assert not (await server.heal(proxy)).dirty


async def test_bytes_are_counted_once_connections_close(server: Toxiproxy, proxy: str) -> None:
    listen = (await server.state(proxy)).listen
    reader, writer = await asyncio.open_connection(*listen.split(":"))
    request = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(request)
    await reader.readuntil(b"}")
    assert await server.carried(proxy) == {"upstream": 0, "downstream": 0}
    writer.close()
    async with asyncio.timeout(5):
        while not all((carried := await server.carried(proxy)).values()):  # noqa: ASYNC110  it is far away
            await asyncio.sleep(0.01)
    assert carried["upstream"] == len(request)
    assert carried["downstream"] > len(request)


async def test_a_server_that_counts_no_bytes_is_an_error(toxiproxy_server: StartToxiproxy) -> None:
    with toxiproxy_server() as address:
        async with Toxiproxy(address) as server:
            with pytest.raises(FaultError, match="-proxy-metrics"):
                await server.carried("c1.a")


async def test_two_servers_at_once_do_not_mix(server: Toxiproxy, toxiproxy_server: StartToxiproxy) -> None:
    names = [f"c{number}.a.b.http.0" for number in range(50)]
    with toxiproxy_server() as address:
        async with Toxiproxy(address) as other:
            await asyncio.gather(
                *(server.create(name, ANY_PORT, "127.0.0.1:1") for name in names),
                *(other.create(name, ANY_PORT, "127.0.0.1:2") for name in names),
            )
            ours, theirs = await asyncio.gather(server.proxies(), other.proxies())
    assert [proxy.upstream for proxy in ours] == ["127.0.0.1:1"] * 50
    assert [proxy.upstream for proxy in theirs] == ["127.0.0.1:2"] * 50


async def test_fifty_changes_at_once_each_reach_their_own_proxy(server: Toxiproxy) -> None:
    names = [f"c{number}.a" for number in range(50)]
    await asyncio.gather(*(server.create(name, ANY_PORT, "127.0.0.1:1") for name in names))
    toxics = [Toxic("latency", {"latency": number + 1}) for number in range(50)]
    await asyncio.gather(*map(server.add, names, toxics))
    states = await asyncio.gather(*map(server.state, names))
    assert [state.toxics[0]["attributes"]["latency"] for state in states] == list(range(1, 51))


async def test_a_change_that_undoes_a_cancelled_one_comes_after_it() -> None:
    log: list[str] = []

    async def answer_slowly(request: web.BaseRequest) -> web.Response:
        log.append(f"{request.method} begins")
        await asyncio.sleep(0.1)
        log.append(f"{request.method} ends")
        return web.json_response([])

    async with serving(answer_slowly) as address, Toxiproxy(address) as server:
        adding = asyncio.create_task(server.add("a", LATENCY))
        async with asyncio.timeout(5):
            while not log:  # noqa: ASYNC110  a list tells nobody that it has grown
                await asyncio.sleep(0.005)
        adding.cancel()
        await server.remove("a", LATENCY)
    assert log[:2] == ["POST begins", "POST ends"]
    assert log.index("DELETE begins") > 1


@pytest.fixture
async def liar() -> AsyncIterator[Toxiproxy]:
    """A server that says yes to everything and changes nothing: its one proxy is on and has a latency."""
    toxic = {"name": "latency_downstream", "type": "latency", "attributes": {"latency": 1}}
    state = {"name": "a", "listen": "127.0.0.1:1", "upstream": "127.0.0.1:2", "enabled": True}

    async def say(request: web.BaseRequest) -> web.Response:
        return web.json_response([toxic] if request.path.endswith("/toxics") else state)

    async with serving(say) as address, Toxiproxy(address) as opened:
        yield opened


async def test_a_switch_that_did_nothing_is_an_error(liar: Toxiproxy) -> None:
    with pytest.raises(FaultError, match="was switched off and is not"):
        await liar.switch("a", on=False)


async def test_a_removal_that_did_nothing_is_an_error(liar: Toxiproxy) -> None:
    with pytest.raises(FaultError, match="was removed and is still there"):
        await liar.remove("a", LATENCY)


def test_the_client_has_no_server_unless_one_is_bound() -> None:
    with pytest.raises(LookupError):
        toxiproxy.server.Toxiproxy().proxies()


async def test_proxy_settings_of_the_environment_are_ignored(
    server: Toxiproxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert await server.proxies() == []


async def test_a_server_that_is_gone_is_an_error() -> None:
    async with Toxiproxy(f"127.0.0.1:{free_port()}") as gone:
        with pytest.raises(CellError, match="refused"):
            await gone.proxies()


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with Toxiproxy(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2) as server:
            with pytest.raises(CellError, match="timed out"):
                await server.proxies()


@asynccontextmanager
async def broken(server: Toxiproxy, proxy: str, folder: Path) -> AsyncIterator[tuple[Toxiproxy, Journal]]:
    """A proxy that is off and holds a latency, as a journal says."""
    journal = Journal.begin(folder)
    async with Toxiproxy(server.address, journal=journal) as written:
        await written.add(proxy, LATENCY)
        await written.switch(proxy, on=False)
        yield written, journal
    journal.close()


def in_force(journal: Journal) -> list[str]:
    return [str(fault) for fault in faults_of(journal.path)]


async def test_what_is_broken_is_in_the_journal_until_it_is_undone(
    server: Toxiproxy, proxy: str, tmp_path: Path
) -> None:
    async with broken(server, proxy, tmp_path) as (written, journal):
        assert in_force(journal) == [f"latency_downstream on {proxy}", f"outage of {proxy}"]
        await written.remove(proxy, LATENCY)
        assert in_force(journal) == [f"outage of {proxy}"]
        await written.switch(proxy, on=True)
        assert in_force(journal) == []


@pytest.mark.parametrize("end", [Toxiproxy.heal, Toxiproxy.destroy])
async def test_nothing_is_in_force_on_a_proxy_that_was_healed_or_removed(
    server: Toxiproxy, proxy: str, tmp_path: Path, end: Callable[[Toxiproxy, str], Awaitable[object]]
) -> None:
    async with broken(server, proxy, tmp_path) as (written, journal):
        await end(written, proxy)
        assert in_force(journal) == []


async def test_a_server_is_mended_from_the_journal_alone(server: Toxiproxy, proxy: str, tmp_path: Path) -> None:
    async with broken(server, proxy, tmp_path) as (_, journal):
        pass
    mended = await asyncio.to_thread(mend, journal.path)
    assert mended.done == (f"outage of {proxy}: switched on", f"latency_downstream on {proxy}: taken off")
    assert not (await server.state(proxy)).dirty


async def test_what_cannot_be_written_down_is_not_done(server: Toxiproxy, proxy: str, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "full", os.open("/dev/full", os.O_WRONLY))
    async with Toxiproxy(server.address, journal=journal) as written:
        with pytest.raises(FaultError, match="cannot be written"):
            await written.switch(proxy, on=False)
    journal.close()
    assert not (await server.state(proxy)).dirty
