"""A Consul small enough for a test: the endpoints that registry and configuration use, on loopback."""

import asyncio
import contextlib
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web

__all__ = ["FakeConsul"]


class FakeConsul:
    """Keeps registrations and keys in memory, answers blocking queries, and forgets all when told to. Held open.

    Args:
        port: where to listen; 0 picks a free port, which `url` then names.
    """

    def __init__(self, port: int = 0) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        """The registrations by id, as they were sent."""
        self.queries: list[dict[str, str]] = []
        """The parameters of each blocking query."""
        self.keys: dict[str, tuple[str, int]] = {}
        """The keys, each with its value and the index at which it was written."""
        self.index = 100
        self._changed = asyncio.Condition()
        self._closed = False
        self._port = port
        app = web.Application()
        app.router.add_get("/v1/status/leader", self._leader)
        app.router.add_put("/v1/agent/service/register", self._register)
        app.router.add_put("/v1/agent/service/deregister/{id}", self._deregister)
        app.router.add_get("/v1/agent/service/{id}", self._service)
        app.router.add_get("/v1/health/service/{name}", self._health)
        app.router.add_get("/v1/kv/{key:.+}", self._get)
        app.router.add_put("/v1/kv/{key:.+}", self._put)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """The base address."""
        return f"http://127.0.0.1:{self._port}"

    async def change(self, services: dict[str, dict[str, Any]], *, index: int | None = None) -> None:
        """Replace all registrations and end the blocking queries; a smaller `index` is what a restart looks like."""
        async with self._changed:
            self.services = services
            self.index = self.index + 1 if index is None else index
            self._changed.notify_all()

    async def write(self, key: str, value: str | None, *, index: int | None = None) -> None:
        """Write a key, or delete it with None; `index` is as for `change`, and a smaller one forgets all other keys."""
        async with self._changed:
            self.keys = {} if index is not None and index < self.index else self.keys
            self.index = self.index + 1 if index is None else index
            self.keys.pop(key, None)
            if value is not None:
                self.keys[key] = value, self.index
            self._changed.notify_all()

    async def _leader(self, _: web.Request) -> web.Response:
        return web.json_response("127.0.0.1:8300")

    async def _register(self, request: web.Request) -> web.Response:
        service = await request.json()
        await self.change({**self.services, service["ID"]: service})
        return web.Response()

    async def _deregister(self, request: web.Request) -> web.Response:
        left = {key: value for key, value in self.services.items() if key != request.match_info["id"]}
        if len(left) == len(self.services):
            return web.Response(status=404)
        await self.change(left)
        return web.Response()

    async def _service(self, request: web.Request) -> web.Response:
        service = self.services.get(request.match_info["id"])
        return web.json_response(service) if service else web.Response(status=404)

    async def _health(self, request: web.Request) -> web.Response:
        if not await self._newer(request, lambda: self.index):
            return web.Response(status=500)
        entries = [
            {"Service": {**service, "Service": service["Name"]}}
            for service in self.services.values()
            if service["Name"] == request.match_info["name"]
        ]
        return web.json_response(entries, headers={"X-Consul-Index": str(self.index)})

    async def _get(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]

        def index() -> int:
            return self.keys[key][1] if key in self.keys else self.index

        if "index" in request.query and not await self._newer(request, index):
            return web.Response(status=500)
        headers = {"X-Consul-Index": str(index())}
        if key not in self.keys:
            return web.Response(status=404, headers=headers)
        value, written = self.keys[key]
        encoded = b64encode(value.encode()).decode() if value else None
        return web.json_response([{"Key": key, "Value": encoded, "ModifyIndex": written}], headers=headers)

    async def _put(self, request: web.Request) -> web.Response:
        await self.write(request.match_info["key"], await request.text())
        return web.json_response(data=True)

    async def _newer(self, request: web.Request, index: Callable[[], int]) -> bool:
        """Hold a query until its index has moved or its wait is over; False when the agent ends."""
        self.queries.append(dict(request.query))
        asked, wait_s = int(request.query["index"]), float(request.query["wait"].removesuffix("s"))
        # If nothing changes it is the same answer again, as Consul does.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s), self._changed:
                await self._changed.wait_for(lambda: self._closed or index() != asked)
        return not self._closed
