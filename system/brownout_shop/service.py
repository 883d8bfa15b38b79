"""What a service brings to its life: routes, the services it needs, a database perhaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import APIRouter

    from brownout_shop.database import Database  # the gateway has none, and need not load one

__all__ = ["Service"]


@dataclass(frozen=True, slots=True)
class Service:
    """One service, as built from its settings.

    Args:
        routes: its HTTP interface.
        needs: the services it calls.
        database: its own database, if it has one.
    """

    routes: APIRouter
    needs: tuple[str, ...] = ()
    database: Database | None = None
