"""Toxiproxy: every edge of a system goes through it."""

from brownout.servers.ports import free_port
from brownout.servers.program import GoModule, Program, Recipe, Release
from brownout.servers.stage import Stage, http

__all__ = ["RECIPE", "start"]

_DOWNLOADS = "https://github.com/Shopify/toxiproxy/releases/download/v{version}"

RECIPE = Recipe(
    name="toxiproxy",
    binary="toxiproxy-server",
    version="2.12.0",
    version_argv=("-version",),
    at_least=(2, 5),  # the first with -proxy-metrics
    release=Release(
        archive=f"{_DOWNLOADS}/toxiproxy_{{version}}_linux_{{arch}}.tar.gz",
        checksums=f"{_DOWNLOADS}/checksums.txt",
    ),
    origin=GoModule(
        package="github.com/Shopify/toxiproxy/v2/cmd/server",
        version_variable="github.com/Shopify/toxiproxy/v2.Version",
    ),
    cost="1 CPU-minute",
)


async def start(program: Program, stage: Stage) -> str:
    """Start it and return the address of its API."""
    port = free_port()
    await stage.launch(
        program,
        ["-host", "127.0.0.1", "-port", str(port), "-proxy-metrics"],
        env={"LOG_LEVEL": "error"},  # by default it writes 2 kB a connection
        ready=http(f"http://127.0.0.1:{port}/version"),
    )
    return f"127.0.0.1:{port}"
