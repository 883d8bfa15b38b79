"""What is done beside something else is never left behind."""

import asyncio

import pytest

from brownout.workload.beside import Beside


async def fail() -> None:
    raise ValueError("broken")


async def test_leaving_ends_what_has_not_ended() -> None:
    async with Beside() as beside:
        task = beside.begin(asyncio.sleep(30))
    assert task.cancelled()
    assert len(beside) == 0


async def test_leaving_raises_the_first_failure_and_one_takes_nothing_from_the_others() -> None:
    async def act() -> None:
        async with Beside() as beside:
            beside.begin(fail())
            beside.begin(asyncio.sleep(0.05)).add_done_callback(lambda task: done.append(task.cancelled()))
            await beside.ended()

    done: list[bool] = []
    with pytest.raises(ValueError, match="broken"):
        await act()
    assert done == [False]


async def test_what_fails_inside_goes_before_what_fails_beside() -> None:
    async def act() -> None:
        async with Beside() as beside:
            beside.begin(fail())
            await beside.ended()
            raise KeyError

    with pytest.raises(KeyError):
        await act()


async def test_the_end_is_waited_for_no_longer_than_asked() -> None:
    async with asyncio.timeout(5), Beside() as beside:
        beside.begin(asyncio.sleep(30))
        await beside.ended(0.05)
        assert len(beside) == 1
