"""What /health says (clause 6.5)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from brownout_shop.telemetry import metrics

__all__ = ["Health", "combine"]

OK, UNAVAILABLE = 200, 503


def combine(*, database: bool | None, consul: bool, needs: Mapping[str, bool]) -> tuple[int, dict[str, str]]:
    """Return the status code and the document for what is up.

    Without the database the service is DOWN, whatever else holds; without Consul or a needed service it is
    DEGRADED, and goes on with what it has.

    Args:
        database: whether it answers; None for a service that has none.
        consul: whether it can be reached.
        needs: for each needed service, whether an instance of it passes.
    """
    parts = {"consul": consul, **needs}
    status = "UP" if all(parts.values()) else "DEGRADED"
    if database is not None:
        parts = {"database": database, **parts}
        status = status if database else "DOWN"
    document = {"status": status, **{name: "UP" if up else "DOWN" for name, up in parts.items()}}
    return UNAVAILABLE if status == "DOWN" else OK, document


@dataclass(frozen=True, slots=True)
class Health:
    """Asks the parts of a service how they are, within the 3 s that Consul's check waits.

    Args:
        consul: whether Consul can be reached, as last known.
        has_instance: whether a service has a passing instance.
        needs: the needed services.
        database: asks the database; None for a service that has none.
    """

    consul: Callable[[], bool]
    has_instance: Callable[[str], bool]
    needs: tuple[str, ...] = ()
    database: Callable[[], Awaitable[bool]] | None = field(default=None)

    async def check(self) -> tuple[int, dict[str, str]]:
        """Return /health's status code and document, and note it in the metrics."""
        database = await self.database() if self.database else None
        needs = {name: self.has_instance(name) for name in self.needs}
        code, document = combine(database=database, consul=self.consul(), needs=needs)
        for part, state in document.items():
            metrics.HEALTH.labels(part).set(state == "UP")
        return code, document
