"""The open model from Locust's web page: begun there with the page's own numbers, and begun again."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from brownout.servers.ports import free_port
from shop_stand_in import BOUND_S, OPEN, begun, command, written_down


class Page:
    """Locust's web page."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str) -> str:
        with urlopen(self._url + path, timeout=5) as answer:  # noqa: S310 - http by construction
            return str(answer.read().decode())

    def post(self, path: str, **form: object) -> dict[str, Any]:
        with urlopen(self._url + path, urlencode(form).encode(), timeout=5) as answer:  # noqa: S310 - same
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def is_there(self) -> bool:
        try:
            return bool(self.get("/"))
        except URLError:
            return False

    def arrivals(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/arrivals"))
        return found

    def tab(self) -> list[dict[str, Any]]:
        (table,) = json.loads(self.get("/stats/requests"))["extended_stats"]
        rows: list[dict[str, Any]] = table["data"]
        return rows

    def stopped(self) -> bool:
        return bool(json.loads(self.get("/stats/requests"))["state"] == "stopped")


@contextmanager
def page(folder: Path, at: int = 0) -> Iterator[tuple[Page, subprocess.Popen[str]]]:
    port = str(at or free_port())
    words = [word for word in command(OPEN, "--web-host", "127.0.0.1", "--web-port", port) if word != "--headless"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, cwd=folder, text=True, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield Page(f"http://127.0.0.1:{port}"), process
        finally:
            process.kill()
            process.wait()


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def test_runs_are_begun_from_the_page_with_its_numbers(tmp_path: Path) -> None:
    with begun() as stand_in:
        written_down(tmp_path, stand_in.addresses)
        runs_from_the_page(tmp_path)


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    with begun() as stand_in, socket.create_server(("127.0.0.1", 0)) as taken:
        written_down(tmp_path, stand_in.addresses)
        with page(tmp_path, taken.getsockname()[1]) as (_, process):
            assert process.wait(BOUND_S) == 3
    log = (tmp_path / "log").read_text()
    assert "cannot be listened at: Address already in use; --web-port names another" in log
    assert "Traceback" not in log


def runs_from_the_page(folder: Path) -> None:
    with page(folder) as (web, process):
        assert within(BOUND_S, web.is_there), (folder / "log").read_text()
        assert "Journeys arriving a second" in web.get("/")
        users = {"user_count": 4, "spawn_rate": 4, "run_time": "2s"}
        for rate in (30, 10):
            assert web.post("/swarm", **users, rate=rate, shape="constant")["success"]
            assert within(30, lambda: not web.stopped())
            assert within(30, web.stopped), (folder / "log").read_text()
            assert web.arrivals()["arrivals"] == web.arrivals()["generators"]["local"]["ended"] == 2 * rate
            whole, local = web.tab()
            assert (whole["name"], whole["lost"], local["name"]) == (f"All {2 * rate} arrivals", 0, "local")
            assert whole["ended"] == local["ended"] == 2 * rate
            assert whole["late_p99"] == local["late_p99"] >= whole["late_p50"] > 0
            assert web.post("/swarm", **users, rate=-rate, shape="constant")["success"]  # Locust asks nobody
            assert within(30, lambda: bool(web.arrivals()["wrong"]))
            assert within(30, web.stopped)
            assert web.arrivals()["wrong"] == [f"--rate -{rate}: is out of bounds; let it be from 0 to 100000"]
            assert web.arrivals()["arrivals"] == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(BOUND_S) == 1, (folder / "log").read_text()  # of the last run, which was none
