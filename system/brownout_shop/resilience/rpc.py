"""The outgoing client for gRPC: discover, balance, break, call, trace, as the one for HTTP does (clauses 3.2, 6.2)."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import StatusCode
from opentelemetry import propagate, trace

from brownout_shop.discovery.registry import Instance
from brownout_shop.problems import RETRY_AFTER, Problem
from brownout_shop.resilience.balancer import Balancer, RoundRobin
from brownout_shop.resilience.calls import Call, Calls
from brownout_shop.resilience.channels import Channels, Line, NotConnectedError
from brownout_shop.resilience.errors import (
    LACKING,
    Answer,
    CalleeFailedError,
    CalleeLackingError,
    CalleeRefusedError,
    CalleeTimedOutError,
    CallError,
)
from brownout_shop.rpc.method import Method
from brownout_shop.rpc.status import REFUSALS, WORD
from brownout_shop.telemetry import metrics

__all__ = ["RpcClient"]

PORT = "grpc"
CONNECT_WITHIN_S = 2.0
"""So that three calls in vain fit into the breaker's window of 10 s; while half-open a call has all its time."""

Request_ = TypeVar("Request_", bound=Message)
Answer_ = TypeVar("Answer_", bound=Message)

log = logging.getLogger(__name__)
tracer = trace.get_tracer("rpc")


class RpcClient:
    """Calls the gRPC methods of other services on behalf of one.

    Args:
        caller: the own service's name; instances are called at their ``grpc-via-<caller>`` address.
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
        self._caller = caller
        self._channels = Channels()
        self._calls = Calls(
            discover,
            port=PORT,
            balance=balance,
            metric=metrics.RPC_CALLS,
            clock=clock,
            on_open=self._channels.hang_up,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._channels.close()

    async def call(self, callee: str, method: Method[Request_, Answer_], request: Request_) -> Answer_:
        """Call a service's method and return its answer.

        Args:
            callee: the service's name.
            method: what to call.
            request: what to ask.

        Raises:
            CallError: see the tree in `errors`.
        """
        with self._calls.begun(callee, method.path[1:]) as call, _traced(method):
            ends_at = time.monotonic() + call.within_s
            with await self._connected(callee, call) as channel:
                return await _sent(channel, callee, method, request, ends_at - time.monotonic())

    async def _connected(self, callee: str, call: Call) -> Line:
        address = call.instance.address_for(self._caller, PORT)
        within_s = call.within_s if call.trial else min(call.within_s, CONNECT_WITHIN_S)
        try:
            async with asyncio.timeout(within_s):
                return await self._channels.connected(callee, address)
        except NotConnectedError as error:
            raise CalleeFailedError(callee, "no connection") from error
        except TimeoutError as error:
            if within_s == call.within_s:
                raise CalleeTimedOutError(callee) from error
            self._channels.hang_up(callee, address)
            raise CalleeFailedError(callee, f"no connection in {within_s:g} s") from error


async def _sent(
    channel: grpc.aio.Channel, callee: str, method: Method[Request_, Answer_], request: Request_, within_s: float
) -> Answer_:
    sends = channel.unary_unary(method.path, method.request.SerializeToString, method.answer.FromString)
    headers: dict[str, str] = {}
    propagate.inject(headers)
    try:
        answer: Answer_ = await sends(request, timeout=within_s, metadata=tuple(headers.items()))
    except grpc.aio.AioRpcError as error:
        trace.get_current_span().set_attribute("rpc.grpc.status_code", error.code().value[0])
        failure = _judged(callee, error)
    else:
        return answer
    # Not from inside: it would keep the call, and with it the connection, for as long as it lives itself.
    raise failure


@contextlib.contextmanager
def _traced(method: Method[Request_, Answer_]) -> Iterator[None]:
    attributes = {"rpc.system": "grpc", "rpc.service": method.service, "rpc.method": method.name}
    with tracer.start_as_current_span(method.path[1:], kind=trace.SpanKind.CLIENT, attributes=attributes):
        yield


def _judged(callee: str, error: grpc.aio.AioRpcError) -> CallError:
    code, detail = error.code(), error.details() or ""
    trailing: Any = error.trailing_metadata() or {}  # a mapping, whatever its stub says
    word = str(trailing.get(WORD, ""))
    if code in REFUSALS:
        return CalleeRefusedError(callee, _answer(Problem(REFUSALS[code], word or "invalid", detail), trailing))
    if code is StatusCode.UNAVAILABLE and word in LACKING:
        return CalleeLackingError(callee, _answer(Problem(503, word, detail), trailing))
    if code is StatusCode.DEADLINE_EXCEEDED:
        return CalleeTimedOutError(callee)
    log.warning("%s: %s: %s", callee, code.name, detail)
    return CalleeFailedError(callee, code.name)


def _answer(problem: Problem, trailing: Any) -> Answer:
    """Return what the callee would have answered over HTTP."""
    response = problem.response()
    retry_after = str(trailing.get(RETRY_AFTER.lower(), ""))
    return Answer(response.status_code, bytes(response.body), str(response.media_type), retry_after)
