"""Small real servers that stand for the shop and can stand still, and runs of Locust against them."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from threading import Thread
from typing import Any

import msgspec
from aiohttp import web

from brownout.live import State, began_at, write_state

__all__ = [
    "BOUND_S",
    "LOADTESTS",
    "OPEN",
    "RELAY",
    "Run",
    "ShopStandIn",
    "begun",
    "command",
    "ended",
    "locust",
    "percentile",
    "shop",
    "stalled_s",
    "written_down",
]

LOADTESTS = Path(__file__).parents[1]
TOPOLOGY = LOADTESTS.parent / "system" / "topology.toml"
SERVICES = ("gateway", "users", "orders")
BOUND_S = 120
OPEN, RELAY = "open_model.py", "./relay.py"
"""The locustfiles of an open model: our own, and what a test writes for a small system."""

Answer = Callable[[str, str], tuple[int, Any]]


def shop(method: str, path: str) -> tuple[int, Any]:
    """Answer as a shop that is well."""
    if path == "/login":
        return 200, {"token": token_hex(8)}
    return (201, {"id": token_hex(16)}) if method == "POST" else (200, {})


class ShopStandIn:
    """Services that answer what they are told to, but nothing while they stall.

    Attributes:
        addresses: of each service.
        asked: method and path of each request, and when it came, in seconds of the monotonic clock.
    """

    def __init__(self, answer: Answer, *, stall_at_s: float, stall_s: float, slow_s: float) -> None:
        self.addresses: dict[str, str] = {}
        self.asked: list[tuple[str, str, float]] = []
        self.stall: tuple[float, float] | None = None
        self._answer = answer
        self._stall_at_s, self._stall_s, self._slow_s = stall_at_s, stall_s, slow_s

    async def handle(self, request: web.Request) -> web.Response:
        now_s = time.monotonic()
        self.asked.append((request.method, request.path, now_s))
        status, body = self._answer(request.method, request.path)
        if request.path.startswith("/api"):
            if self._stall_s and self.stall is None:
                self.stall = now_s + self._stall_at_s, now_s + self._stall_at_s + self._stall_s
            if self.stall and self.stall[0] <= now_s < self.stall[1]:
                await asyncio.sleep(self.stall[1] - now_s)
            await asyncio.sleep(self._slow_s)
        return web.json_response(body, status=status)

    async def serve(self, runner: web.AppRunner) -> None:
        await runner.setup()
        for name in SERVICES:
            site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
            await site.start()
            assert site._server is not None
            self.addresses[name] = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]

    @property
    def journeys(self) -> int:
        """How many requests of journeys came, what was arranged left out."""
        return sum(path.startswith("/api") for _, path, _ in self.asked)


@contextmanager
def begun(
    answer: Answer = shop, *, stall_at_s: float = 0.0, stall_s: float = 0.0, slow_s: float = 0.0
) -> Iterator[ShopStandIn]:
    """Serve, in a thread with a loop of its own; a stall begins so long after the first request of a journey."""
    stand_in = ShopStandIn(answer, stall_at_s=stall_at_s, stall_s=stall_s, slow_s=slow_s)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stand_in.handle)
    runner = web.AppRunner(app, access_log=None)
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(stand_in.serve(runner), loop).result(timeout=BOUND_S)
        yield stand_in
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(timeout=BOUND_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Run(msgspec.Struct, frozen=True):
    """How a run of Locust ended."""

    code: int
    log: str
    summary: dict[str, Any]
    statistics: dict[str, dict[str, Any]]


def written_down(folder: Path, addresses: dict[str, str]) -> None:
    """Write down that a system is up."""
    (folder / "runs" / "up").mkdir(parents=True, exist_ok=True)
    pid = os.getpid()
    write_state(folder / "runs" / "up", State(pid, began_at(pid) or 0, str(TOPOLOGY), "gateway", addresses))


def command(file: str, *arguments: str) -> list[str]:
    """The command line of a headless run."""
    path = file if "/" in file else str(LOADTESTS / file)
    return [sys.executable, "-m", "locust", "-f", path, "--headless", "--only-summary", *arguments]


def locust(folder: Path, *arguments: str, file: str = OPEN) -> Run:
    """Run Locust in a folder until it ends."""
    summary = ["--summary", "summary.json"] if file in (OPEN, RELAY) else []
    done = subprocess.run(
        command(file, *arguments, *summary, "--json-file", "statistics"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    return ended(folder, done.returncode, done.stdout + done.stderr)


def ended(folder: Path, code: int, log: str) -> Run:
    """What a run has left behind."""
    summary, statistics = folder / "summary.json", folder / "statistics.json"
    rows = json.loads(statistics.read_text()) if statistics.exists() else []
    return Run(
        code,
        log,
        json.loads(summary.read_text()) if summary.exists() else {},
        {f"{row['method']} {row['name']}": row for row in rows},
    )


def stalled_s(rate: float, seconds: float, begin_s: float, end_s: float) -> list[float]:
    """How long arrivals, evenly spaced, have to wait for the end of a stall: arithmetic, nothing measured."""
    due = [(number + 0.5) / rate for number in range(round(rate * seconds))]
    return sorted(max(0.0, end_s - due_s) if due_s >= begin_s else 0.0 for due_s in due)


def percentile(values: list[float], share: float) -> float:
    """The nearest rank."""
    return sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
