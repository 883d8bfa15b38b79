"""A load run written down as the recording of a script, so that ``brownout judge`` rules on it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path

import gevent
from locust.env import Environment
from locust.exception import RescheduleTask

from brownout.archive import Archive
from brownout.errors import BrownoutError, FileError
from brownout.history import Event, Outcome
from brownout.live import State
from brownout.processors import processor_time
from brownout.promises.contract import read_journeys
from brownout.recording import Recording
from brownout.suite import fitted_scripts
from brownout.topology import read_topology
from fault_plan import left_broken
from lines import Line
from open_user import OpenUser

__all__ = ["Record"]

STEADY_CALLS = 3
"""Calls of the steady journey before and after; as many in a row have to succeed."""

RECOVERY_S = 15.0
"""How long the steady state may take to come back at the end."""

SAMPLED_S = 1.0
"""How often it is noted what became of the processors' time."""


class Record:
    """The recording of one load run: what the generators say, and beside it what a judge wants to know.

    That is whether the system was steady before and after, what became of the processors' time, and whether all faults
    were lifted. It is what was seen from outside: neither spans nor metrics. All of it is in memory until the
    end, about a kilobyte a request.

    Args:
        script: the file of the script as whose run it is written down.
        contract: the journeys and what the script may import are beside it.
        state: of the system under load.
        now_ns: Unix time that never steps back.

    Raises:
        FileError: a file cannot be loaded, has not one script, or that names what is not there.
    """

    def __init__(self, script: Path, contract: Path, state: State, now_ns: Callable[[], int]) -> None:
        journeys = read_journeys(contract)
        scripts = fitted_scripts(script, read_topology(Path(state.topology)), journeys)
        if len(scripts) != 1:
            raise FileError(str(script), f"has {len(scripts)} scripts; a load run is the recording of one")
        self._name = scripts[0].name
        self._steady = type("Steady", (OpenUser,), {"kind": "steady", "journey": journeys[scripts[0].journey]})
        self._script, self._contract, self._state = script, contract, state
        self._now_ns = now_ns
        self._lines: list[Line] = []
        self._end_ns: float = inf

    @contextmanager
    def running(self, environment: Environment) -> Iterator[None]:
        """Call the steady journey, hold the run open, and see that the system is steady again and nothing is broken.

        Raises:
            BrownoutError: what the steady journey needs could not be arranged.
        """
        self._lines, self._end_ns = [], inf
        user = self._steady(environment)
        sampling = gevent.spawn(self._sample)
        try:
            _arrange(user)
            for _ in range(STEADY_CALLS):
                user.call("before")
            yield
            self._recover(user)
            left = left_broken(self._state.control)
            self._note("clean", Outcome.FAILED if left else Outcome.OK, left=left)
            self._end_ns = self._now_ns()
        finally:
            sampling.kill()

    def write(self, told: list[Line], runs: Path) -> Path:
        """Write the run down; returns its folder, which ``brownout judge`` reads.

        Args:
            told: what the generators and the plan of faults say.
            runs: the folder below which it goes.

        Raises:
            FileError: it cannot be written.
        """
        archive = Archive.create(runs, self._contract, Path(self._state.topology), (self._name,))
        shutil.copyfile(self._script, archive.contract.with_name(self._script.name))
        lines = [line for line in (*told, *self._lines) if line.begin_ns <= self._end_ns]  # the rest is Locust ending
        now_ns = 0
        begun: dict[int, Event] = {}
        with archive.recorder(self._name, lambda: now_ns) as recorder:
            for at_ns, _, number in _moments(lines):
                now_ns, line = at_ns, lines[number]
                if line.end_ns is None:
                    recorder.note(line.actor, line.action, line.outcome, **line.ended)
                elif number in begun:
                    recorder.end(begun.pop(number), line.outcome, **line.ended)
                else:
                    begun[number] = recorder.begin(line.actor, line.action, trace_id=line.trace_id, **line.begun)
            archive.add_telemetry(Recording(self._name, "up", recorder.history, None, None))
        return archive.folder

    def _recover(self, user: OpenUser) -> None:
        last_ns = self._now_ns() + int(RECOVERY_S * 1e9)
        in_a_row = 0
        while in_a_row < STEADY_CALLS and self._now_ns() < last_ns:
            in_a_row = in_a_row + 1 if user.call("after") else 0
            gevent.sleep(0.2)

    def _sample(self) -> None:
        before, begun_ns = processor_time(), self._now_ns()
        while True:
            gevent.sleep(SAMPLED_S)
            after, now_ns = processor_time(), self._now_ns()
            sampled_s = round((now_ns - begun_ns) / 1e9, 3)
            busy, stolen = round(after.busy_since(before), 3), round(after.stolen_since(before), 3)
            self._note("host", Outcome.OK, sampled_s=sampled_s, busy=busy, stolen=stolen)
            before, begun_ns = after, now_ns

    def _note(self, action: str, outcome: Outcome, **said: object) -> None:
        self._lines.append(Line("engine", action, self._now_ns(), None, outcome, {}, dict(said)))


def _arrange(user: OpenUser) -> None:
    try:
        user.arrange()
    except RescheduleTask:
        raise BrownoutError("the steady journey", "could not be arranged", "see Locust's failures") from None


def _moments(lines: list[Line]) -> list[tuple[int, bool, int]]:
    """Each line's beginning and end in the order of time: when, which of them, whose."""
    begins = [(line.begin_ns, False, number) for number, line in enumerate(lines)]
    ends = [(line.end_ns, True, number) for number, line in enumerate(lines) if line.end_ns is not None]
    return sorted([*begins, *ends])
