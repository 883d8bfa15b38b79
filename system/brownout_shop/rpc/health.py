"""gRPC's standard health service, which says what /health says (clauses 3.2, 6.5)."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from http import HTTPStatus
from typing import Any, TypeAlias

import grpc

from brownout_shop.middleware import Drain
from brownout_shop.rpc.health_pb2 import DESCRIPTOR, HealthCheckRequest, HealthCheckResponse
from brownout_shop.telemetry.health import Health

__all__ = ["WATCH_EVERY_S", "health_handler"]

WATCH_EVERY_S = 1.0

Status: TypeAlias = HealthCheckResponse.ServingStatus
Context: TypeAlias = "grpc.aio.ServicerContext[HealthCheckRequest, HealthCheckResponse]"


def health_handler(services: Iterable[str], health: Health, drain: Drain) -> "grpc.GenericRpcHandler[Any, Any]":
    """Return what answers Check and Watch; like /health they are neither traced nor counted.

    What is DEGRADED is served. What is DOWN or on its way out is not; Watch ends then, for nothing else will come.

    Args:
        services: the full names that may be asked for, beside the empty one, which is the server's.
        health: what /health asks.
        drain: whether the service is on its way out.
    """
    known = {"", *services}

    async def status_of(service: str) -> Status:
        if service not in known:
            return HealthCheckResponse.SERVICE_UNKNOWN
        well = not drain.begun and (await health.check())[0] == HTTPStatus.OK
        return HealthCheckResponse.SERVING if well else HealthCheckResponse.NOT_SERVING

    async def check(request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        if request.service not in known:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return HealthCheckResponse(status=await status_of(request.service))

    async def watch(request: HealthCheckRequest, _: Context) -> AsyncIterator[HealthCheckResponse]:
        told = None
        while True:
            ending = drain.begun
            if (status := await status_of(request.service)) != told:
                yield HealthCheckResponse(status=status)
                told = status
            if ending:
                return
            await asyncio.sleep(WATCH_EVERY_S)

    return grpc.method_handlers_generic_handler(
        DESCRIPTOR.services_by_name["Health"].full_name,
        {
            "Check": grpc.unary_unary_rpc_method_handler(
                check, HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                watch, HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString
            ),
        },
    )
