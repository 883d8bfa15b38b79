"""A user whose journeys begin when they are due: the sending of their requests, timed from then on."""

import errno
from secrets import token_hex
from typing import Any, ClassVar

import msgspec
from gevent import Timeout
from geventhttpclient.client import HTTPClient
from geventhttpclient.url import URL
from locust import task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.env import Environment
from locust.exception import CatchResponseError

from brownout.history import Outcome
from brownout.journeys import Request, Response
from generator import Generator, ShortageError
from lines import Line
from shop_user import ANSWER_S, ShopUser
from target import ARRANGED, complain, problem, route, well

__all__ = ["OpenUser"]

RETRY_S = 1.0
"""After so long what could not be arranged is tried again."""

DAY_S = 86_400.0
"""How long a user that is ready does nothing by itself: longer than any run."""

ARRANGE = "arrange"
"""The phase of what is done once a user."""

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL})
"""Why a connection may not even be tried: the generator or its machine has no more to give."""

MOST_TEXT = 2_000
"""Characters of an answer that is no JSON which are kept."""


class _Answer(msgspec.Struct):
    """How a request ended: for the journey, for a recording, and for Locust; its failure is empty when it went well."""

    response: Response
    outcome: Outcome
    detail: dict[str, Any]
    length: int = 0
    failure: str = ""


class OpenUser(ShopUser):
    """A user who arranges what a journey needs, once, and then does it whenever an arrival is due.

    It does any number at the same time, and waits for none of them. What Locust calls its client is passed by: that
    asks for cookies and redirections, which no journey has, and repeats what was lost.

    Attributes:
        kind: the journey's name.
        generator: of this process; set when Locust starts.
        addresses: of each service; set when Locust starts.
    """

    abstract = True
    kind: ClassVar[str]
    generator: ClassVar[Generator]
    addresses: ClassVar[dict[str, URL]] = {}

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.failures = 0
        self._coming: list[OpenUser] = [self]

    def wait_time(self) -> float:
        """Return how long to do nothing, in seconds; arrivals come by themselves."""
        return RETRY_S if self._coming else DAY_S

    @task
    def be_there(self) -> None:
        """Arrange what the journey needs, and be there for arrivals; what failed is tried again after a pause.

        The first ones of a process see to it that this has one of each kind: whichever of them Locust places where.
        """
        self.generator.expect(self.kind)
        while self._coming:
            self._coming[0].arrange()
            user = self._coming.pop(0)
            self.generator.join(user.kind, user)
            kinds = [each for each in self.environment.user_classes if issubclass(each, OpenUser)]
            self._coming += [each(self.environment) for each in kinds if self.generator.expect(each.kind)]

    def arrange(self) -> None:
        """Do what the journey needs to be there before.

        Raises:
            RescheduleTask: a request of it failed.
        """
        self._arrange(lambda request: self._send(request, ARRANGE))

    def perform(self, due_ns: int) -> None:
        """Do the journey that was due at a time in Unix nanoseconds.

        Raises:
            ShortageError: a request could not be sent.
        """
        due = iter((due_ns,))
        self._act(lambda request: self._send(request, self.kind, next(due, 0)))

    def call(self, phase: str) -> bool:
        """Do the journey as no part of the load; whether all of it went well."""
        failures = self.failures
        self._act(lambda request: self._send(request, phase))
        return self.failures == failures

    def _send(self, request: Request, phase: str, due_ns: int = 0) -> Response:
        """Send a request; the first of a journey is due when the journey is, each further one when it is sent."""
        trace_id = token_hex(16)
        traced = {"traceparent": f"00-{trace_id}-{token_hex(8)}-01"}
        headers, body = {**request.headers, **self.generator.headers, **traced}, b""
        if request.json is not None:
            headers["Content-Type"] = "application/json"
            body = msgspec.json.encode(request.json)
        client = self.client_pool.get_client(self.addresses[request.service])
        sent_ns = self.generator.now_ns()
        due_ns = due_ns or sent_ns
        answer = _exchanged(client, request, body, headers)
        ended_ns = self.generator.now_ns()
        if phase == self.kind or answer.failure:
            self._report(request, answer, phase, trace_id, (ended_ns - due_ns) / 1e6)
        if self.generator.lines is not None:
            asked = {"service": request.service, "method": request.method, "path": request.path, "due_ns": due_ns}
            actor = "load" if phase == self.kind else "calls"
            line = Line(actor, phase, sent_ns, ended_ns, answer.outcome, asked, answer.detail, trace_id)
            self.generator.lines.append(line)
        return answer.response

    def _report(self, request: Request, answer: _Answer, phase: str, trace_id: str, took_ms: float) -> None:
        """Tell Locust; of what is no part of the load it hears the failures only."""
        name = f"{request.service} {route(request.path)}{'' if phase == self.kind else ARRANGED}"
        failure = None
        if answer.failure:
            self.failures += 1
            failure = CatchResponseError(complain(f"{request.method} {name}", answer.failure, trace_id))
        self.environment.events.request.fire(
            request_type=request.method,
            name=name,
            response_time=took_ms,
            response_length=answer.length,
            exception=failure,
            context={},
        )


def _exchanged(client: HTTPClient, request: Request, body: bytes, headers: dict[str, str]) -> _Answer:
    """Send once, and wait for the answer.

    Raises:
        ShortageError: there is no descriptor or no port left to connect from.
    """
    try:
        with Timeout(ANSWER_S):
            answer = client.request(request.method, request.path, body, headers)
            raw = answer.read()
    except FAILURE_EXCEPTIONS as error:
        return _unanswered(error)
    return _answered(answer.get_code(), raw)


def _answered(status: int, raw: bytes) -> _Answer:
    try:
        body = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        body = raw[:MOST_TEXT].decode(errors="replace")
    response, detail = Response(status, body), {"status": status, "body": body}
    if well(status):
        return _Answer(response, Outcome.OK, detail, len(raw))
    return _Answer(response, Outcome.FAILED, detail, len(raw), problem(status, body))


def _unanswered(error: BaseException) -> _Answer:
    """No answer: a refused connection is known to have failed, of a cut or a time-out nobody knows."""
    if getattr(error, "errno", None) in OURS:
        raise ShortageError("generator", f"cannot connect: {error}") from error
    failure = f"no answer: {type(error).__name__}"
    if isinstance(error, ConnectionRefusedError):
        return _Answer(Response(0), Outcome.FAILED, {"error": f"refused: {error.strerror}"}, failure=failure)
    late = isinstance(error, Timeout | TimeoutError)
    told = f"no answer within {ANSWER_S:g} s" if late else f"cut: {type(error).__name__} {error}".strip()
    return _Answer(Response(0), Outcome.UNKNOWN, {"error": told}, failure=failure)
