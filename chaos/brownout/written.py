"""Written recordings: what a run would have recorded, told by hand. Tests of promises and checks judge them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from brownout.history import Event, Outcome, Recorder
from brownout.recording import Recording, Series, Span

__all__ = ["Written"]

ENTERING_S = 0.01


class _Line(msgspec.Struct):
    """Something that begins and, perhaps, ends; one without a length stands alone."""

    actor: str
    action: str
    begin_s: float
    end_s: float | None = None
    outcome: Outcome = Outcome.OK
    begun: dict[str, Any] = {}
    ended: dict[str, Any] = {}
    trace_id: str = ""
    alone: bool = False


class Written:
    """A recording in the making; ``now_s`` is where the next line begins unless it says otherwise.

    Attributes:
        now_s: seconds since the beginning.
        series: the metrics; one series from the start.
        spans: the traces; requests add theirs.
        traced: whether the system sends spans, and is scraped.
        queried: what Prometheus made of queries.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.traced = True
        self.series = [Series({"__name__": "up"}, [(0.0, 1.0)])]
        self.spans: list[Span] = []
        self.queried: dict[str, list[Series]] = {}
        self._lines: list[_Line] = []
        self._traces = 0

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds

    def call(
        self,
        phase: str,
        *,
        status: int | None = 201,
        took_s: float | None = 0.01,
        at_s: float | None = None,
        reaches: Iterable[str] = (),
        service: str = "orders",
        actor: str = "calls",
        error: str = "",
        late_s: float = 0.0,
        body: Any = None,
        retry_after_s: int | None = None,
    ) -> str:
        """One request; without ``at_s`` it begins now, and now is its end afterwards. Returns its trace.

        Args:
            phase: its phase.
            status: of the answer; None: none came, and nobody knows what became of it.
            took_s: until its end; None: it has none.
            at_s: when it is sent.
            reaches: services that have a span of it; one named twice was reached twice.
            service: who is asked.
            actor: ``calls`` or ``load``.
            error: why there was no answer; ``refused…`` is known to have failed.
            late_s: how long after it was due it is sent.
            body: of the answer.
            retry_after_s: when it asks to come again.
        """
        begin_s = self.now_s if at_s is None else at_s
        trace_id = self._trace(reaches, begin_s, took_s or 0.0)
        ended: dict[str, Any] = {"error": error} if status is None else {"status": status, "body": body}
        if retry_after_s is not None:
            ended["retry_after_s"] = retry_after_s
        due = {"service": service, "due_ns": _ns(begin_s - late_s)}
        end_s = None if took_s is None else begin_s + took_s
        self._add(_Line(actor, phase, begin_s, end_s, _outcome(status, error), due, ended, trace_id))
        if at_s is None and end_s is not None:
            self.now_s = end_s
        return trace_id

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step of the scenario while what is inside is written."""
        begun_s = self.now_s
        yield
        self._add(_Line("step", name, begun_s, self.now_s))

    def read(self, actor: str, name: str, rows: list[dict[str, Any]], *, took_s: float = 0.01) -> None:
        """A reading of rows (``select``) or ``messages``."""
        self._add(_Line(actor, name, self.now_s, self.now_s + took_s, ended={"rows": rows}))
        self.wait(took_s)

    def beside(self, actor: str, action: str, *, begun: dict[str, Any] | None = None, **ended: Any) -> None:
        """Something done at a server itself: ``publish``, ``forget``, ``lookup``."""
        self._add(_Line(actor, action, self.now_s, self.now_s + ENTERING_S, begun=begun or {}, ended=ended))
        self.wait(ENTERING_S)

    def put(self, key: str, value: str, *, written: bool = True) -> None:
        """The writing of a key of the configuration."""
        outcome = Outcome.OK if written else Outcome.FAILED
        self._add(_Line("put", key, self.now_s, self.now_s + ENTERING_S, outcome, begun={"value": value}))
        self.wait(ENTERING_S)

    def span(
        self, trace_id: str, name: str, parent: str = "", *, service: str = "orders", kind: str = "internal"
    ) -> str:
        """One span of a trace, now; returns its id, by which others hang from it."""
        span_id, now_ns = f"{len(self.spans) + 1:016x}", _ns(self.now_s)
        self.spans.append(Span(trace_id, span_id, parent, service, name, kind, now_ns, now_ns))
        return span_id

    @contextmanager
    def fault(
        self,
        fault: str,
        *,
        entered: bool = True,
        canary: Outcome | None = Outcome.OK,
        lifted: bool = True,
        lifting_s: float = ENTERING_S,
        **seen: Any,
    ) -> Iterator[None]:
        """Hold a fault while what is inside is written."""
        outcome = Outcome.OK if entered else Outcome.FAILED
        self._add(_Line("fault", fault, self.now_s, self.now_s + ENTERING_S, outcome))
        self.wait(ENTERING_S)
        begun_s = self.now_s
        yield
        if canary is not None:
            self._add(_Line("canary", fault, begun_s, max(begun_s, self.now_s), canary, ended=seen))
        if lifted:
            self._add(_Line("lift", fault, self.now_s, self.now_s + lifting_s))
            self.wait(lifting_s)

    def watch(
        self,
        name: str,
        *,
        at_s: float,
        status: int | None = 200,
        body: Any = None,
        took_s: float | None = 0.01,
        late_s: float = 0.0,
    ) -> None:
        """One question of a watch; the arguments are those of `call`."""
        ended = {"error": "no answer"} if status is None else {"status": status, "body": body}
        end_s = None if took_s is None else at_s + took_s
        due = {"due_ns": _ns(at_s - late_s)}
        self._add(_Line("watch", name, at_s, end_s, _outcome(status, ""), due, ended))

    def note(self, actor: str, action: str, outcome: Outcome = Outcome.OK, **detail: Any) -> None:
        """Something without a length, now."""
        self._add(_Line(actor, action, self.now_s, outcome=outcome, ended=detail, alone=True))

    def steady(self, phase: str, *statuses: int, reaches: Iterable[str] = ("orders", "users")) -> None:
        """Calls of the steady journey, three that succeed unless statuses are given."""
        for status in statuses or (201, 201, 201):
            self.call(phase, status=status, reaches=reaches)
            self.wait(0.1)

    def end(self) -> None:
        """Steady afterwards, and a clean cell: how a run ends when all is well."""
        self.steady("after")
        self.note("engine", "clean", left=[])

    def recording(self) -> Recording:
        """All of it, in the order of time."""
        now_ns = 0
        recorder = Recorder(lambda: now_ns)
        begun: dict[int, Event] = {}
        for at_s, _, number in sorted(self._moments()):
            now_ns, line = _ns(at_s), self._lines[number]
            if line.alone:
                recorder.note(line.actor, line.action, line.outcome, **line.ended)
            elif number in begun:
                recorder.end(begun[number], line.outcome, **line.ended)
            else:
                begun[number] = recorder.begin(line.actor, line.action, trace_id=line.trace_id, **line.begun)
        spans, series = (self.spans, self.series) if self.traced else (None, None)
        return Recording("written", "written", recorder.history, spans, series, self.queried)

    def _add(self, line: _Line) -> None:
        self._lines.append(line)

    def _moments(self) -> Iterator[tuple[float, int, int]]:
        """Each line's beginning and end: when, in which order at the same time, whose."""
        for number, line in enumerate(self._lines):
            yield line.begin_s, number, number
            if line.end_s is not None:
                yield line.end_s, number, number

    def _trace(self, reaches: Iterable[str], begin_s: float, took_s: float) -> str:
        self._traces += 1
        trace_id = f"{self._traces:032x}"
        for service in reaches:
            self.spans.append(
                Span(
                    trace_id=trace_id,
                    span_id=f"{len(self.spans) + 1:016x}",
                    parent_id="",
                    service=service,
                    name="request",
                    kind="server",
                    start_ns=_ns(begin_s),
                    end_ns=_ns(begin_s + took_s),
                )
            )
        return trace_id


def _outcome(status: int | None, error: str) -> Outcome:
    if status is not None:
        return Outcome.OK if 200 <= status < 300 else Outcome.FAILED  # noqa: PLR2004 - HTTP's own numbers
    return Outcome.FAILED if error.startswith("refused") else Outcome.UNKNOWN


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
