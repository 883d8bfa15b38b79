"""Copies of a project's containers: what they have of it, and that they are gone whatever becomes of the runner."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from brownout.cells.project import COPY, Project, project
from brownout.errors import CellError, FaultError
from brownout.mending import Journal, Undo, faults_of, mend, undoing
from small_engine import COMPOSE, NETWORK, PROJECT, SmallEngine, original


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallEngine]:
    with SmallEngine(tmp_path / "docker.sock") as server:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{server.path}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    begun = Journal.begin(tmp_path / "journals")
    yield begun
    begun.close()


@pytest.fixture
async def there(engine: SmallEngine, journal: Journal) -> AsyncIterator[Project]:
    del engine
    async with project(PROJECT, journal) as held:
        yield held


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the engine is in other threads
            await asyncio.sleep(0.01)


async def test_a_copy_has_the_image_settings_and_limits_of_theoriginal(engine: SmallEngine, there: Project) -> None:
    copy = there.copy_of("c1-users-0")
    await there.make(copy, "users", "users-0.c1", {"CELL": "c1"})
    made = engine.containers["shop-c1-users-0"]
    assert made["Config"]["Image"] == "sha256:1"
    assert made["Config"]["User"] == "10001:10001"
    assert set(made["Config"]["Env"]) == {"PATH=/bin", "CELL=c1", "BY_HAND=1"}
    assert (made["HostConfig"]["ReadonlyRootfs"], made["HostConfig"]["Memory"]) == (True, 1 << 29)


async def test_a_copy_shares_no_name_port_or_volume_with_theoriginal(engine: SmallEngine, there: Project) -> None:
    await there.make(there.copy_of("c1-postgres"), "postgres", "postgres.c1")
    made = engine.containers["shop-c1-postgres"]
    assert made["NetworkSettings"]["Networks"][NETWORK]["Aliases"] == ["postgres.c1"]
    assert not {"Hostname", "ExposedPorts"} & made["Config"].keys()
    assert made["Config"]["Labels"][f"{COMPOSE}oneoff"] == "True"
    assert made["HostConfig"]["PortBindings"] == {}
    assert made["HostConfig"]["RestartPolicy"] == {"Name": "no"}
    assert made["HostConfig"]["Binds"] == ["/srv/databases.sql:/databases.sql:ro"]
    assert made["HostConfig"]["Mounts"] == [{"Type": "bind", "Source": "/srv"}]


async def test_each_copy_has_an_address_that_compose_gives_to_nobody_whether_it_runs_or_not(there: Project) -> None:
    copies = [there.copy_of(f"c1-users-{number}") for number in range(2)]
    await asyncio.gather(*(there.make(copy, "users", copy.name) for copy in copies))
    await asyncio.gather(*(copy.look() for copy in copies))
    assert [copy.address for copy in copies] == ["10.223.1.0", "10.223.1.1"]


async def test_a_copy_is_in_the_journal_before_it_is_made_and_until_it_is_gone(
    engine: SmallEngine, there: Project, journal: Journal
) -> None:
    removal = Undo("remove", server=engine.path, container="shop-c1-users-0")
    engine.making.clear()
    copy = there.copy_of("c1-users-0")
    making = asyncio.create_task(there.make(copy, "users", "users-0.c1"))
    await until(lambda: engine.asked)
    assert faults_of(journal.path) == [removal]
    engine.making.set()
    await making
    await there.remove(copy)
    assert faults_of(journal.path) == []
    assert engine.copies() == set()


async def test_what_was_asked_for_when_its_cell_ended_is_made_and_then_removed(
    engine: SmallEngine, there: Project
) -> None:
    engine.making.clear()
    copy = there.copy_of("c1-users-0")
    making = asyncio.create_task(there.make(copy, "users", "users-0.c1"))
    await until(lambda: engine.asked)
    making.cancel()
    removing = asyncio.create_task(there.remove(copy))
    await asyncio.sleep(0)
    engine.making.set()
    await removing
    assert engine.copies() == set()


async def test_a_container_that_cannot_be_removed_yet_is_removed_a_little_later(
    engine: SmallEngine, there: Project
) -> None:
    copy = there.copy_of("c1-users-0")
    await there.make(copy, "users", "users-0.c1")
    engine.stuck = ["its process is a zombie and cannot be killed"] * 2
    await there.remove(copy)
    assert engine.copies() == set()


async def test_leaving_removes_every_copy_and_leaves_the_project_alone(engine: SmallEngine, journal: Journal) -> None:
    async with project(PROJECT, journal) as held:
        made, asked_for = held.copy_of("c1-users-0"), held.copy_of("c2-users-0")
        await held.make(made, "users", "users-0.c1")
        engine.making.clear()
        making = asyncio.create_task(held.make(asked_for, "users", "users-0.c2"))
        await until(lambda: ("made", asked_for.name) in engine.asked)
        threading.Timer(0.1, engine.making.set).start()
    await asyncio.gather(making, return_exceptions=True)
    assert engine.containers.keys() == {"shop-users-1", "shop-postgres-1"}
    with pytest.raises(FaultError, match="the run is over"):
        await made.start()


async def test_what_a_run_before_has_left_is_removed(engine: SmallEngine, journal: Journal) -> None:
    left = original("users")
    left["Config"]["Labels"] |= {f"{COMPOSE}oneoff": "True", COPY: PROJECT}
    by_hand = original("users")
    by_hand["Config"]["Labels"] |= {f"{COMPOSE}oneoff": "True"}
    engine.containers |= {"shop-c0-users-0": left, "shop-run-1": by_hand}
    async with project(PROJECT, journal):
        assert engine.containers.keys() == {"shop-users-1", "shop-postgres-1", "shop-run-1"}


async def test_how_a_container_ended_is_told_as_of_a_process(there: Project) -> None:
    copy = there.copy_of("c1-users-0")
    await there.make(copy, "users", "users-0.c1")
    await copy.start()
    assert copy.pid
    assert await copy.ended(0) is None
    assert await copy.end() == -9
    ended = await copy.ended(0)
    assert ended
    assert ended.at_s == pytest.approx(1795485605.123456)
    assert await copy.end() == -9  # once more does no harm
    assert not copy.pid


async def test_a_paused_container_goes_on_and_one_that_runs_is_left_to(engine: SmallEngine, there: Project) -> None:
    copy = there.copy_of("c1-users-0")
    await there.make(copy, "users", "users-0.c1")
    await copy.start()
    await copy.pause()
    await copy.look()
    assert copy.paused
    for _ in range(2):
        await copy.resume()
    assert not engine.containers[copy.name]["State"]["Paused"]


async def test_what_it_said_is_kept_and_one_that_was_never_made_said_nothing(there: Project) -> None:
    made, not_made = there.copy_of("c1-users-0"), there.copy_of("c1-users-1")
    await there.make(made, "users", "users-0.c1")
    assert await made.output() == b"hello"
    assert await not_made.output() == b""
    await there.remove(not_made)


async def test_a_refusal_of_the_engine_names_the_container(engine: SmallEngine, there: Project) -> None:
    engine.containers["shop-c1-users-0"] = original("users")
    with pytest.raises(FaultError, match=r"shop-c1-users-0: Docker: .*is in use"):
        await there.make(there.copy_of("c1-users-0"), "users", "users-0.c1")


async def test_one_run_at_a_time_has_a_project(there: Project, journal: Journal) -> None:
    with pytest.raises(CellError, match="shop: another run has this project; wait for its end"):
        async with project(there.name, journal):
            pass


async def test_a_server_that_is_not_there_or_has_stopped_is_told_with_the_remedy(
    engine: SmallEngine, journal: Journal
) -> None:
    engine.containers["shop-postgres-1"]["State"]["Running"] = False
    async with project(PROJECT, journal) as held:
        with pytest.raises(CellError, match=r"shop: has stopped its postgres; docker compose up"):
            held["postgres"]
        with pytest.raises(CellError, match=r"shop: has no container of kafka; docker compose up"):
            held["kafka"]


async def test_a_network_without_addresses_of_ours_is_told_with_the_remedy(
    engine: SmallEngine, there: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    del engine
    config = {"IPAM": {"Config": [{"Subnet": "172.18.0.0/16"}]}}
    monkeypatch.setattr("docker.APIClient.inspect_network", lambda *_: config)
    with pytest.raises(CellError, match=r"shop_default: has no addresses .*; docker compose down, then up"):
        await there.make(there.copy_of("c1-users-0"), "users", "users-0.c1")


async def opening(journal: Journal, name: str = PROJECT) -> str:
    """Why a project cannot be held."""
    with pytest.raises(CellError) as refused:
        async with project(name, journal):
            pass
    return str(refused.value)


async def test_a_project_that_is_not_up_is_told_with_the_remedy(engine: SmallEngine, journal: Journal) -> None:
    del engine
    assert (await opening(journal, "other")).startswith("other: no containers of this project; docker compose up")


async def test_an_engine_that_is_not_there_is_told_with_the_remedy(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert (await opening(journal)).endswith("start it, or set DOCKER_HOST")
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    assert "is another machine's; set DOCKER_HOST to unix://PATH" in await opening(journal)


async def test_who_may_not_ask_the_engine_is_told_how_to(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", refuse)
    assert (await opening(journal)).endswith("run as root, or as a member of the group docker")


def left_by(folder: Path, engine: SmallEngine, *names: str) -> Path:
    """The journal of a run that was killed, and had copies."""
    journal = Journal.begin(folder)
    journal.begun(*(Undo("remove", server=engine.path, container=name) for name in names))
    journal.close()
    return journal.path


def test_the_watchdog_removes_all_copies_at_the_same_time(tmp_path: Path, engine: SmallEngine) -> None:
    names = [f"shop-c1-users-{number}" for number in range(20)]
    engine.containers |= {name: original("users") for name in names}
    engine.slow_s = 0.3
    begun_s = time.monotonic()
    mended = mend(left_by(tmp_path, engine, *names), within_s=0.0)
    assert time.monotonic() - begun_s < len(names) * engine.slow_s / 2
    assert sorted(mended.done) == sorted(f"container {name}: removed" for name in names)
    assert not engine.containers.keys() & set(names)


def test_the_watchdog_removes_a_copy_that_is_made_after_the_runners_end(tmp_path: Path, engine: SmallEngine) -> None:
    def make() -> None:
        engine.containers["shop-c1-users-0"] = original("users")

    late = threading.Timer(0.3, make)
    late.start()
    assert mend(left_by(tmp_path, engine, "shop-c1-users-0")).done == ("container shop-c1-users-0: removed",)
    late.join()
    assert "shop-c1-users-0" not in engine.containers


def test_a_copy_that_was_never_made_is_waited_for_and_no_longer(
    tmp_path: Path, engine: SmallEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undoing, "MADE_S", 0.2)
    mended = mend(left_by(tmp_path, engine, "shop-c1-users-0"))
    assert (mended.done, mended.left) == (("container shop-c1-users-0: not there",), ())
