"""What happens around every request: its deadline is kept, it is counted, and a draining server lets go."""

import asyncio
import contextlib
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brownout_shop.problems import Problem
from brownout_shop.resilience import deadline
from brownout_shop.telemetry import metrics

__all__ = ["Drain", "Surroundings"]

PROBES = ("/health", "/metrics")
FAILED = "500"  # from here on a status is an error of the server
_OUT_OF_TIME = Problem(503, "shutting-down", "the service ended before the request did")


class Drain:
    """Whether the service is on its way out."""

    def __init__(self) -> None:
        self.begun = False
        metrics.DRAINING.set(0)

    def begin(self) -> None:
        """From now on each answer closes its connection, so that clients come back elsewhere."""
        self.begun = True
        metrics.DRAINING.set(1)


class Surroundings:
    """The ASGI middleware.

    Args:
        app: what it surrounds.
        drain: told when the service begins to end.
    """

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        status = ""

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
                if self._drain.begun:
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        began = time.perf_counter()
        try:
            with (
                contextlib.suppress(ClientDisconnect),  # who left in the middle of a body waits for no answer
                metrics.IN_FLIGHT.labels(scope["method"]).track_inprogress(),
                deadline.kept(Headers(scope=scope).get(deadline.HEADER)),
            ):
                await self._app(scope, receive, answer)
        except asyncio.CancelledError:
            # The server's time to end is up: uvicorn cancels what it waited for.
            if status:
                raise
            await _OUT_OF_TIME.response()(scope, receive, answer)
        finally:
            took_s = time.perf_counter() - began
            error = "cut" if not status else status if status >= FAILED else ""
            metrics.REQUESTS.labels(scope["method"], _route(scope), status, error).observe(took_s, metrics.exemplar())


def _route(scope: Scope) -> str:
    """Return the route's pattern: a path would be a label without a bound."""
    return getattr(scope.get("route"), "path", "unknown")
