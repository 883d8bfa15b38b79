"""docker-compose.yml and what it mounts: every edge of the topology, and nothing else, goes where it should.

The files are read here as Docker and Toxiproxy read them, and compared with the topology itself: what made them is
only asked whether they are its latest work.
"""

import copy
import importlib.util
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from brownout.cells.compose import PROXY_PORTS
from brownout.cells.composed import LISTENERS
from brownout.servers import Addresses, consul, jaeger, kafka, postgres, prometheus, toxiproxy
from brownout.topology import EDGE_SERVERS, Edge, Topology, read_topology
from brownout_shop.discovery.registry import Registration

ROOT = Path(__file__).parents[2]
TOPOLOGY = read_topology(ROOT / "system/topology.toml")
UPSTREAM = {"postgres": "postgres:5432", "consul": "consul:8500"}
RECIPES = {each.RECIPE.name: each.RECIPE for each in (consul, jaeger, kafka, postgres, prometheus, toxiproxy)}
WORD = re.compile(r"{([\w-]+)}")
GRACE_S = 30  # clause 6.6
LIMITS = ("mem_limit", "cpus", "pids_limit")
CONFINED = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
FOR_EYES = ("grafana", "prometheus", "jaeger")


@dataclass
class Stack:
    """The files as they are parsed."""

    containers: dict[str, Any]
    proxies: list[dict[str, Any]]
    databases: str
    scrapes: dict[str, Any]


def stack() -> Stack:
    return Stack(
        yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"],
        json.loads((ROOT / "system/compose/toxiproxy.json").read_text()),
        (ROOT / "system/compose/databases.sql").read_text(),
        {each["job_name"]: each for each in _prometheus()["scrape_configs"]},
    )


def _prometheus() -> Any:
    return yaml.safe_load((ROOT / "dashboards/prometheus/prometheus.yml").read_text())


def wrong(topology: Topology, stack: Stack) -> list[str]:
    """All that is wrong, in words."""
    missing = sorted({*topology.services, *topology.servers(), "toxiproxy", "jaeger", "prometheus", "grafana"})
    if missing := [name for name in missing if name not in stack.containers]:
        return [f"{name}: no container" for name in missing]
    return [
        *(each for edge in topology.edges() for each in _wrong_edge(stack, edge)),
        *(each for name in topology.services for each in _wrong_service(topology, stack, name)),
        *(each for name, container in stack.containers.items() for each in _wrong_container(name, container)),
        *_wrong_proxies(topology, stack),
        *_wrong_listeners(stack),
        *_wrong_scrapes(stack),
    ]


def _wrong_edge(stack: Stack, edge: Edge) -> Iterator[str]:
    """An edge has one proxy, which leads to its callee's own address; the broker tells clients to go there."""
    found = [proxy for proxy in stack.proxies if proxy["name"] == _proxy_name(edge)]
    if len(found) != 1:
        yield f"{edge}: {len(found)} proxies"
        return
    if found[0]["upstream"] != _upstream(stack, edge, _reached_at(found[0])):
        yield f"{edge}: its proxy leads to {found[0]['upstream']}"


def _proxy_name(edge: Edge) -> str:
    protocol = edge.callee if edge.callee in EDGE_SERVERS else edge.port or "http"
    return f"compose.{edge.caller}.{edge.service}.{protocol}.0"


def _upstream(stack: Stack, edge: Edge, reached_at: str) -> str:
    """Where the proxy of an edge, which is reached at an address, has to lead."""
    if edge.callee == "kafka":
        env = stack.containers["kafka"]["environment"]
        told = {address: name for name, address in _listeners(env["KAFKA_ADVERTISED_LISTENERS"])}
        return dict(_listeners(env["KAFKA_LISTENERS"])).get(told.get(reached_at, ""), "no listener")
    if edge.callee in UPSTREAM:
        return UPSTREAM[edge.callee]
    env = stack.containers[edge.service]["environment"]
    return str(env.get(f"{edge.port.upper()}_LISTEN" if edge.port else "LISTEN"))


def _listeners(text: str) -> list[tuple[str, str]]:
    return [(name, address) for name, _, address in (each.partition("://") for each in text.split(","))]


def _reached_at(proxy: dict[str, Any]) -> str:
    return f"toxiproxy:{proxy['listen'].rpartition(':')[2]}"


def _wrong_service(topology: Topology, stack: Stack, name: str) -> Iterator[str]:
    """A service is started as the topology says, with just its environment, filled as `_filled` says."""
    service, container = topology.services[name], stack.containers[name]
    if container["command"] != [word.replace("{python}", "python") for word in service.command]:
        yield f"{name}: its command is {container['command']}"
    if container["healthcheck"]["test"][-1] != f"http://{container['environment'].get('LISTEN')}{service.health}":
        yield f"{name}: it is asked for its health at {container['healthcheck']['test'][-1]}"
    if float(container.get("stop_grace_period", "10s").removesuffix("s")) <= GRACE_S:
        yield f"{name}: it is killed while it drains"
    templates = {**topology.env, **service.env}
    if differing := templates.keys() ^ container["environment"].keys():
        yield f"{name}: {', '.join(sorted(differing))} is not both here and there"
        return
    words = _filled(topology, stack, name)
    for key, template in templates.items():
        value = WORD.sub(lambda match: words[match[1]], template)
        given = container["environment"][key]
        if json.loads(given) != json.loads(value) if template == "{advertise}" else given != value:
            yield f"{name}: {key} is {given}"
    if not all(f'DATABASE "{words["database"]}"' in stack.databases for key in templates if key == "DATABASE_URL"):
        yield f"{name}: no database"


def _filled(topology: Topology, stack: Stack, name: str) -> dict[str, str]:
    """What the placeholders mean: a callee's is the address of the edge's proxy."""
    at = {proxy["name"]: _reached_at(proxy) for proxy in stack.proxies}
    return {
        **{edge.callee: at.get(_proxy_name(edge), "nowhere") for edge in topology.edges_of(name)},
        "cell": "compose",
        "instance": f"{name}-0",
        "listen": f"{name}:8000",
        "listen-grpc": f"{name}:9000",
        "database": f"compose_{name}",
        "otlp": "jaeger:4318",
        "advertise": json.dumps(_advertised(topology, at, name)),
    }


def _advertised(topology: Topology, at: dict[str, str], name: str) -> dict[str, Any]:
    """The tagged addresses of a service: each of its ports, and each caller's own way to one."""
    edges = [edge for edge in (*topology.edges(), Edge("brownout", name)) if edge.service == name]
    ways = {f"{edge.port and edge.port + '-'}via-{edge.caller}": at.get(_proxy_name(edge), ":0") for edge in edges}
    ways |= dict.fromkeys(topology.services[name].ports, f"{name}:9000")
    pairs = {tag: address.rpartition(":") for tag, address in ways.items()}
    return {tag: {"Address": host, "Port": int(port)} for tag, (host, _, port) in pairs.items()}


def _wrong_container(name: str, container: dict[str, Any]) -> Iterator[str]:
    image, _, tag = container["image"].partition(":")
    if not re.match(r"v?\d+\.\d", tag):
        yield f"{name}: {container['image']} is not pinned"
    if "." in image:
        yield f"{name}: {image} names a registry"
    version = RECIPES[name].version if name in RECIPES else ""
    if not tag.removeprefix("v").startswith(version.partition("-")[0]):
        yield f"{name}: the gate runs with {version}, not {tag}"
    if not container.get("healthcheck", {}).get("test"):
        yield f"{name}: nobody asks for its health"
    yield from _unbounded(name, container)
    for mounted in container.get("volumes", []):
        if not (ROOT / mounted.partition(":")[0]).exists():
            yield f"{name}: {mounted} is not there"


def _unbounded(name: str, container: dict[str, Any]) -> Iterator[str]:
    """What it may take, what a program of ours may not do, and who reaches it."""
    if missing := [key for key in LIMITS if key not in container]:
        yield f"{name}: no {', '.join(missing)}"
    ours = container["image"].startswith("brownout-")
    if ours and any(container.get(key) != value for key, value in CONFINED.items()):
        yield f"{name}: it is not confined"
    for published in container.get("ports", []):
        if not published.startswith("127.0.0.1:"):
            yield f"{name}: {published} is published to everyone"
        if name not in {TOPOLOGY.entry, *FOR_EYES}:
            yield f"{name}: {published} is published, and no user looks there"


def _wrong_proxies(topology: Topology, stack: Stack) -> Iterator[str]:
    """There is no proxy but for an edge, or for the harness's own way to a service, each at a port of its own."""
    edges = (*topology.edges(), *(Edge("brownout", name) for name in topology.services))
    for name in {proxy["name"] for proxy in stack.proxies} - {_proxy_name(edge) for edge in edges}:
        yield f"{name}: a proxy of no edge"
    for listen, times in Counter(proxy["listen"] for proxy in stack.proxies).items():
        if times > 1 or not listen.startswith("0.0.0.0:"):
            yield f"{listen}: {times} proxies listen there"
    for proxy in stack.proxies:
        if not proxy["enabled"]:
            yield f"{proxy['name']}: it is switched off"


def _wrong_listeners(stack: Stack) -> Iterator[str]:
    """The broker has a gate's listeners, which tell clients of ports that no proxy of the file has."""
    env = stack.containers["kafka"]["environment"]
    told, bound = (dict(_listeners(env[key])) for key in ("KAFKA_ADVERTISED_LISTENERS", "KAFKA_LISTENERS"))
    pairs = {(bound.get(name), address) for name, address in told.items()}
    taken = {_reached_at(proxy) for proxy in stack.proxies} | {f"toxiproxy:{port}" for port in PROXY_PORTS}
    for listener in LISTENERS:
        if (listener.upstream, listener.advertised) not in pairs:
            yield f"kafka: no listener at {listener.upstream}"
        if listener.advertised in taken:
            yield f"kafka: {listener.advertised} is a proxy's of another edge"


def _wrong_scrapes(stack: Stack) -> Iterator[str]:
    if [each["server"] for each in stack.scrapes["services"]["consul_sd_configs"]] != [UPSTREAM["consul"]]:
        yield "prometheus: it does not ask consul"
    if [each["targets"] for each in stack.scrapes["toxiproxy"]["static_configs"]] != [["toxiproxy:8474"]]:
        yield "prometheus: it does not scrape toxiproxy"


def test_the_stack_is_what_the_topology_says() -> None:
    assert wrong(TOPOLOGY, stack()) == []


def _drop_proxy(it: Stack) -> None:
    it.proxies = [proxy for proxy in it.proxies if proxy["name"] != "compose.orders.users.http.0"]


def _set_env(service: str, key: str, value: str) -> Callable[[Stack], None]:
    return lambda it: it.containers[service]["environment"].update({key: value})


def _set_proxy(name: str, key: str, value: Any) -> Callable[[Stack], None]:
    return lambda it: next(each for each in it.proxies if each["name"] == name).update({key: value})


TAMPERED: dict[str, tuple[Callable[[Stack], object], str]] = {
    "no proxy": (_drop_proxy, "orders -> users: 0 proxies"),
    "no service": (lambda it: it.containers.pop("payments"), "payments: no container"),
    "no server": (lambda it: it.containers.pop("kafka"), "kafka: no container"),
    "no database": (lambda it: setattr(it, "databases", ""), "users: no database"),
    "another port": (_set_env("users", "LISTEN", "users:8001"), "users: LISTEN is users:8001"),
    "another upstream": (
        _set_proxy("compose.payments.provider.http.0", "upstream", "orders:8000"),
        "payments -> provider: its proxy leads to orders:8000",
    ),
    "the port of another protocol": (
        _set_proxy("compose.notifications.users.grpc.0", "upstream", "users:8000"),
        "notifications -> users:grpc: its proxy leads to users:8000",
    ),
    "past the proxy": (_set_env("orders", "KAFKA", "kafka:9092"), "orders: KAFKA is kafka:9092"),
    "by another edge's proxy": (
        lambda it: it.containers["users"]["environment"].update(
            {"CONSUL_URL": it.containers["orders"]["environment"]["CONSUL_URL"]}
        ),
        "users: CONSUL_URL is",
    ),
    "advertised past the proxy": (
        lambda it: it.containers["kafka"]["environment"].update(
            {"KAFKA_ADVERTISED_LISTENERS": it.containers["kafka"]["environment"]["KAFKA_LISTENERS"]}
        ),
        "orders -> kafka: its proxy leads to",
    ),
    "no listener for a gate": (
        _set_env("kafka", "KAFKA_LISTENERS", "DIRECT://kafka:9092"),
        "kafka: no listener at kafka:19263",
    ),
    "a gate's listener at the file's port": (
        _set_proxy("compose.orders.users.http.0", "listen", "0.0.0.0:21063"),
        "kafka: toxiproxy:21063 is a proxy's of another edge",
    ),
    "not advertised": (_set_env("users", "ADVERTISE", "{}"), "users: ADVERTISE is {}"),
    "one setting more": (_set_env("users", "DEBUG", "1"), "users: DEBUG is not both here and there"),
    "one setting less": (lambda it: it.containers["users"]["environment"].pop("GRPC_LISTEN"), "users: GRPC_LISTEN is"),
    "another command": (lambda it: it.containers["users"].update(command=["sh"]), "users: its command is"),
    "no time to drain": (lambda it: it.containers["users"].pop("stop_grace_period"), "users: it is killed"),
    "two at one port": (_set_proxy("compose.orders.users.http.0", "listen", "0.0.0.0:20000"), "2 proxies listen"),
    "switched off": (_set_proxy("compose.orders.users.http.0", "enabled", False), "it is switched off"),  # noqa: FBT003 - a value
    "a proxy too many": (lambda it: it.proxies.append({**it.proxies[0], "name": "x"}), "x: a proxy of no edge"),
    "published to everyone": (lambda it: it.containers["grafana"].update(ports=["3000:3000"]), "published to everyone"),
    "published to no user": (
        lambda it: it.containers["consul"].update(ports=["127.0.0.1:8500:8500"]),
        "no user looks there",
    ),
    "no limit": (lambda it: it.containers["kafka"].pop("mem_limit"), "kafka: no mem_limit"),
    "a file system to write to": (
        lambda it: it.containers["users"].update(read_only=False),
        "users: it is not confined",
    ),
    "not pinned": (lambda it: it.containers["grafana"].update(image="grafana/grafana:latest"), "is not pinned"),
    "no tag": (lambda it: it.containers["grafana"].update(image="grafana/grafana"), "is not pinned"),
    "a registry": (lambda it: it.containers["grafana"].update(image="r.example/grafana:12.2.0"), "names a registry"),
    "another version": (lambda it: it.containers["consul"].update(image="hashicorp/consul:1.17.0"), "the gate runs"),
    "no health check": (lambda it: it.containers["consul"].pop("healthcheck"), "nobody asks for its health"),
    "a file that is not there": (lambda it: it.containers["grafana"].update(volumes=["./no:/no"]), "is not there"),
    "scraped past consul": (
        lambda it: it.scrapes["services"].update(consul_sd_configs=[]),
        "prometheus: it does not ask consul",
    ),
    "toxiproxy not scraped": (
        lambda it: it.scrapes["toxiproxy"].update(static_configs=[]),
        "prometheus: it does not scrape toxiproxy",
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_whatever_is_changed_is_found(how: str) -> None:
    tamper, told = TAMPERED[how]
    tampered = copy.deepcopy(stack())
    tamper(tampered)
    assert any(told in each for each in wrong(TOPOLOGY, tampered)), wrong(TOPOLOGY, tampered)


def test_the_files_are_what_the_generator_makes_now() -> None:
    path = ROOT / "system/compose/generate.py"
    spec = importlib.util.spec_from_file_location("generate", path)
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    made = generate.files(TOPOLOGY, (path.parent / "servers.yml").read_text())
    outdated = [name for name, text in made.items() if (ROOT / name).read_text() != text]
    assert not outdated, "run: python system/compose/generate.py"


def test_prometheus_labels_instances_as_the_gates_does() -> None:
    ours, gates = _prometheus(), yaml.safe_load(prometheus._CONFIGURATION.format(consul="c:1", toxiproxy="t:1"))
    for each in (ours, gates):
        for job in each["scrape_configs"]:
            job.pop("static_configs", None)
            for discovery in job.get("consul_sd_configs", []):
                discovery.pop("server")
    assert ours["scrape_configs"] == gates["scrape_configs"]
    assert gates["global"].items() <= ours["global"].items()  # it alone has rules to look at


def test_the_image_has_the_versions_that_are_tested() -> None:
    pins = [
        dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("system/requirements.lock", "requirements.lock")
    ]
    both = pins[0].keys() & pins[1].keys()
    assert {"fastapi", "opentelemetry-sdk", "sqlalchemy"} <= both
    assert {name: pins[0][name] for name in both} == {name: pins[1][name] for name in both}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(raise_for_status=True) as opened:
        yield opened


@pytest.mark.servers
async def test_a_real_toxiproxy_takes_its_file(
    toxiproxy_server: Callable[[], AbstractContextManager[str]], session: aiohttp.ClientSession
) -> None:
    elsewhere = [{**proxy, "listen": "127.0.0.1:0"} for proxy in stack().proxies]  # the ports may be somebody's here
    with toxiproxy_server() as address:
        async with session.post(f"http://{address}/populate", json=elsewhere) as answer:
            taken = (await answer.json())["proxies"]
    assert {(each["name"], each["upstream"], each["enabled"]) for each in taken} == {
        (each["name"], each["upstream"], True) for each in elsewhere
    }


@pytest.mark.servers
async def test_a_real_consul_takes_the_registrations_with_containers_names(
    servers: Addresses, session: aiohttp.ClientSession
) -> None:
    agent = f"http://{servers.consul}/v1/agent"
    env = stack().containers["users"]["environment"]
    host, _, port = env["LISTEN"].partition(":")
    tagged = json.loads(env["ADVERTISE"])
    registration = Registration("users", env["INSTANCE"], env["CELL"], host, int(port), tagged)
    async with session.put(f"{agent}/service/register", json=registration.document()):
        pass
    async with session.get(f"{agent}/service/{registration.id}") as answer:
        service = await answer.json()
    async with session.put(f"{agent}/service/deregister/{registration.id}"):
        pass
    assert (service["Address"], service["Port"]) == ("users", 8000)
    assert tagged.items() <= service["TaggedAddresses"].items()
