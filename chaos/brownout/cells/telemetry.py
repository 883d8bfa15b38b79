"""What the observing servers know of a cell: its spans from Jaeger, its metrics from Prometheus."""

from brownout.cells.jaeger import Jaeger
from brownout.cells.prometheus import Prometheus
from brownout.recording import Series, Span

__all__ = ["ServerTelemetry"]


class ServerTelemetry:
    """The telemetry of one cell; implements `brownout.cell.Telemetry`.

    Args:
        jaeger: ``host:port`` of Jaeger's query API.
        prometheus: ``host:port`` of Prometheus' API.
        cell: the cell's name: the traces' environment and the metrics' label.
        services: those that run in it.
    """

    def __init__(self, jaeger: str, prometheus: str, cell: str, services: tuple[str, ...]) -> None:
        self._jaeger = jaeger
        self._prometheus = prometheus
        self._cell = cell
        self._services = services

    async def collect(self, from_ns: int, to_ns: int, traces: frozenset[str]) -> tuple[list[Span], list[Series]]:
        """Spans of the traces, and all metric series, of a time.

        Raises:
            CellError: a server did not answer.
        """
        async with Jaeger(self._jaeger) as jaeger, Prometheus(self._prometheus) as prometheus:
            spans = await jaeger.collect(self._cell, self._services, from_ns, to_ns, traces)
            series = await prometheus.collect(self._cell, from_ns, to_ns)
        return spans, series
