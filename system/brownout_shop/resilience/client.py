"""The one outgoing client: discover, balance, break, call, trace (clauses 3.1, 4.2, 6.2)."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import aiohttp

from brownout_shop.discovery.registry import Instance
from brownout_shop.problems import ALLOW, CHALLENGE, RETRY_AFTER, word_of
from brownout_shop.resilience import deadline
from brownout_shop.resilience.balancer import Balancer, RoundRobin
from brownout_shop.resilience.calls import Calls
from brownout_shop.resilience.errors import (
    LACKING,
    Answer,
    CalleeFailedError,
    CalleeLackingError,
    CalleeRefusedError,
    CalleeTimedOutError,
    CallError,
    CallRefusedError,
    NoInstanceKnownError,
)
from brownout_shop.resilience.rpc import RpcClient
from brownout_shop.telemetry.tracing import client_tracing

__all__ = [
    "Answer",
    "CallError",
    "CallRefusedError",
    "CalleeFailedError",
    "CalleeLackingError",
    "CalleeRefusedError",
    "CalleeTimedOutError",
    "Client",
    "NoInstanceKnownError",
]

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 15  # shorter than the servers', so that it is never they who end an idle connection


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    body: bytes | None
    headers: Mapping[str, str]


class Client:
    """Calls other services on behalf of one.

    Args:
        caller: the own service's name; instances are called at their ``via-<caller>`` address.
        discover: gives the passing instances of a service.
        balance: makes the balancer of a callee.
        clock: nanoseconds for the breakers, never running backwards.
    """

    def __init__(
        self,
        caller: str,
        discover: Callable[[str], Sequence[Instance]],
        *,
        balance: Callable[[], Balancer] = RoundRobin,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.rpc = RpcClient(caller, discover, balance=balance, clock=clock)
        """The same for gRPC, with breakers of its own."""
        self._caller = caller
        self._calls = Calls(discover, balance=balance, clock=clock)
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            trace_configs=[client_tracing()],
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.rpc.close()
        await self._session.close()

    async def call(
        self,
        callee: str,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call a service and return its answer, whose status is 2xx.

        Args:
            callee: the service's name.
            method: the HTTP method.
            path: the path, quoted, with its query.
            body: the request's body.
            headers: further headers of the request.

        Raises:
            CallError: see the tree in `errors`.
        """
        with self._calls.begun(callee, method) as call:
            url = f"http://{call.instance.address_for(self._caller)}{path}"
            return await self._send(callee, _Request(method, url, body, headers or {}), call.within_s)

    async def _send(self, callee: str, request: _Request, within_s: float) -> Answer:
        headers = {**request.headers, deadline.HEADER: str(int(within_s * 1000))}
        # Above its threshold aiohttp rounds up to whole seconds of its clock: 10 s took 11.
        timeout = aiohttp.ClientTimeout(total=within_s, ceil_threshold=math.inf)
        try:
            async with self._session.request(
                request.method,
                request.url,
                data=request.body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,  # what is not 2xx is an error
            ) as response:
                told = (response.headers.get(name, "") for name in (RETRY_AFTER, ALLOW, CHALLENGE))
                answer = Answer(response.status, await response.read(), response.content_type, *told)
        except TimeoutError as error:
            raise CalleeTimedOutError(callee) from error
        except (aiohttp.ClientError, OSError) as error:
            log.warning("%s: %s", callee, str(error) or type(error).__name__)  # addresses are for nobody else to know
            lacking = "connection" if isinstance(error, aiohttp.ClientConnectorError) else "whole answer"
            raise CalleeFailedError(callee, f"no {lacking}") from error
        return _judged(callee, answer)


def _judged(callee: str, answer: Answer) -> Answer:
    if 200 <= answer.status < 300:  # noqa: PLR2004 - the statuses' classes
        return answer
    if 400 <= answer.status < 500:  # noqa: PLR2004 - same
        raise CalleeRefusedError(callee, answer)
    if answer.status == 503 and word_of(answer.body) in LACKING:  # noqa: PLR2004 - same
        raise CalleeLackingError(callee, answer)
    if answer.status == 504:  # noqa: PLR2004 - same
        raise CalleeTimedOutError(callee)
    raise CalleeFailedError(callee, f"status {answer.status}")
