"""Spans sent by the OpenTelemetry SDK and collected from a real Jaeger."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id, set_span_in_context

from brownout.cells.jaeger import Jaeger
from brownout.errors import CellError
from brownout.servers import Addresses
from brownout.servers.ports import free_port

pytestmark = pytest.mark.servers


_cells = count()


class Service:
    """A service that only makes spans."""

    def __init__(self, otlp: str, name: str, cell: str) -> None:
        resource = {"service.name": name, "service.instance.id": f"{name}-0", "deployment.environment.name": cell}
        self._provider = TracerProvider(resource=Resource.create(resource), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"http://{otlp}/v1/traces")
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=50_000, schedule_delay_millis=200)
        )
        self.tracer = self._provider.get_tracer("test")

    def flush(self) -> None:
        assert self._provider.force_flush()

    def end(self) -> None:
        self._provider.shutdown()


@pytest.fixture
def cell() -> str:
    return f"j{next(_cells)}"


@pytest.fixture
def service(servers: Addresses, cell: str) -> Iterator[Callable[[str], Service]]:
    """Make a service of the cell."""
    made: dict[str, Service] = {}

    def make(name: str) -> Service:
        made.setdefault(name, Service(servers.otlp, name, cell))
        return made[name]

    yield make
    for each in made.values():
        each.end()


@pytest.fixture
async def jaeger(servers: Addresses) -> AsyncIterator[Jaeger]:
    async with Jaeger(servers.jaeger) as opened:
        yield opened


def trace_of(span: SdkSpan) -> str:
    return format_trace_id(span.get_span_context().trace_id)


def call(caller: Service, callee: Service) -> str:
    """Make the three spans of a call; returns the trace's id."""
    entry = caller.tracer.start_span("POST /orders", kind=SpanKind.SERVER)
    out = caller.tracer.start_span("GET", set_span_in_context(entry), SpanKind.CLIENT)
    served = callee.tracer.start_span("GET /users", set_span_in_context(out), SpanKind.SERVER)
    served.set_attribute("http.response.status_code", 200)
    for span in (served, out, entry):
        span.end()
    return trace_of(entry)


async def test_the_spans_of_a_known_trace_are_collected_with_their_parents(
    jaeger: Jaeger, service: Callable[[str], Service]
) -> None:
    trace = call(service("orders"), service("users"))
    entry, out, served = await jaeger.collect(frozenset([trace]))
    assert [entry.parent_id, out.parent_id, served.parent_id] == ["", entry.span_id, out.span_id]
    assert [each.service for each in (entry, out, served)] == ["orders", "orders", "users"]
    assert [each.kind for each in (entry, out, served)] == ["server", "client", "server"]
    assert {each.trace_id for each in (entry, out, served)} == {trace}
    assert served.name == "GET /users"
    assert served.attributes == {"service.instance.id": "users-0", "http.response.status_code": 200}


async def test_times_are_exact_to_a_microsecond(jaeger: Jaeger, service: Callable[[str], Service]) -> None:
    span = service("orders").tracer.start_span("it", start_time=1_700_000_000_123_456_789)
    span.end(1_700_000_001_123_456_789)
    (found,) = await jaeger.collect(frozenset([trace_of(span)]))
    assert abs(found.start_ns - 1_700_000_000_123_456_789) <= 1000
    assert abs(found.end_ns - 1_700_000_001_123_456_789) <= 2000


async def test_a_span_that_comes_late_is_waited_for(jaeger: Jaeger, service: Callable[[str], Service]) -> None:
    orders, users = service("orders"), service("users")
    entry = orders.tracer.start_span("entry")
    users.tracer.start_span("part", set_span_in_context(entry)).end()
    users.flush()
    entry.end()  # the batch leaves 0.2 s later
    spans = await jaeger.collect(frozenset([trace_of(entry)]))
    assert [span.name for span in spans] == ["entry", "part"]


async def test_a_trace_that_never_comes_is_given_up(jaeger: Jaeger) -> None:
    begun_s = time.monotonic()
    assert await jaeger.collect(frozenset(["0" * 31 + "1"])) == []
    assert time.monotonic() - begun_s < 7


async def test_a_span_id_with_leading_zeros_is_kept_whole(jaeger: Jaeger, service: Callable[[str], Service]) -> None:
    span = service("orders").tracer.start_span("it")
    span.end()
    (found,) = await jaeger.collect(frozenset([trace_of(span)]))
    assert found.span_id == format_span_id(span.get_span_context().span_id)


async def test_twenty_thousand_spans_are_collected(jaeger: Jaeger, service: Callable[[str], Service]) -> None:
    tracer = service("orders").tracer
    traces = set()
    for _ in range(1000):
        with tracer.start_as_current_span("entry") as entry:
            for _ in range(19):
                tracer.start_span("part").end()
        traces.add(trace_of(entry))
    service("orders").flush()
    begun_s = time.monotonic()
    spans = await jaeger.collect(frozenset(traces))
    assert len(spans) == 20_000
    assert time.monotonic() - begun_s < 20


async def test_a_server_that_is_gone_is_an_error() -> None:
    async with Jaeger(f"127.0.0.1:{free_port()}") as gone:
        with pytest.raises(CellError, match="does not answer"):
            await gone.collect(frozenset(["1" * 32]))
