"""Where spans go: in batches, over OTLP/HTTP, under the service's name."""

import threading

import aiohttp
import requests
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

__all__ = ["Tracing", "client_tracing"]

SEND_EVERY_MS = 500
SEND_WITHIN_S = 2
FLUSH_WITHIN_S = 1.0
QUEUE_SPANS = 16384
UNTRACED = "/health$,/metrics$"


class Tracing:
    """A service's tracer, from start to flush.

    Args:
        service: the service's name.
        instance: this process's name.
        cell: the environment it belongs to.
        otlp_url: base address of the collector.
    """

    def __init__(self, *, service: str, instance: str, cell: str, otlp_url: str) -> None:
        resource = Resource.create(
            {"service.name": service, "service.instance.id": instance, "deployment.environment.name": cell}
        )
        # Whatever a caller's flag says: it may be anybody's, and would take the request out of our sight.
        # Its own exit handler would wait without a bound for a collector that is gone.
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        session = requests.Session()
        session.trust_env = False  # the collector is reached directly, whatever proxy the shell names
        exporter = OTLPSpanExporter(
            endpoint=f"{otlp_url.rstrip('/')}/v1/traces", timeout=SEND_WITHIN_S, session=session
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUE_SPANS, schedule_delay_millis=SEND_EVERY_MS)
        )
        trace.set_tracer_provider(self._provider)

    @staticmethod
    def follow_app(app: FastAPI) -> None:
        """Trace the requests that `app` answers, except the probes'."""
        FastAPIInstrumentor.instrument_app(app, excluded_urls=UNTRACED, exclude_spans=["receive", "send"])

    def flush(self) -> None:
        """Send what is left and stop; blocks for a second at most, also when the collector is gone."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(FLUSH_WITHIN_S)


def client_tracing() -> aiohttp.TraceConfig:
    """Return what makes an aiohttp session trace its requests and pass the trace on."""
    return create_trace_config()
