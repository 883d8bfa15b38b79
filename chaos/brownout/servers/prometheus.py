"""Prometheus: scrapes every instance that Consul knows, and Toxiproxy, once a second."""

from pathlib import Path

from brownout.servers.ports import free_port
from brownout.servers.program import GoModule, Program, Recipe, Release
from brownout.servers.stage import Stage, http

__all__ = ["RECIPE", "start"]

_DOWNLOADS = "https://github.com/prometheus/prometheus/releases/download/v{version}"

RECIPE = Recipe(
    name="prometheus",
    binary="prometheus",
    version="3.16.0",
    version_argv=("--version",),
    at_least=(3, 0),  # older ones were not tried
    release=Release(
        archive=f"{_DOWNLOADS}/prometheus-{{version}}.linux-{{arch}}.tar.gz",
        checksums=f"{_DOWNLOADS}/sha256sums.txt",
    ),
    origin=GoModule(
        package="github.com/prometheus/prometheus/cmd/prometheus",
        tags=("remove_all_sd", "enable_consul_sd"),  # what else it can discover would bring 500 modules more
        version_variable="github.com/prometheus/common/version.Version",
    ),
    cost="5 CPU-minutes",
    note="no web page: built from modules; its API works",
)

DISCOVERY_MS = 200
"""How often new instances are taken up; the flag's default is 5 s, longer than some faults."""

_CONFIGURATION = """\
global:
  scrape_interval: 1s
  scrape_timeout: 1s
scrape_configs:
  - job_name: services
    consul_sd_configs:
      - server: {consul}
        refresh_interval: 1s
    relabel_configs:
      - source_labels: [__meta_consul_service_metadata_cell]
        regex: .+
        action: keep
      - source_labels: [__meta_consul_service_metadata_cell]
        target_label: cell
      - source_labels: [__meta_consul_service]
        target_label: service
      - source_labels: [__meta_consul_service_id]
        target_label: instance
  - job_name: toxiproxy
    static_configs:
      - targets: ["{toxiproxy}"]
"""
"""Only what has the metadata ``cell`` is scraped, as ``{{cell, service, instance}}``; instance is its id in Consul."""


async def start(program: Program, stage: Stage, *, consul: str, toxiproxy: str) -> str:
    """Start it and return the address of its API.

    Args:
        program: what to start.
        stage: where to start it.
        consul: the address to discover services at.
        toxiproxy: the address of its API, where its metrics are.
    """
    port = free_port()
    folder = _write(stage.scratch, consul, toxiproxy)
    await stage.launch(
        program,
        [
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--scrape.discovery-reload-interval={DISCOVERY_MS}ms",
            "--log.level=warn",
        ],
        ready=http(f"http://127.0.0.1:{port}/-/ready"),
    )
    return f"127.0.0.1:{port}"


def _write(scratch: Path, consul: str, toxiproxy: str) -> Path:
    folder = scratch / "prometheus"
    folder.mkdir(exist_ok=True)
    configuration = _CONFIGURATION.format(consul=consul, toxiproxy=toxiproxy)
    (folder / "prometheus.yml").write_text(configuration)
    return folder
