"""The load generator of one process: begins each journey when it is due, whatever has become of those before."""

import logging
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any, Protocol

import gevent
import msgspec
from gevent.event import Event
from gevent.pool import Group
from locust.env import Environment
from locust.rpc import Message
from locust.runners import LocalRunner, MasterRunner, WorkerRunner, locust_exception_handler

from brownout.errors import BrownoutError
from brownout.history import Outcome
from brownout.workload.pulse import BEAT_S, NOTED_S
from lines import Line, encoded
from tally import Tally

__all__ = ["ARRANGED", "ARRIVALS", "LEAVING", "LEFT", "RETURNED", "Arriving", "Generator", "Runner", "ShortageError"]

Runner = LocalRunner | MasterRunner | WorkerRunner

ARRANGED, ARRIVALS, RETURNED = "open-arranged", "open-arrivals", "open-returned"
"""Messages between generators and the dispatcher: a user is ready; what comes due; what is given back."""

LEAVING, LEFT = "open-leaving", "open-left"
"""A generator wants no more arrivals; it will be given none."""

LEAVE_S = 2.0
"""How long a generator that leaves waits to be told that nothing more will come."""

DRAIN_S = 60.0
"""How long it then waits for the journeys that are under way."""

log = logging.getLogger(__name__)


class ShortageError(BrownoutError):
    """Nothing could be sent, for want of something on the generator's own side; the subject is ``generator``."""


class Arriving(Protocol):
    """A user that arrivals can be given to."""

    def perform(self, due_ns: int) -> None:
        """Do the journey that was due at a time in Unix nanoseconds; returns when it has ended."""


class Generator:
    """Begins journeys when they are due, each in a greenlet of its own.

    Args:
        runner: Locust's, of this process.
        now_ns: Unix time that never steps back.

    Attributes:
        tally: what became of arrivals since the last report.
        lines: what happened since then, where a recording is made; None: nobody wants to know.
        most: journeys that may be under way; further ones are dropped.
        headers: sent along with each request.
    """

    def __init__(self, runner: Runner, now_ns: Callable[[], int]) -> None:
        self.now_ns = now_ns
        self.tally = Tally()
        self.lines: list[Line] | None = None
        self.most = 0
        self.headers: dict[str, str] = {}
        self._runner = runner
        self._users: dict[str, list[Arriving]] = {}
        self._expected: set[str] = set()
        self._due: list[tuple[int, str]] = []
        self._more, self._left = Event(), Event()
        self._leaving = False
        self._beating: Any = None
        self._under_way = Group()
        self._open, self._short = 0, False
        self._random = Random()  # noqa: S311 - which user does a journey is no secret
        runner.register_message(ARRIVALS, self._take)
        runner.register_message(LEFT, self._hear_left)
        runner.greenlet.spawn(self._fire).link_exception(locust_exception_handler(runner.environment))

    def begin(self, *, most: int, keep_alive: bool, recorded: bool) -> None:
        """Begin a run: nothing of the one before is left."""
        self.most = most
        self.headers = {} if keep_alive else {"Connection": "close"}
        self.lines = [] if recorded else None
        self.tally = Tally()
        self._users.clear()
        self._expected.clear()
        self._due.clear()
        if recorded:
            self._beating = self._beating or self._runner.greenlet.spawn(self._beat)

    def stop(self) -> None:
        """Stop a run: what is not due yet is given back, what is due or under way is cut off."""
        now_ns = self.now_ns()
        late = sum(due_ns <= now_ns for due_ns, _ in self._due)
        self.tally.returned += len(self._due) - late
        self._due.clear()
        self._under_way.kill()
        self.tally.cut += self._open + late
        self._open = 0

    def expect(self, kind: str) -> bool:
        """Whether a user of a kind is the first that is going to be there."""
        if kind in self._expected:
            return False
        self._expected.add(kind)
        return True

    def join(self, kind: str, user: Arriving) -> None:
        """Have one more user to give arrivals to."""
        self._users.setdefault(kind, []).append(user)
        self._runner.send_message(ARRANGED, {"kind": kind})

    def leave(self) -> None:
        """Give back what is not due yet, and end when all that is under way has ended."""
        self._leaving = True
        self._runner.send_message(LEAVING, {})
        self._left.wait(LEAVE_S)
        self._give_back([heappop(self._due) for _ in range(len(self._due))])
        self._under_way.join(DRAIN_S)
        self.stop()

    def report(self) -> dict[str, Any]:
        """What became of arrivals since the last report, fit to be sent."""
        report: dict[str, Any] = {"tally": msgspec.to_builtins(self.tally, str_keys=False)}
        self.tally = Tally()
        if self.lines:
            report["lines"] = encoded(self.lines)
            self.lines = []
        return report

    def _take(self, environment: Environment, msg: Message) -> None:  # noqa: ARG002 - Locust calls it so
        arrivals = [(due_ns, kind) for kind, due in msg.data.items() for due_ns in due]
        self.tally.taken += len(arrivals)
        if self._leaving:
            self._give_back(arrivals)
            return
        for arrival in arrivals:
            heappush(self._due, arrival)
        self._more.set()

    def _give_back(self, arrivals: list[tuple[int, str]]) -> None:
        self.tally.returned += len(arrivals)
        if arrivals:
            self._runner.send_message(RETURNED, {"arrivals": arrivals})

    def _hear_left(self, environment: Environment, msg: Message) -> None:  # noqa: ARG002 - same
        self._left.set()

    def _fire(self) -> None:
        while True:
            while self._due:
                wait_ns = self._due[0][0] - self.now_ns()
                if wait_ns > 0:
                    gevent.sleep(wait_ns / 1e9)
                else:
                    self._arrive(*heappop(self._due))
            self._more.clear()
            self._more.wait()

    def _arrive(self, due_ns: int, kind: str) -> None:
        if self._open >= self.most:
            self._drop(due_ns, kind)
        else:
            self._open += 1
            self._under_way.spawn(self._perform, self._random.choice(self._users[kind]), due_ns, kind)

    def _perform(self, user: Arriving, due_ns: int, kind: str) -> None:
        self.tally.began((self.now_ns() - due_ns) / 1e6)
        try:
            user.perform(due_ns)
        except ShortageError as error:
            if not self._short:
                log.warning("%s; what cannot be sent is dropped", error)
            self._short = True
            self._open -= 1
            self._drop(due_ns, kind)
            return
        except Exception as error:  # noqa: BLE001 - a journey that crashes is counted and told, and ends no other
            hooks: Any = self._runner.environment.events
            hooks.user_error.fire(user_instance=user, exception=error, tb=error.__traceback__)
        self._open -= 1
        self.tally.ended += 1

    def _beat(self) -> None:
        """Note how late this process itself is: what it measures is no more exact."""
        while self.lines is not None:
            due_ns = self.now_ns() + int(BEAT_S * 1e9)
            gevent.sleep(BEAT_S)
            late_s = round((self.now_ns() - due_ns) / 1e9, 3)
            if late_s > NOTED_S:
                self.lines.append(Line("engine", "late", self.now_ns(), ended={"late_s": late_s}))

    def _drop(self, due_ns: int, kind: str) -> None:
        self.tally.dropped += 1
        if self.lines is not None:
            dropped = {"dropped": True, "due_ns": due_ns}
            self.lines.append(Line("load", kind, self.now_ns(), None, Outcome.FAILED, {}, dropped))
