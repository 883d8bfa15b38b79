"""The gRPC server beside a service's HTTP server: traced, counted, with the caller's deadline (clauses 3.2, 6.4)."""

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from opentelemetry import propagate, trace

from brownout_shop.problems import RETRY_AFTER, Problem
from brownout_shop.resilience import deadline
from brownout_shop.rpc.method import Method
from brownout_shop.rpc.status import WORD, code_of
from brownout_shop.telemetry import metrics

__all__ = ["Handler", "Server"]

Handler: TypeAlias = Callable[[Any], Awaitable[Message]]
"""Answers one request; what it refuses it raises as a `Problem`."""

# Only the stubs know them to be generic.
GenericHandler: TypeAlias = "grpc.GenericRpcHandler[Any, Any]"
MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

# Two processes that listen on one port would share its calls instead of telling of the mistake.
OPTIONS = (("grpc.so_reuseport", 0),)
OUR_FAULT = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
}

log = logging.getLogger(__name__)
tracer = trace.get_tracer("rpc")


class Server:
    """A companion that serves methods.

    Args:
        listen: ``host:port`` to bind; port 0 picks a free one, which `port` then names.
        handlers: who answers each method.
        others: serve what is no method of ours, as they are.
    """

    def __init__(self, listen: str, handlers: Mapping[Method[Any, Any], Handler], *others: GenericHandler) -> None:
        self.port = 0
        self._listen = listen
        self._handlers = [
            *others,
            *(
                grpc.method_handlers_generic_handler(method.service, {method.name: _served(method, handler)})
                for method, handler in handlers.items()
            ),
        ]
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            RuntimeError: the address cannot be bound.
        """
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers(self._handlers)
        self.port = self._server.add_insecure_port(self._listen)
        await self._server.start()

    async def stop(self, within_s: float) -> None:
        """Take nothing new, finish what is in flight, and cut what is not done within so many seconds."""
        if self._server is not None:
            await self._server.stop(within_s)


def _served(method: Method[Any, Any], handler: Handler) -> MethodHandler:
    async def answered(sent: bytes, context: Context) -> Message:
        with _observed(method, context) as observed, deadline.kept(_time_left_ms(context)):
            try:
                answer = await handler(method.request.FromString(sent))
            except Problem as problem:
                refusal = problem
            except DecodeError:  # left to the library it would be UNKNOWN, which counts against us
                refusal = Problem(422, "invalid", f"no {method.request.DESCRIPTOR.full_name}")
            except Exception as error:
                log.error("unforeseen error", exc_info=error)  # noqa: TRY400 - as problems.py tells it
                refusal = Problem(500, "internal", "an error that nobody foresaw")
            else:
                observed.code = grpc.StatusCode.OK
                return answer
            observed.code = code_of(refusal)
            return await context.abort(observed.code, refusal.detail, _trailing(refusal))

    return grpc.unary_unary_rpc_method_handler(answered, response_serializer=method.answer.SerializeToString)


@dataclass(slots=True)
class _Observed:
    """How a call ends; one that gets no answer is cut: its caller gave up, or our time to end was up."""

    code: grpc.StatusCode | None = None


@contextlib.contextmanager
def _observed(method: Method[Any, Any], context: Context) -> Iterator[_Observed]:
    """Hold a call's span and count it."""
    began, observed = time.perf_counter(), _Observed()
    sent = propagate.extract(dict(context.invocation_metadata() or ()))
    attributes = {"rpc.system": "grpc", "rpc.service": method.service, "rpc.method": method.name}
    with (
        metrics.IN_FLIGHT.labels("POST").track_inprogress(),
        tracer.start_as_current_span(
            method.path[1:],
            sent,
            trace.SpanKind.SERVER,
            attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span,
    ):
        try:
            yield observed
        finally:
            code = observed.code or grpc.StatusCode.CANCELLED
            span.set_attribute("rpc.grpc.status_code", code.value[0])
            if code in OUR_FAULT:
                span.set_status(trace.StatusCode.ERROR)
            took_s = time.perf_counter() - began
            metrics.RPC_REQUESTS.labels(method.path[1:], code.name).observe(took_s, metrics.exemplar())


def _trailing(refusal: Problem) -> tuple[tuple[str, str], ...]:
    """Return what a problem says besides its code and detail: its word, and when to come again."""
    wait = refusal.headers.get(RETRY_AFTER)
    return (WORD, refusal.word), *([(RETRY_AFTER.lower(), wait)] if wait else ())


def _time_left_ms(context: Context) -> str | None:
    """Return the time left of the caller's deadline, if it has one."""
    left_s = context.time_remaining()
    return None if left_s is None else str(max(0, int(left_s * 1000)))
