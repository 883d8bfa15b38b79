"""The one outgoing client: discover, balance, break, call, trace (clauses 3.1, 4.2, 6.2).

CallError
├── NoInstanceKnownError   503  no passing instance
├── CallRefusedError       503  our breaker for the callee is open
├── CalleeRefusedError     4xx  the callee says that it is the caller's mistake
├── CalleeLackingError     503  the callee lacks a service of its own
├── CalleeTimedOutError    504  no answer in time
└── CalleeFailedError      502  any other status, a broken answer, none at all
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import aiohttp

from brownout_shop.discovery.registry import Instance
from brownout_shop.problems import Problem, word_of
from brownout_shop.resilience import deadline
from brownout_shop.resilience.balancer import NoInstanceError, RoundRobin
from brownout_shop.resilience.breaker import DOCUMENTED, BreakerOpenError, CircuitBreaker, OpenError, State
from brownout_shop.telemetry import metrics
from brownout_shop.telemetry.tracing import client_tracing

__all__ = [
    "Answer",
    "CallError",
    "CallRefusedError",
    "CalleeFailedError",
    "CalleeLackingError",
    "CalleeRefusedError",
    "CalleeTimedOutError",
    "Client",
    "NoInstanceKnownError",
]

KEEP_ALIVE_S = 15  # shorter than the servers', so that it is never they who end an idle connection
LACKING = ("breaker-open", "no-instance", "overloaded")


@dataclass(frozen=True, slots=True)
class Answer:
    """A callee's answer, read to its end."""

    status: int
    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    body: bytes | None
    headers: Mapping[str, str]


class CallError(Problem):
    """A call to another service that brought no success; unless caught, it is our own answer as well."""

    outcome = "failed"


class NoInstanceKnownError(CallError):
    """Discovery knows no passing instance."""

    outcome = "no-instance"

    def __init__(self, callee: str) -> None:
        super().__init__(503, "no-instance", f"{callee}: no service available", {"Retry-After": "10"})


class CallRefusedError(CallError):
    """Our own breaker refused the call; nothing was sent."""

    outcome = "breaker-open"

    def __init__(self, error: BreakerOpenError) -> None:
        wait_s = DOCUMENTED.timeout_ns // 10**9 if isinstance(error, OpenError) else 1
        super().__init__(503, "breaker-open", str(error), {"Retry-After": str(wait_s)})


class CalleeRefusedError(CallError):
    """The callee answered 4xx, which says nothing against the callee."""

    outcome = "refused"

    def __init__(self, callee: str, answer: Answer) -> None:
        super().__init__(answer.status, word_of(answer.body) or "invalid", f"{callee} refused the request")
        self.answer = answer


class CalleeLackingError(CallError):
    """The callee is well, but lacks a service of its own."""

    outcome = "lacking"

    def __init__(self, callee: str, word: str) -> None:
        super().__init__(503, word, f"{callee} cannot serve the request now", {"Retry-After": "10"})


class CalleeTimedOutError(CallError):
    """No answer came in time."""

    outcome = "timed-out"

    def __init__(self, callee: str) -> None:
        super().__init__(504, "upstream-timeout", f"{callee} did not answer in time")


class CalleeFailedError(CallError):
    """The callee failed, or was not there."""

    def __init__(self, callee: str, cause: str) -> None:
        super().__init__(502, "upstream-failed", f"{callee} failed: {cause}")


def _callee_is_well(error: Exception | None) -> bool:
    """Return what the breaker counts (clause 3.1)."""
    return error is None or isinstance(error, CalleeRefusedError | CalleeLackingError)


class Client:
    """Calls other services on behalf of one.

    Args:
        caller: the own service's name; instances are called at their ``via-<caller>`` address.
        discover: gives the passing instances of a service.
        clock: nanoseconds for the breakers, never running backwards.
    """

    def __init__(
        self,
        caller: str,
        discover: Callable[[str], Sequence[Instance]],
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._caller = caller
        self._discover = discover
        self._clock = clock
        self._breakers: dict[str, CircuitBreaker] = {}
        self._turns: dict[str, RoundRobin] = {}
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            trace_configs=[client_tracing()],
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(
        self,
        callee: str,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call a service and return its answer, whose status is 2xx.

        Args:
            callee: the service's name.
            method: the HTTP method.
            path: the path, quoted, with its query.
            body: the request's body.
            headers: further headers of the request.

        Raises:
            CallError: see the tree above.
        """
        began, outcome = time.perf_counter(), "failed"
        try:
            with self._admitted(callee) as (address, within_s):
                request = _Request(method, f"http://{address}{path}", body, headers or {})
                answer = await self._send(callee, request, within_s)
            outcome = "ok"
        except CallError as error:
            outcome = error.outcome
            raise
        finally:
            metrics.CALLS.labels(callee, outcome).observe(time.perf_counter() - began)
        return answer

    @contextlib.contextmanager
    def _admitted(self, callee: str) -> Iterator[tuple[str, float]]:
        """Hold a call's admission open; yield where to call, and for how long in seconds."""
        within_s = deadline.within_s()
        if within_s <= 0:
            raise CalleeTimedOutError(callee)
        try:
            instance = self._turns.setdefault(callee, RoundRobin()).choose(self._discover(callee))
            admission = self._breaker(callee).allow()
        except NoInstanceError as error:
            raise NoInstanceKnownError(callee) from error
        except BreakerOpenError as error:
            raise CallRefusedError(error) from error
        with admission:
            yield instance.address_for(self._caller), within_s

    async def _send(self, callee: str, request: _Request, within_s: float) -> Answer:
        headers = {**request.headers, deadline.HEADER: str(int(within_s * 1000))}
        # Above its threshold aiohttp rounds up to whole seconds of its clock: 10 s took 11.
        timeout = aiohttp.ClientTimeout(total=within_s, ceil_threshold=math.inf)
        try:
            async with self._session.request(
                request.method, request.url, data=request.body, headers=headers, timeout=timeout
            ) as response:
                answer = Answer(response.status, await response.read(), response.content_type)
        except TimeoutError as error:
            raise CalleeTimedOutError(callee) from error
        except (aiohttp.ClientError, OSError) as error:
            raise CalleeFailedError(callee, str(error) or type(error).__name__) from error
        return _judged(callee, answer)

    def _breaker(self, callee: str) -> CircuitBreaker:
        if callee not in self._breakers:
            settings = replace(DOCUMENTED, is_successful=_callee_is_well)
            self._breakers[callee] = CircuitBreaker(callee, settings, on_state_change=_note_change, clock=self._clock)
            metrics.BREAKER_STATE.labels(callee).set(0)
        return self._breakers[callee]


def _judged(callee: str, answer: Answer) -> Answer:
    if 200 <= answer.status < 300:  # noqa: PLR2004 - the statuses' classes
        return answer
    if 400 <= answer.status < 500:  # noqa: PLR2004 - same
        raise CalleeRefusedError(callee, answer)
    if answer.status == 503 and (word := word_of(answer.body)) in LACKING:  # noqa: PLR2004 - same
        raise CalleeLackingError(callee, word)
    if answer.status == 504:  # noqa: PLR2004 - same
        raise CalleeTimedOutError(callee)
    raise CalleeFailedError(callee, f"status {answer.status}")


def _note_change(callee: str, before: State, after: State) -> None:
    metrics.BREAKER_STATE.labels(callee).set(list(State).index(after))
    metrics.BREAKER_TRANSITIONS.labels(callee, before, after).inc()
