"""The configuration against a small Consul on loopback: clause 5."""

import asyncio
import logging
import math
import socket
import time
from collections.abc import AsyncIterator
from functools import partial

import pytest

from brownout_shop.discovery.configuration import Configuration, KeyNotFoundError
from brownout_shop.discovery.fake import FakeConsul
from brownout_shop.resilience.limiter import Limiter
from brownout_shop.users.app import limit
from wires import until

KEY = "users/rate_limit_rps"


@pytest.fixture
async def consul() -> AsyncIterator[FakeConsul]:
    async with FakeConsul() as consul:
        yield consul


@pytest.fixture
async def configuration(consul: FakeConsul) -> AsyncIterator[Configuration]:
    async with Configuration(consul.url, "c1") as configuration:
        yield configuration


async def waiting(consul: FakeConsul, index: int) -> None:
    """Return once a query waits for what is newer than an index."""
    await until(lambda: consul.queries and consul.queries[-1]["index"] == str(index))


async def test_what_was_set_is_there_below_the_prefix_of_the_cell(
    configuration: Configuration, consul: FakeConsul
) -> None:
    await configuration.set(KEY, "20")
    assert await configuration.get(KEY) == "20"
    assert consul.keys == {f"c1/{KEY}": ("20", 101)}


async def test_an_empty_value_is_a_value(configuration: Configuration) -> None:
    await configuration.set(KEY, "")
    assert await configuration.get(KEY) == ""


async def test_a_key_that_is_not_there_is_an_error(configuration: Configuration, consul: FakeConsul) -> None:
    await consul.write(f"c2/{KEY}", "another cell's")
    with pytest.raises(KeyNotFoundError, match=f"key not found: {KEY}"):
        await configuration.get(KEY)


async def test_a_watch_tells_what_is_there_and_each_change_at_once(
    configuration: Configuration, consul: FakeConsul
) -> None:
    await consul.write(f"c1/{KEY}", "5")
    values: list[str] = []
    configuration.watch(KEY, values.append)
    await until(lambda: values == ["5"])
    for number in range(1, 4):
        await consul.write(f"c1/{KEY}", str(number))
        await until(lambda number=number: values[-1] == str(number), within_s=1)
    assert consul.queries[0] == {"index": "0", "wait": "10s"}
    assert [query["index"] for query in consul.queries[:4]] == ["0", "101", "102", "103"]


async def test_a_watch_waits_for_a_key_that_is_not_there_without_asking_again_and_again(
    configuration: Configuration, consul: FakeConsul
) -> None:
    values: list[str] = []
    configuration.watch(KEY, values.append)
    await waiting(consul, 100)
    await asyncio.sleep(0.3)
    assert len(consul.queries) == 2
    await consul.write(f"c1/{KEY}", "5")
    await until(lambda: values == ["5"], within_s=1)


async def test_other_keys_do_not_concern_a_watch(configuration: Configuration, consul: FakeConsul) -> None:
    values: list[str] = []
    configuration.watch(KEY, values.append)
    await consul.write(f"c1/{KEY}", "5")
    await waiting(consul, 101)
    await consul.write("c1/users/other", "6")
    await consul.write(f"c2/{KEY}", "7")
    await asyncio.sleep(0.2)
    assert values == ["5"]


async def test_the_same_value_written_again_is_told_again(configuration: Configuration, consul: FakeConsul) -> None:
    values: list[str] = []
    configuration.watch(KEY, values.append)
    for index in (101, 102):
        await consul.write(f"c1/{KEY}", "5")
        await waiting(consul, index)
    assert values == ["5", "5"]


async def test_a_key_that_is_deleted_says_nothing_and_is_seen_when_it_comes_back(
    configuration: Configuration, consul: FakeConsul
) -> None:
    values: list[str] = []
    configuration.watch(KEY, values.append)
    for value, index in (("5", 101), (None, 102), ("6", 103)):
        await consul.write(f"c1/{KEY}", value)
        await waiting(consul, index)
    assert values == ["5", "6"]


async def test_an_agent_that_counts_from_the_start_again_is_heard(
    configuration: Configuration, consul: FakeConsul
) -> None:
    values: list[str] = []
    configuration.watch(KEY, values.append)
    await consul.write(f"c1/{KEY}", "5")
    await waiting(consul, 101)
    await consul.write(f"c1/{KEY}", "6", index=3)
    await waiting(consul, 3)
    await consul.write(f"c1/{KEY}", "7")
    await until(lambda: values == ["5", "6", "7"], within_s=1)
    assert "0" in [query["index"] for query in consul.queries[1:]]


async def test_after_an_error_it_waits_5_s_and_goes_on_though_the_index_is_the_same() -> None:
    values: list[str] = []
    async with FakeConsul() as first:
        port = int(first.url.rpartition(":")[2])
        await first.write(f"c1/{KEY}", "5")
        configuration = Configuration(first.url, "c1")
        await configuration.__aenter__()
        configuration.watch(KEY, values.append)
        await waiting(first, 101)
    lost_s = time.monotonic()
    async with FakeConsul(port) as second:
        await second.write(f"c1/{KEY}", "6")
        await until(lambda: values == ["5", "6"], within_s=7)
        assert 4.9 < time.monotonic() - lost_s < 6.5
        await waiting(second, 101)
        await configuration.__aexit__()


async def test_a_silent_agent_is_left_after_the_wait_and_3_s(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:  # the kernel accepts, nobody answers
        async with Configuration(f"http://127.0.0.1:{hole.getsockname()[1]}", "c1") as configuration:
            began_s = time.monotonic()
            configuration.watch(KEY, print)
            await until(lambda: "goes on in 5 s" in caplog.text, within_s=15)
            assert 12.9 < time.monotonic() - began_s < 14.5  # aiohttp rounds up to a whole second


async def test_a_value_that_nobody_can_use_is_logged_and_does_not_make_the_watch_deaf(
    configuration: Configuration, consul: FakeConsul, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = Limiter(200, 200)
    configuration.watch(KEY, partial(limit, limiter))
    with caplog.at_level(logging.WARNING):
        for index, value in enumerate(("none", "", "0", "-5", "nan", "inf"), start=101):
            await consul.write(f"c1/{KEY}", value)
            await waiting(consul, index)
            assert (limiter.limit, limiter.burst) == (200, 200)
            assert caplog.records[-1].getMessage().startswith(f"{KEY} = {value!r} is ignored: ")
    await consul.write(f"c1/{KEY}", "5")
    await until(lambda: limiter.limit == 5, within_s=1)
    assert limiter.burst == 5


@pytest.mark.parametrize(("rps", "burst"), [("5", 5), ("2.5", 3), ("0.1", 1)])
def test_the_bucket_holds_as_many_as_pass_in_a_second(rps: str, burst: int) -> None:
    limiter = Limiter(200, 200)
    limit(limiter, rps)
    assert (limiter.limit, limiter.burst) == (float(rps), burst)


def test_a_lower_limit_holds_at_once_and_a_higher_one_brings_no_tokens() -> None:
    now_ns = 0
    limiter = Limiter(20, 20, clock=lambda: now_ns)
    limit(limiter, "5")
    assert limiter.tokens() == 5
    limit(limiter, "20")
    assert limiter.tokens() == 5
    now_ns = 10**9
    assert math.isclose(limiter.tokens(), 20)
