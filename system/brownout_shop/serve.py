"""A service's life: configure, listen, see that it is well, register, serve, deregister, drain, end (clause 6.6)."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from importlib import import_module
from typing import Any, Literal

import aiohttp
import uvicorn
import uvloop
from fastapi import FastAPI

from brownout_shop.application import application
from brownout_shop.discovery.configuration import Configuration
from brownout_shop.discovery.registry import Instance, Registration, Registry
from brownout_shop.middleware import Drain
from brownout_shop.protocol import Protocol
from brownout_shop.resilience.balancer import BALANCERS
from brownout_shop.resilience.client import Client
from brownout_shop.rpc.health import health_handler
from brownout_shop.rpc.server import Server
from brownout_shop.service import Companion, Service
from brownout_shop.settings import Settings, SettingsError, read_settings
from brownout_shop.telemetry.health import Health
from brownout_shop.telemetry.logs import log_as_json
from brownout_shop.telemetry.tracing import Tracing

__all__ = ["Name", "run"]

Name = Literal["gateway", "users", "products", "orders", "payments", "provider", "notifications"]

WELL_WITHIN_S = 30.0
PROPAGATION_S = 1.0  # until every caller's watch has told it that we are gone
END_WITHIN_S = 30.0  # of the signal
TICKS_S = 0.15  # which uvicorn takes to notice that it is done, 0.1 s at most
DATE_S = 1.0  # how often the date in the answers moves on
CLOSE_WITHIN_S = 1.0
KEEP_ALIVE_S = 75  # longer than the clients', so that it is never we who end an idle connection
BACKLOG = 2048

log = logging.getLogger(__name__)


class StartError(Exception):
    """A service cannot start; told in one line."""


def run(name: Name) -> int:
    """Run a service until SIGINT or SIGTERM.

    Returns:
        The exit code: 0 after a signal, 1 if the service could not start or ended by itself.
    """
    try:
        settings = read_settings()
        log_as_json(service=name, cell=settings.cell, instance=settings.instance, secrets=settings.secrets)
        tracing = Tracing(service=name, instance=settings.instance, cell=settings.cell, otlp_url=settings.otlp_url)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_live(name, settings, tracing))
        tracing.flush()
    except (SettingsError, StartError) as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    return 0


async def _live(name: Name, settings: Settings, tracing: Tracing) -> None:
    stop = _signalled()
    registration = Registration(
        service=name,
        instance=settings.instance,
        cell=settings.cell,
        host=settings.host,
        port=settings.port,
        tagged=settings.advertise,
    )
    async with (
        Registry(settings.consul_url, registration) as registry,
        Configuration(settings.consul_url, settings.cell) as configuration,
        Client(name, _discovery(registry, settings), balance=BALANCERS[settings.balancer]) as client,
    ):
        service: Service = import_module(f"brownout_shop.{name}.app").build(settings, client)
        for needed in service.needs:
            registry.watch(needed)
        for key, changed in service.watches.items():
            configuration.watch(key, changed)
        drain, health = Drain(), _health(service, registry)
        app = application(name, service, health, drain)
        tracing.follow_app(app)
        companions = (*service.companions, *_rpc_server(service, settings, health, drain))
        try:
            if service.database is not None and not await _unless(stop, service.database.prepare()):
                return
            with _listening(app, settings) as server:
                await asyncio.gather(*(companion.start() for companion in companions))
                await _serve(server, settings, registry, drain, stop, companions)
        finally:
            await _close(service)


def _discovery(registry: Registry, settings: Settings) -> Callable[[str], Sequence[Instance]]:
    """Return who finds instances: the registry, but for those at plain addresses, who are nobody's to register."""
    callback = {"gateway": settings.callback}
    addresses = {"provider": settings.provider, "sms": settings.sms, "push": settings.push} | callback
    plain = {name: (Instance(name, address),) for name, address in addresses.items() if address}
    return lambda name: plain.get(name) or registry.instances(name)


def _signalled() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set, whatever the service is doing by then."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def _health(service: Service, registry: Registry) -> Health:
    return Health(
        consul=lambda: registry.reachable,
        has_instance=lambda name: bool(registry.instances(name)),
        needs=service.needs,
        database=service.database.answers if service.database else None,
    )


def _rpc_server(service: Service, settings: Settings, health: Health, drain: Drain) -> tuple[Companion, ...]:
    """Return the gRPC server, if there is to be one."""
    if not settings.grpc_listen:
        return ()
    names = {method.service for method in service.methods}
    return (Server(settings.grpc_listen, service.methods, health_handler(names, health, drain)),)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: they would close the listener first, and end the process with -15."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        super().__init__(config)
        self._finishing = asyncio.Event()
        try:
            self.listener = socket.create_server((settings.host, settings.port), backlog=BACKLOG)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise StartError(f"{settings.listen}: {reason}") from error
        self.task: asyncio.Task[None]

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    async def main_loop(self) -> None:
        """Wait for the end; uvicorn's own loop looks ten times a second whether it has come."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._finishing.wait(), DATE_S)

    async def finish(self, within_s: float) -> None:
        """Stop accepting and finish what is in flight; what is not done in time is cut."""
        self.config.timeout_graceful_shutdown = within_s  # type: ignore[assignment]  # declared int, used as a float
        self.should_exit = True
        self._finishing.set()
        await self.task


@contextlib.contextmanager
def _listening(app: FastAPI, settings: Settings) -> Iterator[_Server]:
    server = _Server(app, settings)
    with contextlib.closing(server.listener):
        server.task = asyncio.create_task(server.serve(sockets=[server.listener]))
        try:
            yield server
        finally:
            server.task.cancel()


async def _serve(
    server: _Server,
    settings: Settings,
    registry: Registry,
    drain: Drain,
    stop: asyncio.Event,
    companions: tuple[Companion, ...],
) -> None:
    if await _unless(stop, _well(f"http://{settings.listen}/health")):
        registry.register()
        if await _unless(stop, asyncio.shield(server.task)):
            raise StartError("the server ended by itself")
    signalled_at = asyncio.get_running_loop().time()
    log.info("draining")
    drain.begin()
    await registry.deregister()
    await asyncio.sleep(PROPAGATION_S)
    left_s = END_WITHIN_S - TICKS_S - (asyncio.get_running_loop().time() - signalled_at)
    await asyncio.gather(server.finish(left_s), *(companion.stop(left_s) for companion in companions))
    log.info("done")


async def _well(url: str) -> None:
    """Return once our own /health says UP or DEGRADED.

    Raises:
        StartError: it has not in 30 s.
    """
    deadline = asyncio.get_running_loop().time() + WELL_WITHIN_S
    said = "nothing"
    async with aiohttp.ClientSession() as session:
        while asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
                    said = await answer.text()
                    if answer.ok:
                        return
            await asyncio.sleep(0.1)
    raise StartError(f"not well in {WELL_WITHIN_S:.0f} s, /health says {said}")


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> bool:
    """Return whether `work` ended before `stop` was set; otherwise it is cancelled."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        await working
        return True
    finally:
        working.cancel()
        stopping.cancel()


async def _close(service: Service) -> None:
    """Close the database's connections, but wait no longer than a second for one that does not answer."""
    if service.database is not None:
        await asyncio.wait({asyncio.ensure_future(service.database.close())}, timeout=CLOSE_WITHIN_S)
