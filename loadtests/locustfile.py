"""Load by hand, in a closed model: users of the shop who do the journeys of ``scenarios/journeys.py`` again and again.

    brownout up
    locust -f loadtests/locustfile.py --headless -u 10 -t 30s
    locust -f loadtests/locustfile.py --headless -u 10 -t 30s ClosedBuy    # buyers only

Closed means that a user asks again only after the answer: a slow system is asked less, and the percentiles flatter it.
Exit codes: 0 every request was answered in the 2xx range, 1 one was not or there was none, 3 nothing is up.
"""

import json
import logging
import sys
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

from locust import events, task
from locust.contrib.fasthttp import FastResponse
from locust.env import Environment
from locust.runners import WorkerRunner

from brownout.journeys import Request, Response, with_headers
from shop_user import ShopUser
from target import ARRANGED, complain, find_system, offer_runs, problem, route, well

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scenarios"))
import journeys

__all__ = ["ClosedBrowse", "ClosedBuy", "ClosedMe", "ClosedReadOrder", "ClosedUser"]

THINK_S = 1.0
"""A user's mean pause between two journeys; drawn from an exponential, or users would fire in step."""

log = logging.getLogger(__name__)


class ClosedUser(ShopUser):
    """A user who arranges what a journey needs, once, and then does it again after each pause.

    Attributes:
        addresses: of each service, ``http://host:port``; read when Locust starts.
    """

    abstract = True
    addresses: ClassVar[dict[str, str]] = {}

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._ready = False

    def wait_time(self) -> float:
        """Return the next pause in seconds."""
        return self._random.expovariate(1 / THINK_S)

    def on_start(self) -> None:
        """Pause before the first journey too: users are spawned many at a time."""
        self.wait()  # type: ignore[no-untyped-call]  # Locust's

    @task
    def live(self) -> None:
        """Do the journey; what was to be arranged and failed is tried again after a pause."""
        if not self._ready:
            self._arrange(lambda request: self._send(request, ARRANGED))
        self._ready = True
        self._act(self._send)

    def _send(self, request: Request, mark: str = "") -> Response:
        """Send over a connection of its own: a kept one may just have been closed, which would count as a failure."""
        trace_id = token_hex(16)
        sent = with_headers(request, {"traceparent": f"00-{trace_id}-{token_hex(8)}-01", "Connection": "close"})
        name = f"{sent.service} {route(sent.path)}{mark}"
        url = self.addresses[sent.service] + sent.path
        with self.client.request(
            sent.method, url, name, json=sent.json, headers=sent.headers, catch_response=True
        ) as answer:
            response = Response(answer.status_code, _body(answer))
            if not well(response.status):
                answer.failure(complain(f"{sent.method} {name}", _failure(answer, response), trace_id))
        return response


class ClosedBrowse(ClosedUser):
    """Looks at the catalogue."""

    journey = journeys.browse
    weight = 4


class ClosedBuy(ClosedUser):
    """Browses, orders and pays."""

    journey = journeys.buy
    weight = 2


class ClosedMe(ClosedUser):
    """Reads the own data."""

    journey = journeys.me
    weight = 2


class ClosedReadOrder(ClosedUser):
    """Reads an order that was placed before."""

    journey = journeys.read_order
    weight = 2


events.init_command_line_parser.add_listener(offer_runs)  # type: ignore[no-untyped-call]  # Locust's


@events.init.add_listener  # type: ignore[untyped-decorator]  # Locust's
def _find_system(environment: Environment, **_: object) -> None:
    state = find_system(environment)
    ClosedUser.addresses = state.addresses
    ClosedUser.host = state.addresses[state.entry]
    log.info("closed model: users wait for answers, so a slow system is asked less and its percentiles look too good")


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # Locust's
def _refuse_nothing(environment: Environment, **_: object) -> None:
    """Fail a run without a single answer to a journey: Locust would end it with exit code 0."""
    entries = environment.stats.entries.values()
    if isinstance(environment.runner, WorkerRunner):  # its numbers are the master's
        return
    if not any(entry.num_requests for entry in entries if not entry.name.endswith(ARRANGED)):
        log.error(
            "no request of a journey has ended: nothing was measured; let it run longer, or see what arranging did"
        )
        environment.process_exit_code = 1


def _body(answer: FastResponse) -> Any:
    try:
        return json.loads(answer.text or "")
    except ValueError:
        return answer.text


def _failure(answer: FastResponse, response: Response) -> str:
    """Say what a failure was without what differs between two of a kind, so that Locust counts them together."""
    if response.status:
        return problem(response.status, response.body)
    error = getattr(answer, "error", None)
    return f"no answer: {type(getattr(error, 'original', None) or error).__name__}"
