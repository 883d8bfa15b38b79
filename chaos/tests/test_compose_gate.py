"""The shop in containers: it sells, keeps its promises, fails with a mutant, and is left as it was by a killed runner.

`make gate-compose` has the project up by then; these tests run against it, and change no file of it.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import docker
import pytest

from brownout.clock import steady_clock
from brownout.history import Recorder
from brownout.promises.contract import read_journeys
from brownout.scenario import Calls
from brownout.workload.driver import HttpDriver
from brownout.workload.traffic import Traffic

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
BROWNOUT = str(Path(sys.executable).with_name("brownout"))
PROJECT = "brownout"
LABEL = "com.docker.compose."
COMPOSE = shlex.split(os.environ.get("COMPOSE", "docker compose"))
GATEWAY = "http://127.0.0.1:8000"
READY_S = 120.0
LEFT_S = 30.0
MUTANT = {
    "services": {
        "users": {
            "environment": {"MUTANT": "limiter-burst-one-more", "PYTHONPATH": "/mutants/edited"},
            "volumes": [f"{ROOT}/chaos/tests/mutants:/mutants:ro"],
        }
    }
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    client = docker.DockerClient.from_env()
    yield client
    client.close()


def containers(engine: Any, **filters: str) -> dict[str, Any]:
    """The project's containers by their names."""
    listed = engine.containers.list(
        all=True, ignore_removed=True, filters={"label": f"{LABEL}project={PROJECT}", **filters}
    )
    return {each.name: each for each in listed}


def address_of(engine: Any, service: str) -> str:
    """The address of a service of the file on the project's network."""
    labels = [f"{LABEL}project={PROJECT}", f"{LABEL}service={service}"]
    (container,) = engine.containers.list(ignore_removed=True, filters={"label": labels})
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.1)
    return True


def gate(runs: Path, *only: str) -> subprocess.Popen[str]:
    names = [word for name in only for word in ("--only", name)]
    command = [BROWNOUT, "gate", "--on", "compose", "--runs", str(runs), *names]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def verdicts(runs: Path) -> dict[str, tuple[str, str]]:
    found = json.loads((runs / "latest" / "verdicts.json").read_text())
    return {each["promise"]: (each["ruling"], each["reason"]) for each in found}


def test_everything_is_up_and_confined(engine: Any) -> None:
    there = containers(engine)
    wrong = {name: each.status for name, each in there.items() if each.status != "running"}
    assert len(there) >= 13
    assert wrong == {}
    ours = [each for each in there.values() if each.attrs["Config"]["Image"].startswith("brownout-")]
    assert len(ours) == 8
    for each in ours:
        assert each.attrs["HostConfig"]["ReadonlyRootfs"]
        assert each.attrs["HostConfig"]["Memory"]
        assert each.exec_run("id -u").output.strip() != b"0"
    published = [binding for each in there.values() for ports in each.ports.values() for binding in ports or ()]
    assert {binding["HostIp"] for binding in published} == {"127.0.0.1"}


async def test_who_comes_buys_through_the_published_gateway(engine: Any) -> None:
    async with HttpDriver() as driver:
        traffic = Traffic(
            read_journeys(ROOT / "scenarios" / "contract.toml"),
            lambda name: GATEWAY if name == "gateway" else f"http://{address_of(engine, name)}:8000",
            driver,
            Recorder(steady_clock()),
            deadline_header="",
            seed=time.time_ns(),
        )
        await traffic.arrange("buy")  # registers at users itself
        bought = await traffic.calls(Calls("first", "buy"))
    wanted = ["GET /api/products", "POST /api/orders", "POST /api/payments"]
    assert [(each.target, each.ok) for each in bought] == [(target, True) for target in wanted]


def test_a_promise_of_each_way_of_being_tested_is_kept(tmp_path: Path, engine: Any) -> None:
    before = {name: each.id for name, each in containers(engine).items()}
    kept = ("tracing-create-order", "rate-limit-users", "shutdown-users-of-two", "registration-users")
    running = gate(tmp_path, *kept)
    said, _ = running.communicate(timeout=600)
    assert running.returncode == 0, said
    assert {name: ruling for name, (ruling, _) in verdicts(tmp_path).items()} == dict.fromkeys(kept, "PASS")
    assert {name: each.id for name, each in containers(engine).items()} == before
    assert {each.status for each in containers(engine).values()} == {"running"}


def test_a_mutant_in_a_container_is_a_broken_promise(tmp_path: Path) -> None:
    override = tmp_path / "mutant.json"
    override.write_text(json.dumps(MUTANT))
    again = [*COMPOSE, "up", "-d", "--no-deps", "users"]
    files = os.environ.get("COMPOSE_FILE", str(ROOT / "docker-compose.yml"))
    try:
        subprocess.run(again, cwd=ROOT, check=True, env={**os.environ, "COMPOSE_FILE": f"{files}:{override}"})
        running = gate(tmp_path, "rate-limit-users")
        said, _ = running.communicate(timeout=READY_S)
    finally:
        subprocess.run(again, cwd=ROOT, check=True, env={**os.environ, "COMPOSE_FILE": files})
    assert running.returncode == 1, said
    assert verdicts(tmp_path)["rate-limit-users"][0] == "FAIL"


SCRIPTS = """
from brownout.scripts import Story, hold, latency, paused, script, wait

@script(steady="browse", clause="-", services=["gateway", "users", "products"])
def broken() -> Story:
    yield (hold(latency("gateway -> products", 2), hold(paused("products"), wait(60))),)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=str)
def test_a_killed_runner_leaves_the_project_as_it_was(tmp_path: Path, engine: Any, number: signal.Signals) -> None:
    before, own = {name: each.id for name, each in containers(engine).items()}, proxies(engine)
    (tmp_path / "scenarios").mkdir()
    for path in (ROOT / "scenarios").glob("*.*"):
        (tmp_path / "scenarios" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "scenarios" / "broken.py").write_text(SCRIPTS)
    command = [BROWNOUT, "gate", "--on", "compose", "--runs", str(tmp_path / "runs"), "--only", "broken"]
    contract = str(tmp_path / "scenarios" / "contract.toml")
    running = subprocess.Popen([*command, "--contract", contract], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        assert within(READY_S, lambda: bool(containers(engine, status="paused")))
        assert toxics(engine)
        running.send_signal(number)
        running.wait(timeout=LEFT_S)
        assert within(LEFT_S, lambda: set(containers(engine)) == set(before))
    finally:
        running.kill()
        running.wait()
    assert within(LEFT_S, lambda: {each.status for each in containers(engine).values()} == {"running"})
    assert {name: each.id for name, each in containers(engine).items()} == before
    assert within(LEFT_S, lambda: proxies(engine).keys() == own.keys())
    assert toxics(engine) == []


def proxies(engine: Any) -> dict[str, Any]:
    """The proxies on the project's Toxiproxy by their names."""
    with urlopen(Request(f"http://{address_of(engine, 'toxiproxy')}:8474/proxies"), timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def toxics(engine: Any) -> list[str]:
    """What is broken on them."""
    return [name for name, proxy in proxies(engine).items() if proxy["toxics"] or not proxy["enabled"]]
