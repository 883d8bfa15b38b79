"""A Docker engine that is small: its containers are tables, its answers those of Docker's HTTP API."""

import contextlib
import json
import re
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from brownout.cells.project import COPY

__all__ = ["COMPOSE", "NETWORK", "PROJECT", "SmallEngine", "original"]

PROJECT = "shop"
NETWORK = "shop_default"
COMPOSE = "com.docker.compose."
LABELS = {f"{COMPOSE}project": PROJECT, f"{COMPOSE}oneoff": "False"}
ENDED = "2026-11-24T02:00:05.123456789Z"
KILLED = 137


class SmallEngine(ThreadingMixIn, UnixStreamServer):
    """A project of two services, and what is made beside it.

    Attributes:
        containers: what inspecting one tells, by its name.
        asked: method and path of every request.
        making: waited for before a container is made.
        slow_s: how long removing one takes.
        stuck: why the next ones cannot be removed yet.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.path = str(path)
        self.containers = {f"shop-{name}-1": original(name) for name in ("users", "postgres")}
        self.asked: list[tuple[str, str]] = []
        self.making = threading.Event()
        self.making.set()
        self.slow_s = 0.0
        self.stuck: list[str] = []

    def copies(self) -> set[str]:
        return {name for name, each in self.containers.items() if COPY in each["Config"]["Labels"]}


class Handler(BaseHTTPRequestHandler):
    """What the engine answers; of a container: its state, as orders change it."""

    server: SmallEngine

    def do_GET(self) -> None:
        match self._words():
            case ["version"]:
                self._say(200, {"ApiVersion": "1.44", "MinAPIVersion": "1.24"})
            case ["networks", _]:
                pool = {"Subnet": "10.223.0.0/20", "IPRange": "10.223.0.0/24", "Gateway": "10.223.0.1"}
                self._say(200, {"IPAM": {"Config": [pool]}})
            case ["containers", "json"]:
                self._say(200, self._listed())
            case ["containers", name, "json"]:
                there = self.server.containers.get(name)
                self._say(200 if there else 404, there or {"message": f"No such container: {name}"})
            case ["containers", name, "logs"] if name in self.server.containers:
                self._say(200, struct.pack(">BxxxI", 1, 5) + b"hello")
            case _:
                self._say(404, {"message": "no"})

    def do_POST(self) -> None:
        config = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
        words = self._words()
        if words == ["containers", "create"]:
            self._make(self._query()["name"], config)
            return
        _, name, order = words
        state = self.server.containers[name]["State"] if name in self.server.containers else None
        if state is None:
            self._say(404, {"message": f"No such container: {name}"})
            return
        match order:
            case "start":
                state.update(Running=True, Pid=4_000_000)
            case "kill" if not state["Running"]:
                self._say(409, {"message": f"container {name} is not running"})
                return
            case "kill":
                state.update(Running=False, Pid=0, ExitCode=KILLED if self._query()["signal"] == "9" else 0)
            case "pause" | "unpause":
                state.update(Paused=order == "pause")
        self._say(204)

    def do_DELETE(self) -> None:
        name = self._words()[1]
        time.sleep(self.server.slow_s)
        if self.server.stuck:
            self._say(500, {"message": f"{name}: {self.server.stuck.pop()}"})
            return
        found = self.server.containers.pop(name, None)
        self._say(204 if found else 404, None if found else {"message": f"No such container: {name}"})

    def log_message(self, *_: object) -> None:
        pass

    def _words(self) -> list[str]:
        path = re.sub(r"^/v1\.\d+", "", urlsplit(self.path).path)
        return path.strip("/").split("/")

    def _query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}

    def _listed(self) -> list[dict[str, Any]]:
        wanted = [tuple(each.split("=")) for each in json.loads(self._query()["filters"])["label"]]
        return [
            {"Names": [f"/{name}"], "Labels": each["Config"]["Labels"]}
            for name, each in self.server.containers.items()
            if set(wanted) <= each["Config"]["Labels"].items()
        ]

    def _make(self, name: str, config: dict[str, Any]) -> None:
        self.server.asked.append(("made", name))
        self.server.making.wait(5)
        if name in self.server.containers:
            self._say(409, {"message": f"{name} is in use"})
            return
        endpoints = config.pop("NetworkingConfig")["EndpointsConfig"]
        networks = {network: {"IPAddress": "", **endpoint} for network, endpoint in endpoints.items()}
        self.server.containers[name] = _described(config, config.pop("HostConfig"), networks, runs=False)
        self._say(201, {"Id": name, "Warnings": []})

    def _say(self, status: int, body: object = None) -> None:
        with contextlib.suppress(BrokenPipeError):  # whoever asked may have gone
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode() if status != 204 else b"")


def _described(config: Any, host: Any, networks: Any, *, runs: bool) -> dict[str, Any]:
    state = {"Running": runs, "Paused": False, "Pid": 1 if runs else 0, "ExitCode": 0, "FinishedAt": ENDED}
    settings = {"Networks": networks}
    return {"Image": "sha256:1", "Config": config, "HostConfig": host, "NetworkSettings": settings, "State": state}


def original(service: str) -> dict[str, Any]:
    config = {
        "Hostname": "0123456789ab",
        "Env": ["PATH=/bin", "CELL=compose", "BY_HAND=1"],
        "Image": "brownout-shop:0.1.0",
        "User": "10001:10001",
        "ExposedPorts": {"8000/tcp": {}},
        "Labels": {**LABELS, f"{COMPOSE}service": service},
        "Healthcheck": {"Test": ["CMD", "true"]},
        "Tty": False,
    }
    host = {
        "Binds": ["/srv/databases.sql:/databases.sql:ro", "shop_kept:/var/lib/postgresql:rw"],
        "Mounts": [{"Type": "volume", "Source": "kept"}, {"Type": "bind", "Source": "/srv"}],
        "PortBindings": {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]},
        "ReadonlyRootfs": True,
        "Memory": 1 << 29,
        "NetworkMode": NETWORK,
        "RestartPolicy": {"Name": "always"},
    }
    return _described(config, host, {NETWORK: {"IPAddress": "10.223.0.7", "IPAMConfig": None}}, runs=True)
