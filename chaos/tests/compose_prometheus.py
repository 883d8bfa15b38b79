"""The Prometheus of the compose file, with its configuration, rules and flags; only the addresses are others."""

from typing import Any

import msgspec
import yaml

from boards import PROMETHEUS, ROOT
from brownout.servers import Program
from brownout.servers.ports import free_port
from brownout.servers.stage import Stage, http


async def start(program: Program, stage: Stage, *, consul: str, toxiproxy: str) -> str:
    """Start it, and return its address; it looks at its rules each second."""
    port, path = free_port(), stage.scratch / "compose.yml"
    path.write_text(yaml.safe_dump(configuration(consul, toxiproxy)))
    others = {
        "--config.file": path,
        "--storage.tsdb.path": stage.scratch / "compose",
        "--web.listen-address": f"127.0.0.1:{port}",
    }
    containers = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    flags = [flag for flag in containers["prometheus"]["command"] if flag.partition("=")[0] not in others]
    await stage.launch(
        msgspec.structs.replace(program, name="prometheus-of-compose"),
        [*flags, *(f"{name}={value}" for name, value in others.items())],
        ready=http(f"http://127.0.0.1:{port}/-/ready"),
    )
    return f"127.0.0.1:{port}"


def configuration(consul: str, toxiproxy: str) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    made["global"]["evaluation_interval"] = "1s"
    made["rule_files"] = [str(PROMETHEUS / name) for name in made["rule_files"]]
    scrapes = {each["job_name"]: each for each in made["scrape_configs"]}
    scrapes["services"]["consul_sd_configs"][0]["server"] = consul
    scrapes["toxiproxy"]["static_configs"] = [{"targets": [toxiproxy]}]
    return made
