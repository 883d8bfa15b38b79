"""The locustfile, run by Locust itself against small real servers that stand for the shop."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_hex
from threading import Event, Thread
from typing import Any

import msgspec
import pytest

from brownout.live import State, began_at, write_state

LOCUSTFILE = Path(__file__).parents[2] / "loadtests" / "locustfile.py"
SERVICES = ("gateway", "users", "orders")
USERS = 20
BOUND_S = 60


class Sent(msgspec.Struct, frozen=True):
    """A request as it arrived at a service."""

    service: str
    method: str
    path: str
    body: Any
    headers: dict[str, str]
    answer: Any

    @property
    def trace_id(self) -> str:
        return self.headers["traceparent"].split("-")[1]


Answer = Callable[[str, str, Any], tuple[int, Any]]


class StandIn(ThreadingHTTPServer):
    """A service that answers as it is told and keeps what it was asked."""

    def __init__(self, name: str, answer: Answer, sent: list[Sent]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name, self.answer, self.sent = name, answer, sent
        self.connections = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept unless the client says otherwise
    server: StandIn

    def _serve(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "null")
        status, answer = self.server.answer(self.command, self.path, body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.sent.append(Sent(self.server.name, self.command, self.path, body, headers, answer))
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        if self.close_connection:  # the client's wish, confirmed as RFC 9112, 9.6, asks for
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = _serve  # noqa: N815 - the standard library's names

    def log_message(self, *_: object) -> None:
        pass


class Run(msgspec.Struct, frozen=True):
    """How a run of Locust ended, and what it had sent."""

    code: int
    log: str
    statistics: dict[str, dict[str, Any]]
    sent: list[Sent]
    connections: int

    def to(self, method: str, path: str) -> list[Sent]:
        return [one for one in self.sent if one.method == method and re.fullmatch(path, one.path)]


def shop(method: str, path: str, body: Any) -> tuple[int, Any]:
    """Answer as a shop that is well."""
    if path == "/login":
        return 200, {"token": f"token-{body['email']}"}
    return (201, {"id": token_hex(16)}) if method == "POST" else (200, {})


@contextmanager
def serving(answer: Answer) -> Iterator[list[StandIn]]:
    sent: list[Sent] = []
    with ExitStack() as stack:
        servers = [stack.enter_context(StandIn(name, answer, sent)) for name in SERVICES]
        for server in servers:
            Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            stack.callback(server.shutdown)
        yield servers


def written_down(folder: Path, addresses: dict[str, str]) -> None:
    pid = os.getpid()
    (folder / "runs" / "up").mkdir(parents=True)
    write_state(folder / "runs" / "up", State(pid, began_at(pid) or 0, "topology.toml", "gateway", addresses))


def locust(folder: Path, *arguments: str, run_s: int) -> tuple[int, str, dict[str, dict[str, Any]]]:
    command = ["-f", str(LOCUSTFILE), "--headless", "--only-summary", "--json-file", "statistics"]
    load = ["-u", str(USERS), "-r", str(USERS), "-t", f"{run_s}s"]
    done = subprocess.run(
        [sys.executable, "-m", "locust", *command, *load, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )
    file = folder / "statistics.json"
    rows = json.loads(file.read_text()) if file.exists() else []
    return done.returncode, done.stdout + done.stderr, {f"{row['method']} {row['name']}": row for row in rows}


def run(folder: Path, answer: Answer, *arguments: str, run_s: int = 2) -> Run:
    with serving(answer) as servers:
        written_down(folder, {server.name: server.url for server in servers})
        code, log, statistics = locust(folder, *arguments, run_s=run_s)
        return Run(code, log, statistics, servers[0].sent, sum(server.connections for server in servers))


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("well"), shop, "ClosedBuy", "ClosedReadOrder", run_s=3)


def test_a_shop_that_answers_is_exit_code_0(well: Run) -> None:
    assert well.code == 0, well.log


def test_a_user_is_arranged_once_for_many_journeys(well: Run) -> None:
    journeys = well.to("GET", "/api/.*")  # each of the two has one
    assert 0 < len(well.to("POST", "/users")) <= USERS < len(journeys)


def test_an_order_that_was_placed_is_the_one_that_is_paid(well: Run) -> None:
    placed = [one.answer["id"] for one in well.to("POST", "/api/orders")]
    paid = [one.body["order_id"] for one in well.to("POST", "/api/payments")]
    assert paid
    assert set(paid) <= set(placed)
    assert len(set(paid)) == len(paid)


def test_an_order_that_was_arranged_is_the_one_that_is_read(well: Run) -> None:
    placed = {one.answer["id"] for one in well.to("POST", "/orders")}
    read = {one.path.rpartition("/")[2] for one in well.to("GET", "/api/orders/.*")}
    assert read
    assert read <= placed


def test_a_user_comes_with_the_token_of_the_login(well: Run) -> None:
    tokens = {f"Bearer {one.answer['token']}" for one in well.to("POST", "/login")}
    bearers = {one.headers["authorization"] for one in well.to("GET", "/api/.*")}
    assert len(bearers) > 1
    assert bearers <= tokens


def test_a_request_goes_to_the_service_that_the_journey_names(well: Run) -> None:
    assert {(one.service, one.path.split("/")[1]) for one in well.sent} == {
        ("users", "users"),
        ("users", "login"),
        ("orders", "orders"),
        ("gateway", "api"),
    }


def test_statistics_are_by_service_and_route_without_ids(well: Run) -> None:
    assert set(well.statistics) == {
        "POST users /users (arrange)",
        "POST users /login (arrange)",
        "POST orders /orders (arrange)",
        "GET gateway /api/products",
        "POST gateway /api/orders",
        "POST gateway /api/payments",
        "GET gateway /api/orders/{id}",
    }


def test_each_request_is_a_trace_of_its_own(well: Run) -> None:
    parents = [one.headers["traceparent"] for one in well.sent]
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", parent) for parent in parents)
    assert len({one.trace_id for one in well.sent}) == len(parents)


def test_each_request_has_a_connection_of_its_own(well: Run) -> None:
    assert well.connections >= len(well.sent) > 0  # one may have been opened as the run ended


def test_arrivals_are_spread_though_all_users_are_spawned_at_once(tmp_path: Path) -> None:
    first: list[float] = []

    def timed(method: str, path: str, body: Any) -> tuple[int, Any]:
        if path == "/users":
            first.append(os.times().elapsed)
        return shop(method, path, body)

    run(tmp_path, timed, "ClosedMe")
    assert max(first) - min(first) > 0.5


def test_a_failure_is_counted_by_its_problem_and_leads_to_its_trace(tmp_path: Path) -> None:
    def out_of_order(method: str, path: str, body: Any) -> tuple[int, Any]:
        if path == "/api/orders":
            return 503, {"type": "urn:brownout-shop:problem:breaker-open"}
        return shop(method, path, body)

    failing = run(tmp_path, out_of_order, "ClosedBuy")
    told = re.findall(r"POST gateway /api/orders: 503 breaker-open, first in trace (\w+)", failing.log)
    assert failing.code == 1
    assert failing.statistics["POST gateway /api/orders"]["num_failures"] > 0
    assert failing.statistics["GET gateway /api/products"]["num_failures"] == 0
    assert len(told) == 1
    assert told[0] in {one.trace_id for one in failing.to("POST", "/api/orders")}
    assert not failing.to("POST", "/api/payments")


def test_what_could_not_be_arranged_is_tried_again_and_counts_as_failed(tmp_path: Path) -> None:
    refusals = iter(range(USERS // 2))

    def slow_to_start(method: str, path: str, body: Any) -> tuple[int, Any]:
        if path == "/login" and next(refusals, None) is not None:
            return 500, {}
        return shop(method, path, body)

    tried = run(tmp_path, slow_to_start, "ClosedMe", run_s=3)
    assert tried.code == 1
    assert tried.statistics["POST users /login (arrange)"]["num_failures"] == USERS // 2
    assert tried.statistics["GET gateway /api/users/me"]["num_failures"] == 0
    assert all(one.headers["authorization"].startswith("Bearer token-") for one in tried.to("GET", "/api/users/me"))
    assert len(tried.to("POST", "/users")) > len({one.headers["authorization"] for one in tried.to("GET", ".*")}) > 0


def test_a_service_that_is_gone_is_a_failure_in_words(tmp_path: Path) -> None:
    with serving(shop) as servers:
        addresses = {server.name: server.url for server in servers}
    written_down(tmp_path, addresses)
    code, log, statistics = locust(tmp_path, "ClosedMe", run_s=2)
    assert code == 1
    assert list(statistics) == ["POST users /users (arrange)"]
    assert "no answer: ConnectionRefusedError" in log


def test_a_run_in_which_nothing_was_answered_fails(tmp_path: Path) -> None:
    over = Event()

    def silent(*_: object) -> tuple[int, Any]:
        over.wait(BOUND_S)
        return 200, {}

    with serving(silent) as servers:
        written_down(tmp_path, {server.name: server.url for server in servers})
        try:
            code, log, statistics = locust(tmp_path, run_s=2)
        finally:
            over.set()
    assert not statistics
    assert code == 1
    assert "nothing was measured" in log


def test_a_run_that_only_arranged_fails(tmp_path: Path) -> None:
    over = Event()

    def silent_gateway(method: str, path: str, body: Any) -> tuple[int, Any]:
        if path.startswith("/api"):
            over.wait(BOUND_S)
        return shop(method, path, body)

    with serving(silent_gateway) as servers:
        written_down(tmp_path, {server.name: server.url for server in servers})
        try:
            code, log, statistics = locust(tmp_path, "ClosedMe", run_s=2)
        finally:
            over.set()
    assert set(statistics) == {"POST users /users (arrange)", "POST users /login (arrange)"}
    assert code == 1
    assert "nothing was measured" in log


def test_with_nothing_up_it_says_so_in_one_line_with_the_remedy(tmp_path: Path) -> None:
    code, log, _ = locust(tmp_path, run_s=1)
    told = [line for line in log.splitlines() if "ERROR" in line]
    assert code == 3
    assert len(told) == 1
    assert "nothing is up" in told[0]
    assert "brownout up starts it" in told[0]
    assert "Traceback" not in log


def test_of_the_harness_it_loads_values_and_what_reads_the_state_only() -> None:
    told = "import sys, locustfile; print(*sorted(name for name in sys.modules if name.split('.')[0] == 'brownout'))"
    done = subprocess.run(
        [sys.executable, "-c", told],
        cwd=LOCUSTFILE.parent,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=True,
    )
    loaded = {name for name in done.stdout.split() if not name.startswith("brownout.mending")}  # the standard library
    assert loaded == {"brownout", "brownout.errors", "brownout.journeys", "brownout.live"}
