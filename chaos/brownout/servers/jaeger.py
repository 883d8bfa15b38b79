"""Jaeger: keeps the spans of a run in memory."""

from brownout.servers.ports import free_port, free_ports
from brownout.servers.program import GoModule, Program, Recipe, Release
from brownout.servers.stage import Stage, http

__all__ = ["RECIPE", "start"]

_DOWNLOADS = "https://github.com/jaegertracing/jaeger/releases/download/v{version}"

MAX_TRACES = 200_000
"""Traces kept in memory, the oldest are dropped first: 100 requests a second for half an hour."""

QUEUED_SPANS = 50_000
"""Spans that may wait to be stored; what comes beyond is dropped. The default of 2000 is less than one burst."""

_CLOSED = (
    "collector.grpc-server.host-port",
    "collector.http-server.host-port",
    "collector.otlp.grpc.host-port",
    "http-server.host-port",
    "processor.jaeger-binary.server-host-port",
    "processor.jaeger-compact.server-host-port",
    "processor.zipkin-compact.server-host-port",
    "query.grpc-server.host-port",
)
"""Listeners that nothing here uses and that cannot be switched off; else each is on all interfaces."""

RECIPE = Recipe(
    name="jaeger",
    binary="jaeger-all-in-one",
    version="1.62.0",
    version_argv=("version",),
    at_least=(1, 62),  # the flags above are those of this version
    below=(2,),
    release=Release(
        archive=f"{_DOWNLOADS}/jaeger-{{version}}-linux-{{arch}}.tar.gz",
        checksums=f"{_DOWNLOADS}/jaeger-{{version}}.sha256sum.txt",
    ),
    origin=GoModule(
        package="github.com/jaegertracing/jaeger/cmd/all-in-one",
        version_variable="github.com/jaegertracing/jaeger/pkg/version.latestVersion",
        version_prefix="v",
    ),
    cost="6 CPU-minutes",
    note="no web page: built from modules; its API works",
)


async def start(program: Program, stage: Stage) -> tuple[str, str]:
    """Start it and return the addresses of OTLP over HTTP and of its query API."""
    otlp, query, admin = free_ports(3)
    listeners = {
        "collector.otlp.http.host-port": otlp,
        "query.http-server.host-port": query,
        "admin.http.host-port": admin,
        **{name: free_port() for name in _CLOSED},
    }
    await stage.launch(
        program,
        [
            f"--memory.max-traces={MAX_TRACES}",
            f"--collector.queue-size={QUEUED_SPANS}",
            "--log-level=warn",
            *(f"--{name}=127.0.0.1:{port}" for name, port in listeners.items()),
        ],
        env={"SPAN_STORAGE_TYPE": "memory", "OTEL_TRACES_SAMPLER": "always_off"},  # no spans of its own
        ready=http(f"http://127.0.0.1:{admin}/"),
    )
    return f"127.0.0.1:{otlp}", f"127.0.0.1:{query}"
