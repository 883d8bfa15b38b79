"""The web application around a service's routes: probes, problems, traces, metrics."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from brownout_shop.limits import Limits
from brownout_shop.middleware import Drain, Surroundings
from brownout_shop.problems import answer_problems, documented
from brownout_shop.service import Service
from brownout_shop.telemetry.health import Health

__all__ = ["application"]

ALWAYS = (408, 413, 414, 415, 422, 431, 503)
"""What any route may answer: what is wrong with the request as such; a lost database, a service that ends."""
CALLING = (502, 504)
"""What the routes of a service that calls others may answer besides."""


def application(name: str, service: Service, health: Health, drain: Drain) -> FastAPI:
    """Return a service's application.

    Args:
        name: the service's name.
        service: its routes.
        health: what /health asks.
        drain: whether the service is on its way out.
    """
    app = FastAPI(title=name, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(Limits)
    app.add_middleware(Surroundings, drain=drain)
    answer_problems(app)

    @app.get("/health", include_in_schema=False)
    async def check() -> Response:
        code, document = await health.check()
        return JSONResponse(document, code)

    @app.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(REGISTRY), media_type=content_type)

    app.include_router(service.routes, responses=documented(*ALWAYS, *(CALLING if service.needs else ())))
    return app
