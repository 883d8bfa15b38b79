"""The dispatcher: draws arrivals from a shape and hands them to the generators that are there, shortly before."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import chain
from random import Random
from typing import Any

import gevent
import msgspec
from locust.env import Environment
from locust.rpc import Message
from locust.runners import STATE_MISSING, LocalRunner, MasterRunner, locust_exception_handler

from brownout.errors import BrownoutError
from generator import ARRANGED, ARRIVALS, LEAVING, LEFT, RETURNED, Generator
from lines import Line, decoded
from tally import Tally

__all__ = ["Dispatcher"]

LOCAL = "local"
"""The sender of what a process that is alone tells itself."""

AHEAD_S = 0.5
"""Arrivals are handed out so long before they are due: a dispatcher that is held up for less makes none late."""

EVERY_S = 0.1
"""How often they are."""

BATCH = 1_000
"""So many are drawn at a time, and handed out: at a rate that is too high to keep up with, others have their turn."""

ARRANGE_S = 60.0
"""How long users may take until all are ready."""

SETTLE_S = 60.0
"""How long the journeys under way at the end are waited for."""


class _Worker(msgspec.Struct):
    """A generator as it is known here: its users by kind, how many arrivals it was handed, what became of them."""

    users: Counter[str]
    tally: Tally
    handed: int = 0
    leaving: bool = False


class Dispatcher:
    """Hands the arrivals of a run to generators, in turn, and adds up what became of them.

    Args:
        runner: Locust's, of the master or of the only process.
        generator: of this process.

    Attributes:
        over: whether the run has ended, and all is known that ever will be.
        lines: what the generators say has happened, where a recording is made.
        wrong: why the arrivals are not those that were asked for, in words.
    """

    def __init__(self, runner: LocalRunner | MasterRunner, generator: Generator) -> None:
        self.over = False
        self.lines: list[Line] = []
        self.wrong: list[str] = []
        self._runner = runner
        self._generator = generator
        self._workers: dict[str, _Worker] = {}
        self._drawn = 0
        self._waiting: list[tuple[int, str]] = []
        self._turn = 0
        self._running: Any = None
        for message, listener in ((ARRANGED, self._join), (RETURNED, self._take_back), (LEAVING, self._let_go)):
            runner.register_message(message, listener)

    def begin(
        self,
        due_s: Iterator[float],
        weights: Mapping[str, float],
        random: Random,
        *,
        around: AbstractContextManager[None],
        during: Callable[[int], AbstractContextManager[None]],
    ) -> None:
        """Begin a run: its arrivals, as soon as all users are ready.

        Args:
            due_s: when each arrival is due, in seconds since the first could be.
            weights: how often each kind of user arrives, relative to the others.
            random: draws the kinds.
            around: held open from before the first arrival until all is known.
            during: held open within it; given when the first arrival could be due, in Unix nanoseconds.
        """
        self._reset()
        kinds = _drawn(weights, random)
        self._running = self._runner.greenlet.spawn(self._run, zip(due_s, kinds, strict=False), weights, around, during)
        self._running.link_exception(locust_exception_handler(self._runner.environment))

    def refuse(self, why: str) -> None:
        """Have a run that does not even begin."""
        self._reset()
        self.wrong.append(why)

    def stop(self) -> None:
        """End a run before its time; whatever was held open beside it is closed on return."""
        running, self._running = self._running, None
        if not self.over and running is not None:
            self.wrong.append("the run was ended before its time")
            now_ns = self._generator.now_ns()
            self._drawn -= sum(due_ns > now_ns for due_ns, _ in self._waiting)
            self._waiting.clear()
            running.kill()
            self.over = True

    def add(self, worker: str, report: Mapping[str, Any]) -> None:
        """Add what a generator has reported."""
        self._known(worker).tally.add(msgspec.convert(report["tally"], Tally))
        if raw := report.get("lines"):
            self.lines += decoded(raw)

    def tallies(self) -> dict[str, Tally]:
        """What became of arrivals at each generator that there was, by its name."""
        if isinstance(self._runner, LocalRunner):
            self.add(LOCAL, self._generator.report())
        return {name: worker.tally for name, worker in self._workers.items()}

    @property
    def arrivals(self) -> int:
        """How many have come due, or will at a generator that has them."""
        kept = sum(worker.tally.returned for worker in self._workers.values())
        return self._drawn - kept

    def _reset(self) -> None:
        self.over = False
        self.lines, self.wrong = [], []
        self._workers.clear()
        self._waiting.clear()
        self._drawn = 0

    def _run(
        self,
        arrivals: Iterator[tuple[float, str]],
        weights: Mapping[str, float],
        around: AbstractContextManager[None],
        during: Callable[[int], AbstractContextManager[None]],
    ) -> None:
        try:
            if self._gathered(weights):
                with around, during(begin_ns := self._generator.now_ns() + int(2 * AHEAD_S * 1e9)):
                    self._deal(arrivals, begin_ns)
                    self._settle()
        except BrownoutError as error:
            self.wrong.append(str(error))
        except Exception as error:
            self.wrong.append(f"the dispatcher crashed: {type(error).__name__}: {error}")
            raise
        finally:
            self.over = True

    def _gathered(self, weights: Mapping[str, float]) -> bool:
        """Wait until all users are ready; false when they are not in time, or a kind has none."""
        users: Counter[str] = Counter()
        with gevent.Timeout(ARRANGE_S, False):  # noqa: FBT003 - gevent's way to raise nothing
            while users.total() < max(1, self._runner.target_user_count):
                gevent.sleep(EVERY_S)
                users = sum((worker.users for worker in self._workers.values()), Counter())
        if missing := [kind for kind in weights if not users[kind]]:
            self.wrong.append(f"no user is ready to {', '.join(missing)}: see why none was arranged")
        return not missing

    def _deal(self, arrivals: Iterator[tuple[float, str]], begin_ns: int) -> None:
        """Hand out each arrival in time; those for which there is nobody wait."""
        for number, (due_s, kind) in enumerate(arrivals):
            due_ns = begin_ns + int(due_s * 1e9)
            if not number % BATCH:
                self._hand_out()
                gevent.sleep()
            while due_ns - self._generator.now_ns() > AHEAD_S * 1e9:
                self._hand_out()
                gevent.sleep(EVERY_S)
            self._drawn += 1
            self._waiting.append((due_ns, kind))

    def _hand_out(self) -> None:
        handed: dict[str, dict[str, list[int]]] = {}
        waiting, self._waiting = self._waiting, []
        for due_ns, kind in waiting:
            if able := [name for name, one in self._workers.items() if one.users[kind] and self._takes(name)]:
                name = able[self._turn % len(able)]
                self._turn += 1
                self._workers[name].handed += 1
                handed.setdefault(name, {}).setdefault(kind, []).append(due_ns)
            else:
                self._waiting.append((due_ns, kind))
        for name, arrivals in handed.items():
            self._runner.send_message(ARRIVALS, arrivals, name)

    def _settle(self) -> None:
        """Wait until it is known of every arrival what became of it; those that are lost are not waited for."""
        with gevent.Timeout(SETTLE_S, False):  # noqa: FBT003 - same
            while self._waiting or self._open():
                self._hand_out()
                gevent.sleep(EVERY_S)

    def _open(self) -> int:
        tallies = self.tallies()
        return sum(self._workers[name].handed - tally.known for name, tally in tallies.items() if self._there(name))

    def _there(self, name: str) -> bool:
        if isinstance(self._runner, LocalRunner):
            return True
        client = self._runner.clients.get(name)
        return client is not None and client.state != STATE_MISSING

    def _takes(self, name: str) -> bool:
        return not self._workers[name].leaving and self._there(name)

    def _known(self, name: str) -> _Worker:
        return self._workers.setdefault(name, _Worker(Counter(), Tally()))

    def _join(self, environment: Environment, msg: Message) -> None:  # noqa: ARG002 - Locust calls it so
        self._known(msg.node_id).users[msg.data["kind"]] += 1

    def _take_back(self, environment: Environment, msg: Message) -> None:  # noqa: ARG002 - same
        """What a generator does not want is handed to another; it is counted as drawn once more."""
        if not self.over:
            self._waiting += [(due_ns, kind) for due_ns, kind in msg.data["arrivals"]]
            self._drawn += len(msg.data["arrivals"])

    def _let_go(self, environment: Environment, msg: Message) -> None:  # noqa: ARG002 - same
        self._known(msg.node_id).leaving = True
        self._runner.send_message(LEFT, {}, msg.node_id)


def _drawn(weights: Mapping[str, float], random: Random) -> Iterator[str]:
    kinds, shares = list(weights), list(weights.values())
    return chain.from_iterable(iter(lambda: random.choices(kinds, shares, k=100), None))
