"""Contracts: the repository's own is read whole, and every wrong one is refused in one line that names the key."""

import re
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest

from brownout.errors import FileError
from brownout.journeys import Request, Response, requests_journey
from brownout.promises.breaker import CircuitBreaker
from brownout.promises.contract import Kind, parse_contract, read_contract, read_journeys
from brownout.promises.events import Events
from brownout.promises.isolation import Isolation
from brownout.promises.metric import Metric
from brownout.promises.mild import MildTrouble
from brownout.promises.promise import trials
from brownout.promises.recovery import Recovery
from brownout.topology import parse_topology, read_topology

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT / "scenarios" / "contract.toml"
TOPOLOGY = parse_topology(
    """
    entry = "orders"
    [services.users]
    command = ["users"]
    [services.orders]
    command = ["orders"]
    calls = ["users"]
    """,
    "topology.toml",
)
JOURNEYS = {"order": requests_journey((Request("orders", "POST", "/orders"),))}
LIMIT = """
[[promise]]
kind = "rate-limit"
name = "limit"
clause = "6.3"
journey = "order"
service = "users"
rps = 5
burst = 5
"""
BREAKER = """
[[promise]]
kind = "circuit-breaker"
name = "breaker"
clause = "6.2"
journey = "order"
edge = "orders -> users"
trips = { requests = 3, failure_ratio = 0.6, interval_s = 10 }
open_s = 60
half_open_requests = 3
"""
HEALTH = """
[[promise]]
kind = "health"
name = "health"
clause = "6.5"
journey = "order"
service = "orders"
healthy = { status = 200 }
conditions = [{ name = "no users", lost = ["users"], status = 200, within_s = 15 }]
"""
SYSTEM = parse_topology(
    "deadline_header = 'X-Timeout-Ms'\n" + "entry = 'users'\n[services.users]\ncommand = ['u']", "t"
)


def refusal(text: str) -> str:
    with pytest.raises(FileError) as refused:
        parse_contract(text, "contract.toml", TOPOLOGY, JOURNEYS)
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_the_repositorys_contract_has_a_promise_of_every_kind() -> None:
    topology = read_topology(ROOT / "system" / "topology.toml")
    contract = read_contract(CONTRACT, topology, read_journeys(CONTRACT))
    assert {type(promise) for promise in contract.promises} == set(get_args(Kind))


def test_every_call_of_the_shop_has_a_breaker_and_every_edge_is_slowed_and_cut_and_comes_back() -> None:
    topology = read_topology(ROOT / "system" / "topology.toml")
    promises = read_contract(CONTRACT, topology, read_journeys(CONTRACT)).promises
    edges = {str(edge) for edge in topology.edges()}
    breakers = {each.edge for each in promises if isinstance(each, CircuitBreaker)}
    calls = [edge for edge in topology.edges() if edge.service in topology.services]
    # No request waits for the provider's callbacks: their breaker opens and closes, and nobody is there to see it.
    assert breakers == {str(edge) for edge in calls if edge.caller != "provider"}
    assert {edge for each in promises if isinstance(each, MildTrouble) for edge in each.edges} == edges
    assert {case.edge for each in promises if isinstance(each, Isolation) for case in each.cases} == edges
    told = {each.edge for each in promises if isinstance(each, Events)}  # a producer is silent but for its events
    assert {case.edge for each in promises if isinstance(each, Recovery) for case in each.cases} | told == edges


def test_no_scenario_of_the_repository_takes_two_minutes() -> None:
    topology = read_topology(ROOT / "system" / "topology.toml")
    contract = read_contract(CONTRACT, topology, read_journeys(CONTRACT))
    at_least = {
        each.name: each.scenario(topology).least_s() for each in contract.promises if not isinstance(each, Metric)
    }
    assert max(at_least.values()) < 110
    assert at_least["breaker-orders-users"] > 60


def test_a_promise_that_cannot_be_tested_in_time_is_refused() -> None:
    line = refusal(BREAKER.replace("open_s = 60", "open_s = 200"))
    assert re.fullmatch(
        r"contract\.toml: promise\[0\]: takes [\d.]+ s where nothing comes that it waits for, and a scenario may last "
        r"150 s; split it",
        line,
    )


def test_a_table_in_the_contract_makes_a_journey_of_requests(tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"
    path.write_text(BREAKER + '[journeys]\norder = [{ service = "orders", method = "GET", path = "/x" }]\n')
    journeys = read_journeys(path)
    assert list(journeys["order"].act(None, Random(0))) == [Request("orders", "GET", "/x")]
    assert read_contract(path, TOPOLOGY, journeys).promises[0].journey == "order"


def test_when_a_run_is_judged_again_no_journey_is_needed() -> None:
    assert parse_contract(BREAKER, "contract.toml", TOPOLOGY).promises[0].name == "breaker"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "contract.toml: object missing required field `promise`"),
        ("promise = []", "contract.toml: promise: expected `array` of length >= 1"),
        ("promise = 3", "contract.toml: promise: expected `array`, got `int`"),
        ("[[promise]", "contract.toml: not TOML: "),
        ("[[promises]]", "contract.toml: promises: unknown key; allowed are promise, journeys"),
        ("[[state]]\nmetrik = 'x'", "contract.toml: state[0].metrik: unknown key; allowed are title, metric, values"),
        (
            "[[promise]]\nname = 'x'",
            "contract.toml: promise[0].kind: missing; allowed are caller-mistakes, circuit-breaker, ",
        ),
        (
            BREAKER.replace("circuit-breaker", "circuitbreaker"),
            (
                "contract.toml: promise[0].kind: unknown kind 'circuitbreaker'; allowed are caller-mistakes, "
                "circuit-breaker, configuration, consumer-shutdown, deadline, discovery, events, graceful-shutdown, "
                "half-open, health, isolation, metric, mild-trouble, rate-limit, recovery, registration, tracing"
            ),
        ),
        (
            BREAKER.replace("half_open_requests", "half_open"),
            (
                "contract.toml: promise[0].half_open: unknown key; allowed are kind, name, clause, journey, "
                "environment, services, edge, trips, open_s, half_open_requests"
            ),
        ),
        (
            BREAKER.replace("interval_s", "interval"),
            "contract.toml: promise[0].trips.interval: unknown key; allowed are requests, failure_ratio, interval_s",
        ),
        (BREAKER.replace("open_s = 60", "open_s = -60"), "contract.toml: promise[0].open_s: expected `float` > 0"),
        (
            BREAKER.replace("open_s = 60", "open_s = '60'"),
            "contract.toml: promise[0].open_s: expected `float`, got `str`",
        ),
        (BREAKER.replace("0.6", "1.6"), "contract.toml: promise[0].trips.failure_ratio: expected `float` <= 1.0"),
        (
            BREAKER.replace("requests = 3,", "requests = 0,"),
            "contract.toml: promise[0].trips.requests: expected `int` >= 1",
        ),
        (BREAKER.replace("open_s = 60\n", ""), "contract.toml: promise[0]: object missing required field `open_s`"),
        (
            BREAKER.replace('"breaker"', '"The Breaker"'),
            "contract.toml: promise[0].name: expected `str` matching regex",
        ),
        (
            BREAKER.replace('"breaker"', f'"{"b" * 41}"'),
            "contract.toml: promise[0].name: expected `str` of length <= 38",
        ),
        (BREAKER.replace('"6.2"', '""'), "contract.toml: promise[0].clause: expected `str` of length >= 1"),
        (
            BREAKER.replace("orders -> users", "orders -> usrs"),
            "contract.toml: promise[0].edge: no edge 'orders -> usrs'; the topology has orders -> users",
        ),
        (
            BREAKER.replace("orders -> users", "orders"),
            "contract.toml: promise[0].edge: no edge 'orders'; the topology has orders -> users",
        ),
        (
            BREAKER + BREAKER,
            "contract.toml: promise[1].name: there is another promise 'breaker'",
        ),
        (
            BREAKER.replace('"order"', '"odrer"'),
            "contract.toml: promise[0].journey: no journey 'odrer'; there are order",
        ),
        (
            BREAKER + "environment.usrs.X = '1'",
            "contract.toml: promise[0].environment.usrs: no service 'usrs'; the topology has users, orders",
        ),
        (
            BREAKER + "environment.users.X = 1",
            "contract.toml: promise[0].environment.users.X: expected `str`, got `int`",
        ),
        (LIMIT, "contract.toml: promise[0].kind: needs a deadline_header in the topology"),
        (LIMIT.replace('"users"', '"usrs"'), "contract.toml: promise[0].service: no service 'usrs'"),
        (LIMIT + "status = 42", "contract.toml: promise[0].status: expected `int` >= 100"),
        (
            HEALTH.replace('["users"]', '["usrs"]'),
            "contract.toml: promise[0].conditions[0].lost: no service 'usrs'; the topology has users, orders",
        ),
        (
            HEALTH.replace("lost = ", "losst = "),
            (
                "contract.toml: promise[0].conditions[0].losst: unknown key; allowed are name, status, within_s, body, "
                "refused, silent, lost"
            ),
        ),
        (
            HEALTH.replace('lost = ["users"], ', ""),
            "contract.toml: promise[0].conditions[0]: nothing is broken",
        ),
        (
            BREAKER + "[journeys]\norder = []",
            "contract.toml: journeys.order: expected `array` of length >= 1",
        ),
        (
            BREAKER + "[journeys]\norder = [{ service = 'orders', method = 'GET', pth = '/' }]",
            "contract.toml: journeys.order[0].pth: unknown key; allowed are service, method, path, json, headers",
        ),
    ],
)
def test_a_wrong_contract_is_refused_in_one_line_that_names_the_key(text: str, line: str) -> None:
    assert refusal(text).startswith(line)


def test_without_any_journey_the_refusal_says_where_to_write_one() -> None:
    with pytest.raises(FileError, match=r"there are none; write them in journeys\.py beside the contract"):
        parse_contract(BREAKER, "contract.toml", TOPOLOGY, {})


def test_a_limit_fits_a_topology_with_a_deadline_header() -> None:
    assert parse_contract(LIMIT, "contract.toml", SYSTEM, JOURNEYS).promises[0].name == "limit"


def test_a_missing_contract_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"contract\.toml: no such file"):
        read_contract(tmp_path / "contract.toml", TOPOLOGY, {})


def programmed(tmp_path: Path, text: str, contract: str = BREAKER) -> Any:
    (tmp_path / "journeys.py").write_text(text)
    (tmp_path / "contract.toml").write_text(contract)
    return read_journeys(tmp_path / "contract.toml")


PROGRAM = """
from brownout.journeys import Request, journey

@journey()
def read_user(_, __):
    yield Request("users", "GET", "/users/1")

_hidden = read_user
"""


def test_the_journeys_of_a_program_are_its_public_values(tmp_path: Path) -> None:
    assert list(programmed(tmp_path, PROGRAM)) == ["read-user"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["contract.toml", "journeys.py"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("def broken(:\n", "cannot be loaded: line 1: SyntaxError: invalid syntax"),
        ("\nimport no_such_module", "cannot be loaded: line 2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\nraise ValueError('a\\nb')", "cannot be loaded: line 2: ValueError: a"),
        ("raise KeyError", "cannot be loaded: line 1: KeyError: "),
        ("\x00", "cannot be loaded: "),
    ],
)
def test_a_broken_program_is_refused_in_one_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(FileError) as refused:
        programmed(tmp_path, text)
    assert str(refused.value).startswith(f"{tmp_path / 'journeys.py'}: {line}")
    assert "\n" not in str(refused.value)


def test_a_journey_of_both_kinds_under_one_name_is_refused(tmp_path: Path) -> None:
    listed = BREAKER + '[journeys]\nread-user = [{ service = "users", method = "GET", path = "/" }]\n'
    with pytest.raises(FileError, match=r"journeys\.read-user: journeys\.py has a journey of this name too"):
        programmed(tmp_path, PROGRAM, listed)


def played(name: str, *bodies: Any) -> list[Request]:
    """The requests of one of the repository's journeys, with these answers to what it arranges."""
    journey = read_journeys(CONTRACT)[name]
    assert journey.arrange is not None
    steps = journey.arrange(Random(7))
    sent = [next(steps)]
    known = None
    for body in bodies:
        try:
            sent.append(steps.send(Response(201, body)))
        except StopIteration as done:
            known = done.value
    act = journey.act(known, Random(7))
    sent.append(next(act))
    with pytest.raises(StopIteration):
        act.send(Response(200))
    return sent


def test_an_order_is_placed_by_a_user_registered_before() -> None:
    register, order = played("order", {"id": "u1"})
    assert (register.service, register.path) == ("users", "/users")
    assert (order.service, order.method, order.path) == ("orders", "POST", "/orders")
    assert order.headers == {"X-User-Id": "u1"}


def test_the_limited_call_reads_the_registered_user() -> None:
    assert played("read-user", {"id": "u1"})[-1] == Request("users", "GET", "/users/u1")


def test_ones_own_data_is_read_with_the_token_of_a_login() -> None:
    register, login, me = played("me", {"id": "u1"}, {"token": "t"})
    assert login.path == "/login"
    assert login.json["email"] == register.json["email"]
    assert me == Request("gateway", "GET", "/api/users/me", headers={"Authorization": "Bearer t"})


def test_who_administers_is_the_first_admin_of_the_topology() -> None:
    login = next(read_journeys(CONTRACT)["administer"].act(("u1", "t1", "u2"), Random(7)))
    users = read_topology(ROOT / "system" / "topology.toml").services["users"]
    assert login.json == {"email": users.env["ADMIN_EMAIL"], "password": users.env["ADMIN_PASSWORD"]}


def test_an_answer_without_the_field_leaves_it_to_the_engine_to_say_so() -> None:
    assert played("read-user", "no JSON")[-1].path == "/users/"


METRIC = """
[[promise]]
kind = "metric"
name = "breaker-metric"
clause = "6.2"
of = "breaker"
query = "breaker_state"
expect = [{ during = "open", equals = 2 }]
"""


@pytest.mark.parametrize("text", [BREAKER + METRIC, METRIC + BREAKER])
def test_a_metric_reads_another_promises_run_wherever_that_stands(text: str) -> None:
    contract = parse_contract(text, "contract.toml", TOPOLOGY, JOURNEYS)
    (trial,) = trials(contract.promises, TOPOLOGY, {"breaker", "breaker-metric"})
    assert trial.scenario.name == "breaker"
    assert trial.scenario.queries == ("breaker_state",)
    assert {promise.name for promise in trial.promises} == {"breaker", "breaker-metric"}


def test_only_what_is_chosen_is_judged_but_its_scenario_is_run_whosever_it_is() -> None:
    contract = parse_contract(BREAKER + METRIC, "contract.toml", TOPOLOGY, JOURNEYS)
    (trial,) = trials(contract.promises, TOPOLOGY, {"breaker-metric"})
    assert trial.scenario.name == "breaker"
    assert [promise.name for promise in trial.promises] == ["breaker-metric"]
    (alone,) = trials(contract.promises, TOPOLOGY, {"breaker"})
    assert alone.scenario.queries == ()


def test_promises_that_stand_for_themselves_have_a_trial_each() -> None:
    other = BREAKER.replace('"breaker"', '"another"')
    contract = parse_contract(BREAKER + other, "contract.toml", TOPOLOGY, JOURNEYS)
    found = trials(contract.promises, TOPOLOGY, {"breaker", "another"})
    assert [(trial.scenario.name, len(trial.promises)) for trial in found] == [("breaker", 1), ("another", 1)]


def test_a_run_that_is_not_there_is_told() -> None:
    contract = parse_contract(BREAKER + METRIC, "contract.toml", TOPOLOGY, JOURNEYS)
    with pytest.raises(FileError, match="breaker-metric: reads the run of 'breaker', which is not among these"):
        trials(contract.promises[1:], TOPOLOGY, {"breaker-metric"})


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ('of = "breaker"', 'of = "braker"', "contract.toml: promise[1].of: no promise 'braker' that has a run"),
        ('of = "breaker"', 'of = "breaker-metric"', "promise[1].of: no promise 'breaker-metric' that has a run"),
        ('during = "open"', 'during = "opened"', "promise[1].expect[0].during: no step 'opened' in breaker; it has"),
        ("equals = 2", "equal = 2", "promise[1].expect[0].equal: unknown key; allowed are during, equals"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(right: str, wrong: str, told: str) -> None:
    assert told in refusal(BREAKER + METRIC.replace(right, wrong))
