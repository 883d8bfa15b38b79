"""Faults that are injected into the running system while it is under load, and lifted whatever happens."""

import logging
import re
import shlex
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader

import gevent
import msgspec
from gevent.pool import Group

from brownout.control import UNDONE_WITHIN_S, Answer, Inject, Injected, Look, Refused, Request, Standing
from brownout.errors import BrownoutError, CellError, FaultError
from brownout.faults.spoken import duration_s, spoken_fault
from brownout.history import Outcome
from brownout.topology import Topology
from lines import Line

__all__ = ["FORM", "FaultPlan", "Planned", "left_broken", "planned"]

FORM = "FAULT @DURATION for DURATION"
"""How a fault of the plan is said; the fault as `brownout inject` has it."""

_SAID = re.compile(r"(?P<fault>.+?)\s+@\s*(?P<at>\S+)\s+for\s+(?P<lasting>\S+)")

log = logging.getLogger(__name__)


class Planned(msgspec.Struct, frozen=True):
    """A fault of the plan.

    Attributes:
        words: the fault, as it is asked for.
        name: the fault in words.
        at_s: when it begins, in seconds since the first arrival could be due.
        for_s: how long it is held.
    """

    words: tuple[str, ...]
    name: str
    at_s: float
    for_s: float


def planned(text: str, topology: Topology) -> Planned:
    """The fault that a text such as ``latency orders->users 2s @30s for 20s`` means.

    Raises:
        FaultError: no such fault, edge or service, or it is said otherwise.
    """
    said = _SAID.fullmatch(text.strip())
    if said is None:
        raise FaultError(text, f"say it so: {FORM}", 'such as "latency orders->users 2s @30s for 20s"')
    try:
        words = tuple(shlex.split(said["fault"]))
    except ValueError as error:
        raise FaultError(text, f"cannot be read: {error}") from None
    fault = spoken_fault(words, topology)
    return Planned(words, str(fault), _moment_s(said["at"]), duration_s(said["lasting"]))


class FaultPlan:
    """Faults held open at their times.

    Args:
        faults: the plan.
        control: the socket of the system's holder.
        now_ns: Unix time that never steps back.

    Attributes:
        wrong: what went wrong with them, in words.
        lines: what was done.
    """

    def __init__(self, faults: tuple[Planned, ...], control: str, now_ns: Callable[[], int]) -> None:
        self.wrong: list[str] = []
        self.lines: list[Line] = []
        self._faults = faults
        self._control = control
        self._now_ns = now_ns

    @contextmanager
    def running(self, begin_ns: int) -> Iterator[None]:
        """Inject and lift each at its time; leaving lifts what is still in force, and waits until it is gone."""
        holding = Group()
        for fault in self._faults:
            holding.spawn(self._hold, fault, begin_ns)
        try:
            yield
        finally:
            holding.kill()

    def _hold(self, fault: Planned, begin_ns: int) -> None:
        gevent.sleep(max(0.0, (begin_ns - self._now_ns()) / 1e9 + fault.at_s))
        try:
            with self._injected(fault):
                gevent.sleep(fault.for_s)
        except BrownoutError as error:
            self._tell(f"{fault.name}: {error}")

    @contextmanager
    def _injected(self, fault: Planned) -> Iterator[None]:
        asked_ns = self._now_ns()
        with _asking(self._control, Inject(fault.words, lasting=False)) as (connection, answers):
            try:
                injected = _answer(answers)
            except BrownoutError as error:
                self._line("fault", fault, asked_ns, Outcome.FAILED, error=str(error))
                raise
            assert isinstance(injected, Injected)  # noqa: S101 - the answer to Inject
            entered_ns = self._line("fault", fault, asked_ns, Outcome.OK)
            bit = Outcome.OK if injected.bit else Outcome.FAILED
            self._line("canary", fault, entered_ns, bit, seen=injected.seen)
            log.info("%s", injected)
            if not injected.bit:
                self._tell(f"{fault.name} was not seen to act: {injected.seen}")
            try:
                yield
            finally:
                self._lift(fault, connection, answers)

    def _lift(self, fault: Planned, connection: socket.socket, answers: BufferedReader) -> None:
        """Have it lifted, and see that it is: the end of what is asked is its end, even where we are killed."""
        lifting_ns = self._now_ns()
        try:
            connection.shutdown(socket.SHUT_WR)
            _answer(answers)
        except (BrownoutError, OSError) as error:
            self._line("lift", fault, lifting_ns, Outcome.FAILED, error=str(error))
            self._tell(f"{fault.name} was not lifted: {error}")
        else:
            self._line("lift", fault, lifting_ns, Outcome.OK)
            log.info("%s: lifted", fault.name)

    def _line(self, actor: str, fault: Planned, begin_ns: int, outcome: Outcome, **said: str) -> int:
        end_ns = self._now_ns()
        self.lines.append(Line(actor, fault.name, begin_ns, end_ns, outcome, {}, dict(said)))
        return end_ns

    def _tell(self, wrong: str) -> None:
        log.error("%s", wrong)
        self.wrong.append(wrong)


def left_broken(control: str) -> list[str]:
    """What is broken in the running system, by whomever.

    Raises:
        BrownoutError: it cannot be asked.
    """
    with _asking(control, Look()) as (_, answers):
        standing = _answer(answers)
    assert isinstance(standing, Standing)  # noqa: S101 - the answer to Look
    return [*standing.held, *standing.broken]


@contextmanager
def _asking(control: str, request: Request) -> Iterator[tuple[socket.socket, BufferedReader]]:
    """Ask the holder, as `brownout.control.asked` does, but without an event loop: Locust has its own."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(UNDONE_WITHIN_S)
        try:
            connection.connect(control)
            connection.sendall(msgspec.json.encode(request) + b"\n")
        except OSError as error:
            raise CellError("the system", f"cannot be asked: {error}") from None
        with connection.makefile("rb") as answers:
            yield connection, answers


def _answer(answers: BufferedReader) -> Answer:
    try:
        line = answers.readline()
    except OSError as error:
        raise CellError("the system", f"does not answer: {error}") from None
    if not line:
        raise CellError("the system", "has gone while it was asked")
    answer: Answer = msgspec.json.decode(line, type=Answer)
    if isinstance(answer, Refused):
        raise answer.error()
    return answer


def _moment_s(text: str) -> float:
    """A time since the beginning, which may be the beginning itself."""
    return 0.0 if text in {"0", "0s", "0ms"} else duration_s(text)
