"""The rules' own tests, and their syntax, by the promtool of the Prometheus that the gate runs with."""

import subprocess
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from boards import PROMETHEUS
from brownout.servers import prometheus
from brownout.servers.cache import Cache, cache_folder
from brownout.servers.go import MODULES
from brownout.servers.program import GoModule
from brownout.servers.provision import provision
from brownout.servers.releases import Releases

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def promtool() -> Path:
    """It comes with the same release, or is built of the same module."""
    origin = prometheus.RECIPE.origin
    assert isinstance(origin, GoModule)
    package = origin.package.replace("cmd/prometheus", "cmd/promtool")
    origin = msgspec.structs.replace(origin, package=package, folder=MODULES / "prometheus")
    recipe = msgspec.structs.replace(prometheus.RECIPE, name="promtool", binary="promtool", origin=origin)
    programs = await provision((recipe,), Cache(cache_folder()), Releases.from_environment(), lambda *_: None)
    return programs["promtool"].path


def ran(promtool: Path, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", sorted((PROMETHEUS / "tests").glob("*.yml")), ids=lambda path: path.name)
async def test_the_rules_do_what_their_tests_say(promtool: Path, path: Path) -> None:
    code, said = ran(promtool, "test", "rules", path)
    assert code == 0, said


@pytest.mark.asyncio(loop_scope="module")
async def test_the_rules_tests_can_fail(promtool: Path, tmp_path: Path) -> None:
    """A breaker that is not closed is told after half a minute: with another threshold it would not be."""
    for path in PROMETHEUS.glob("*.yml"):
        text = path.read_text().replace("(shop_breaker_state) > 0", "(shop_breaker_state) > 2")
        (tmp_path / path.name).write_text(text)
    (tmp_path / "tests").mkdir()
    test = tmp_path / "tests" / "alerts.yml"
    test.write_text((PROMETHEUS / "tests/alerts.yml").read_text())
    code, said = ran(promtool, "test", "rules", test)
    assert code != 0
    assert "alertname: BreakerOpen" in said


@pytest.mark.asyncio(loop_scope="module")
async def test_prometheus_takes_its_configuration_with_all_rules(promtool: Path) -> None:
    code, said = ran(promtool, "check", "config", PROMETHEUS / "prometheus.yml")
    assert code == 0, said
    assert "2 rule files found" in said
