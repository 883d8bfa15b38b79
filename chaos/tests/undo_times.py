"""How long it takes until a fault is in force, until it is undone, and until it is undone for a runner that was killed.

    python chaos/tests/undo_times.py --count 100

With a real Toxiproxy and a real process, each change written to a journal on disk. That a fault is in force, or is
not, is seen by an exchange through the proxy, or in the process's state, after each change.
"""

import argparse
import asyncio
import http.server
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from brownout.cell import Toxic
from brownout.cells.edges import EdgeNetwork
from brownout.cells.pauses import Pauses
from brownout.cells.toxiproxy import Toxiproxy
from brownout.cells.wiring import Proxy
from brownout.mending import Identity, state_of
from brownout.servers import provide, toxiproxy
from brownout.servers.ports import free_port
from brownout.servers.stage import Stage
from brownout.topology import Edge
from brownout.undo import Process, Supervisor
from kills import quantiles

LATENCY = Toxic("latency", {"latency": 40})
FELT_S = 0.036
EDGE = Edge("front", "back")
BOUND_S = 5.0

RUNNER = """
import asyncio, sys
from pathlib import Path
from brownout.cells.toxiproxy import Toxiproxy
from brownout.cell import Toxic
from brownout.mending import Identity, Undo
from brownout.undo import Supervisor

async def main(scratch, address, name, pid):
    async with Supervisor(Path(scratch)) as supervisor, Toxiproxy(address, journal=supervisor.journal) as toxiproxy:
        identity = Identity.of(int(pid))
        supervisor.journal.begun(Undo("resume", identity))
        identity.send(19)
        await toxiproxy.add(name, Toxic("latency", {"latency": 40}))
        await toxiproxy.switch(name, on=False)
        print("broken", flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""
"""A runner that breaks what is not its own: a Toxiproxy and a process that outlive it."""


class Bench:
    """An edge and a process to be broken."""

    def __init__(self, network: EdgeNetwork, pauses: Pauses, process: Process, server: Toxiproxy, proxy: str) -> None:
        self.network = network
        self.pauses = pauses
        self.process = process
        self.server = server
        self.proxy = proxy

    async def slow(self) -> bool:
        """Whether an exchange takes as long as the latency."""
        answered_s = (await self.network.canary(EDGE, within_s=BOUND_S)).answered_s
        return answered_s is not None and answered_s >= FELT_S

    async def refused(self) -> bool:
        """Whether an exchange is refused."""
        return (await self.network.canary(EDGE, within_s=BOUND_S)).refused

    async def still(self) -> bool:
        """Whether the process stands still."""
        return state_of(self.process.pid) == "T"


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Hold one open, behind a watchdog, with its journal where users have theirs."""
    programs = await provide(lambda *_: None)
    async with AsyncExitStack() as stack:
        scratch = Path(tempfile.mkdtemp())
        supervisor = await stack.enter_async_context(Supervisor(scratch))
        address = await toxiproxy.start(programs["toxiproxy"], Stage(supervisor, scratch, lambda name: scratch / name))
        process = await supervisor.spawn("sleeper", ["sleep", "600"], env=dict(os.environ), log=scratch / "log")
        server = await stack.enter_async_context(Toxiproxy(address, journal=supervisor.journal))
        upstream = stack.enter_context(_answering())
        proxy = Proxy(EDGE, "c.front.back.http.0", f"127.0.0.1:{free_port()}", upstream, "http", "/")
        network = EdgeNetwork(server, [proxy])
        await network.create()
        yield Bench(network, Pauses(supervisor.journal), process, server, proxy.name)


@contextmanager
def _answering() -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(204)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def changed(
    begin: Callable[[], Awaitable[object]], end: Callable[[], Awaitable[object]], felt: Callable[[], Awaitable[bool]]
) -> tuple[float, float]:
    """The seconds that a fault took to be in force and to be gone, each seen to be so."""
    times_s = []
    for change, so in ((begin, True), (end, False)):
        begun_s = time.monotonic()
        await change()
        times_s.append(time.monotonic() - begun_s)
        if await felt() is not so:
            raise AssertionError(f"after {change} it was {not so}")
    return times_s[0], times_s[1]


async def killed(own: Bench) -> float:
    """The seconds from the SIGKILL to a runner until nothing that it had broken, and did not own, is broken."""
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(["/bin/sleep", "60"]) as stranger:  # noqa: ASYNC220  it is quick
        identity = Identity.of(stranger.pid)
        words = [f"{folder}/scratch", own.server.address, own.proxy, str(stranger.pid)]
        with subprocess.Popen([sys.executable, "-c", RUNNER, *words], stdout=subprocess.PIPE) as runner:  # noqa: ASYNC220  same
            assert runner.stdout
            assert identity
            await asyncio.to_thread(runner.stdout.readline)
            assert (await own.server.state(own.proxy)).dirty
            assert state_of(stranger.pid) == "T"
            begun_s = time.monotonic()
            runner.send_signal(signal.SIGKILL)
        while (await own.server.state(own.proxy)).dirty or state_of(stranger.pid) == "T":
            if time.monotonic() - begun_s > BOUND_S:
                raise AssertionError("it was never undone")
        took_s = time.monotonic() - begun_s
        stranger.kill()
        return took_s


async def measured(count: int) -> dict[str, Sequence[float]]:
    """So many times of each, in seconds, by what was measured."""
    times_s: dict[str, list[float]] = {}
    async with bench() as own:
        network, pauses = own.network, own.pauses
        faults = {
            "latency": (
                lambda: network.add_toxic(EDGE, LATENCY),
                lambda: network.remove_toxic(EDGE, LATENCY),
                own.slow,
            ),
            "outage": (lambda: network.switch(EDGE, on=False), lambda: network.switch(EDGE, on=True), own.refused),
            "pause": (lambda: pauses.pause(own.process), lambda: pauses.resume(own.process), own.still),
        }
        for name, (begin, end, felt) in faults.items():
            for _ in range(count):
                for which, took_s in zip(("in force", "undone"), await changed(begin, end, felt), strict=True):
                    times_s.setdefault(f"{name} {which} after the call", []).append(took_s)
        for _ in range(count // 2):
            times_s.setdefault("all three undone after SIGKILL", []).append(await killed(own))
    return dict(times_s)


def main() -> None:
    """Measure, and print a row each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    rows = asyncio.run(measured(parser.parse_args().count))
    print("| | tries | median ms | p90 ms | p99 ms | max ms |\n|---|---|---|---|---|---|")  # noqa: T201  what it is for
    for name, times_s in rows.items():
        figures = " | ".join(f"{1000 * time_s:.1f}" for time_s in quantiles(times_s))
        print(f"| {name} | {len(times_s)} | {figures} |")  # noqa: T201  same


if __name__ == "__main__":
    main()
