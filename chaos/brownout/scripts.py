"""Scenario scripts: a story that is first done and then judged, told in one function.

    @script(steady="buy", clause="3.3")
    def kafka_cut() -> Story:
        \"\"\"Kafka is cut while orders are placed: none is refused.\"\"\"
        seen = yield (
            hold(load("buying", "buy", rate=2), wait(3), hold(outage("orders -> kafka"), wait(20)), wait(5)),
        )
        seen.none_failed("buying")

What is yielded is done, by the engine that performs promises; what comes back is what was recorded, and the rest
of the function judges it: a failed ``assert`` is a FAIL. The second half may run again, years later, offline.
"""

import linecache
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from brownout.cell import Fault
from brownout.errors import FileError
from brownout.faults import BlackHole, Killed, Latency, Outage, Paused, Restarted, Terminated
from brownout.programs import values_of
from brownout.promises.evidence import edge_of
from brownout.promises.promise import BrokenError, Name, NoEvidenceError, Stated, key
from brownout.recording import Recording
from brownout.scenario import Answered, Calls, Hold, Load, Messages, Put, Scenario, Select, Step, Wait
from brownout.seen import Seen
from brownout.topology import Topology
from brownout.verdict import Verdict

__all__ = [
    "Script",
    "Seen",
    "Step",
    "Story",
    "answered",
    "black_hole",
    "calls",
    "hold",
    "hold_all",
    "killed",
    "latency",
    "load",
    "messages",
    "outage",
    "paused",
    "put",
    "restarted",
    "script",
    "script_files",
    "scripts_in",
    "select",
    "terminated",
    "wait",
]


Story: TypeAlias = Generator[tuple[Step, ...], Seen, None]


class Script(Stated, frozen=True, kw_only=True, tag="script"):
    """A story as a promise: what it yields is its scenario, what it does afterwards its check.

    Attributes:
        story: a generator function without arguments; its docstring is the promise.
        instances: how many of a service, where it differs from the topology.
        private: the servers that its cell has to itself.
    """

    story: Callable[[], Story]
    instances: dict[str, int] = msgspec.field(default_factory=dict)
    private: tuple[str, ...] = ()

    def scenario(self, topology: Topology) -> Scenario:
        """The whole system, and the steps of the story."""
        steps = next(self.story())
        for step in _all(steps):
            _check_edges(step, topology)
        return Scenario(
            self.name,
            self.journey,
            steps,
            tuple(topology.services),
            self.instances,
            environment=self.environment,
            private=self.private,
        )

    def examine(self, recording: Recording) -> Verdict:
        """The second half of the story."""
        story, seen = self.story(), Seen(recording)
        next(story)
        try:
            story.send(seen)
        except StopIteration:
            pass
        except AssertionError as error:
            raise BrokenError(_asserted(error), figures=seen.figures) from None
        else:
            raise NoEvidenceError("the script yields more than once")
        if not seen.figures:
            raise NoEvidenceError("the script looked at nothing")
        sentence = (self.story.__doc__ or self.name).strip().splitlines()[0]
        return self.kept(sentence, *seen.figures)


def script(
    *,
    steady: str,
    clause: str = "-",
    instances: Mapping[str, int] | None = None,
    environment: Mapping[str, dict[str, str]] | None = None,
    services: Iterable[str] = (),
    private: Iterable[str] = (),
) -> Callable[[Callable[[], Story]], Script]:
    """Make a script of a generator function.

    Args:
        steady: the journey that must succeed before and after.
        clause: where the documents promise it.
        instances: how many of a service, where it differs from the topology.
        environment: settings of services in this run.
        services: those that run; none named: all of them.
        private: the servers that its cell has to itself, ``consul`` or ``postgres``, so that they may be `restarted`.

    Raises:
        msgspec.ValidationError: the function's name is too long, or has capital letters.
    """
    return lambda story: Script(
        name=msgspec.convert(story.__name__.replace("_", "-"), Name),
        clause=clause,
        journey=steady,
        environment=dict(environment or {}),
        services=tuple(services),
        story=story,
        instances=dict(instances or {}),
        private=tuple(private),
    )


def hold(what: Fault | Load, *steps: Step) -> Hold:
    """Hold a fault or a load open while the steps are done."""
    return Hold(what, steps)


def hold_all(what: Iterable[Fault | Load], *steps: Step) -> Hold:
    """Hold several faults and loads open at once, the first one outermost."""
    *outer, inner = what
    held = Hold(inner, steps)
    for each in reversed(outer):
        held = Hold(each, (held,))
    return held


def wait(seconds: float) -> Wait:
    """Let time pass."""
    return Wait(seconds)


def load(name: str, journey: str, *, rate: float) -> Load:
    """Journeys arriving at a rate a second, whatever becomes of those before."""
    return Load(name, journey, rate)


def calls(name: str, journey: str, *, count: int = 1, every_s: float = 0.0, together: bool = False) -> Calls:
    """A journey several times, one after another, or all at once."""
    return Calls(name, journey, count, every_s=every_s, together=together)


def select(name: str, service: str, sql: str, *, until: Answered | None = None, within_s: float = 0.0) -> Select:
    """Read rows of a service's own database, where the database itself is."""
    return Select(name, service, sql, until, within_s)


def messages(name: str, topic: str, *, until: Answered | None = None, within_s: float = 0.0) -> Messages:
    """Read all messages of a topic, where the broker itself is."""
    return Messages(name, topic, until, within_s)


def put(key: str, value: str) -> Put:
    """Give a key of the configuration a value, where the configuration itself is."""
    return Put(key, value)


def answered(field: str, *, to: str = "") -> Answered:
    """The condition that a reading has a field of every 2xx answer so far, to some requests."""
    return Answered(None, field, to)


def latency(edge: str, seconds: float) -> Latency:
    """Answers on an edge come later."""
    return Latency(edge_of(edge), round(seconds * 1000))


def outage(edge: str) -> Outage:
    """Connections on an edge are cut and refused."""
    return Outage(edge_of(edge))


def black_hole(edge: str) -> BlackHole:
    """Nothing ever comes back on an edge."""
    return BlackHole(edge_of(edge))


def killed(service: str) -> Killed:
    """Every instance of a service is gone."""
    return Killed(service)


def paused(service: str, instance: int | None = None) -> Paused:
    """A service stands still, every instance or one, and then goes on: it accepts and does not answer."""
    return Paused(service, instance)


def terminated(service: str, instance: int = 0) -> Terminated:
    """An instance is sent SIGTERM, ends by itself, and is started again."""
    return Terminated(service, instance)


def restarted(server: str) -> Restarted:
    """A server of the cell's own is gone, and then started again: Postgres with its data, Consul with nothing."""
    return Restarted(server)


def script_files(contract: Path) -> list[Path]:
    """The files beside a contract that may have scripts, by name."""
    return sorted(contract.parent.glob("*.py"))


def scripts_in(path: Path) -> tuple[Script, ...]:
    """The scripts in one file; it may import from the files beside it.

    Raises:
        FileError: it cannot be loaded.
    """
    if not __debug__:
        cause = "Python was told to leave out assertions, which scripts judge by"
        raise FileError(str(path), cause, "run it without -O and PYTHONOPTIMIZE")
    return tuple(value for value in values_of(path).values() if isinstance(value, Script))


def _all(steps: tuple[Step, ...]) -> Iterator[Step]:
    for step in steps:
        yield step
        if isinstance(step, Hold):
            yield from _all(step.steps)


def _check_edges(step: Step, topology: Topology) -> None:
    subject: Any = step.what if isinstance(step, Hold) else step
    with key(str(subject)):
        if edge := getattr(subject, "edge", None):
            topology.edge(str(edge))
        if service := getattr(subject, "service", None):
            topology.service(service)


def _asserted(error: AssertionError) -> str:
    """What was asserted, in the script's own words: its message, or the line."""
    if str(error):
        return str(error).splitlines()[0]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return linecache.getline(frame.filename, frame.lineno or 0).strip() or "an assertion failed"
