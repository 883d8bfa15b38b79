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
    """

    def __init__(self, jaeger: str, prometheus: str, cell: str) -> None:
        self._jaeger = jaeger
        self._prometheus = prometheus
        self._cell = cell

    async def collect(self, from_ns: int, to_ns: int, traces: frozenset[str]) -> tuple[list[Span], list[Series]]:
        """Spans of the traces, and all metric series, of a time.

        Raises:
            CellError: a server did not answer.
        """
        async with Jaeger(self._jaeger) as jaeger, Prometheus(self._prometheus) as prometheus:
            spans = await jaeger.collect(traces)
            series = await prometheus.collect(self._cell, from_ns, to_ns)
        return spans, series

    async def evaluate(self, query: str, from_ns: int, to_ns: int) -> list[Series]:
        """What a query comes to over a time; ``$cell`` in it is the cell's name.

        Raises:
            CellError: it is no query, or the server did not answer.
        """
        async with Prometheus(self._prometheus) as prometheus:
            return await prometheus.evaluate(query.replace("$cell", self._cell), from_ns, to_ns)
