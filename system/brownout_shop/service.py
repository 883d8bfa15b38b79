"""What a service brings to its life: routes, the services it needs; a database, companions, methods, keys perhaps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from fastapi import APIRouter

    from brownout_shop.database import Database  # the gateway has none, and need not load one
    from brownout_shop.discovery.configuration import Changed
    from brownout_shop.rpc.method import Method
    from brownout_shop.rpc.server import Handler

__all__ = ["Companion", "Service"]


class Companion(Protocol):
    """Something that works beside the HTTP server, as long as the service lives: a relay, a consumer, a gRPC server."""

    async def start(self) -> None:
        """Begin; a server that is away is tried again later, and raises nothing."""

    async def stop(self, within_s: float) -> None:
        """Take nothing new, and finish what is in flight, within so many seconds."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service, as built from its settings.

    Args:
        routes: its HTTP interface.
        needs: the services it calls.
        database: its own database, if it has one.
        companions: started before it registers, stopped beside the HTTP server.
        methods: what it answers by gRPC, if it is told where to listen for that.
        watches: keys of the configuration, and what is told each new value (clause 5).
    """

    routes: APIRouter
    needs: tuple[str, ...] = ()
    database: Database | None = None
    companions: tuple[Companion, ...] = ()
    methods: Mapping[Method[Any, Any], Handler] = field(default_factory=dict)
    watches: Mapping[str, Changed] = field(default_factory=dict)
