"""Consul: the registry and the configuration of a system."""

import signal

from brownout.servers.ports import free_port, free_ports
from brownout.servers.program import GoModule, Program, Recipe, Release
from brownout.servers.stage import Stage, http
from brownout.undo import Process

__all__ = ["RECIPE", "STOP", "serve", "start"]

_DOWNLOADS = "https://releases.hashicorp.com/consul/{version}"

RECIPE = Recipe(
    name="consul",
    binary="consul",
    version="1.16.3",  # the last line under the MPL
    version_argv=("version",),
    at_least=(1, 14),  # the first with -grpc-tls-port
    release=Release(
        archive=f"{_DOWNLOADS}/consul_{{version}}_linux_{{arch}}.zip",
        checksums=f"{_DOWNLOADS}/consul_{{version}}_SHA256SUMS",
    ),
    origin=GoModule(package="github.com/hashicorp/consul"),
    cost="9 CPU-minutes",
)

_SETTINGS = "disable_update_check = true, limits { http_max_conns_per_client = 0 }"
"""No call to the outside; and no limit to connections, which is 200 a client, and here every client is 127.0.0.1."""


STOP = signal.SIGKILL
"""What ends it; what it knew is gone with it."""


async def start(program: Program, stage: Stage) -> str:
    """Start an agent that keeps all in memory, and return the address of its HTTP API."""
    port = free_port()
    await serve(program, stage, port)
    return f"127.0.0.1:{port}"


async def serve(program: Program, stage: Stage, port: int) -> Process:
    """Start an agent whose HTTP API is at a port; it knows nothing, whatever one before it there knew."""
    server, serf = free_ports(2)
    arguments = {
        "-client": "127.0.0.1",
        "-bind": "127.0.0.1",
        "-http-port": port,
        "-server-port": server,
        "-serf-lan-port": serf,
        "-serf-wan-port": -1,
        "-dns-port": -1,
        "-grpc-port": -1,
        "-grpc-tls-port": -1,
        "-node": "brownout",
        "-log-level": "warn",
        "-hcl": _SETTINGS,
    }
    return await stage.launch(
        program,
        ["agent", "-dev", "-disable-host-node-id", *(f"{key}={value}" for key, value in arguments.items())],
        ready=http(f"http://127.0.0.1:{port}/v1/status/leader", lambda body: body.strip() not in (b"", b'""')),
    )
