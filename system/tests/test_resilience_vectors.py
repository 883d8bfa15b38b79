"""The breaker and the limiter answer as the Go libraries do, at every step of every recorded sequence.

`vectors/README.md` tells what the files hold. Nothing is left out: double cancels and explicit times are
replayed as well.
"""

import asyncio
import gzip
import heapq
import json
import math
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from brownout_shop.resilience.breaker import (
    Admission,
    BreakerSettings,
    CircuitBreaker,
    Counts,
    OpenError,
    State,
    TooManyRequestsError,
    failure_ratio,
)
from brownout_shop.resilience.limiter import (
    BurstExceededError,
    DeadlineExceededError,
    Limiter,
    Reservation,
    WouldExceedDeadlineError,
    every,
)

Json = dict[str, Any]
VECTORS = Path(__file__).parent / "vectors"


def sequences(file: str) -> Iterator[Json]:
    with gzip.open(VECTORS / f"{file}.jsonl.gz", "rt") as lines:
        yield from map(json.loads, lines)


def same(got: Json, expected: Json) -> bool:
    """Compare to the last bit: the text of a double is its own, and tells 0.0 from -0.0 and 1 from 1.0."""
    return json.dumps(got, sort_keys=True) == json.dumps(expected, sort_keys=True)


def told(sequence: Json, step: int, got: Json, expected: Json) -> str:
    return (
        f"sequence {sequence['id']} {sequence['tags']}, step {step}: {sequence['ops'][step]}\n"
        f"   here: {got}\n  in Go: {expected}"
    )


# --- breaker ---


class BenignError(Exception):
    """The error that the rule `benign_ok` accepts."""


class PlainError(Exception):
    """Any other."""


class Panic(BaseException):
    """What unwinds a call without being an answer."""


OUTCOMES: dict[str, BaseException | None] = {
    "ok": None,
    "err": PlainError(),
    "benign": BenignError(),
    "panic": Panic(),
}
WORDS: dict[type[BaseException], str] = {
    PlainError: "err",
    BenignError: "benign",
    Panic: "panic",
    OpenError: "open",
    TooManyRequestsError: "too_many",
}
SUCCESS_RULES: dict[str, Callable[[Exception | None], bool]] = {
    "benign_ok": lambda error: error is None or isinstance(error, BenignError),
    "all_ok": lambda _: True,
}


def trip_rule(rule: Json) -> Callable[[Counts], bool]:
    match rule:
        case {"kind": "ratio", "min_requests": requests, "ratio": ratio}:
            return failure_ratio(requests, ratio)
        case {"kind": "consecutive", "n": n}:
            return lambda counts: counts.consecutive_failures >= n
        case {"kind": "total_failures", "n": n}:
            return lambda counts: counts.total_failures >= n
        case {"kind": "always" | "never" as kind}:
            return lambda _: kind == "always"
    raise ValueError(rule)


def breaker_settings(raw: Json) -> BreakerSettings:
    rules: Json = {}
    if raw["ready_to_trip"]:
        rules["ready_to_trip"] = trip_rule(raw["ready_to_trip"])
    if raw["is_successful"]:
        rules["is_successful"] = SUCCESS_RULES[raw["is_successful"]]
    return BreakerSettings(raw["max_requests"], raw["interval_ns"], raw["timeout_ns"], **rules)


def held_open(breaker: CircuitBreaker) -> Generator[None, BaseException | None]:
    """One call under the breaker, under way until it is sent its outcome."""
    with breaker.allow():
        outcome = yield
        if outcome is not None:
            raise outcome


def word_for(act: Callable[[], object]) -> str:
    """What the caller of `act` gets, as the vectors word it."""
    try:
        act()
    except StopIteration:
        return "ok"
    except tuple(WORDS) as error:
        return WORDS[type(error)]
    return "ok"


class BreakerReplay:
    """One breaker under a clock of its own, and the calls under way."""

    def __init__(self, sequence: Json) -> None:
        self.now_ns = 0
        self.events: list[Json] = []
        self.two_step = sequence["api"] == "two_step"
        self.admissions: dict[int, Admission] = {}
        self.calls: dict[int, Generator[None, BaseException | None]] = {}
        settings = sequence["settings"]
        self.breaker = CircuitBreaker(
            settings["name"],
            breaker_settings(settings),
            on_state_change=self.changed,
            clock=lambda: self.now_ns,
        )

    def changed(self, name: str, before: State, after: State) -> None:
        assert name == self.breaker.name
        self.events.append({"from": before, "to": after, "t_ns": self.now_ns})

    def perform(self, op: Json) -> Json:
        self.events.clear()
        answer = self.act(op)
        answer |= {"t_ns": self.now_ns, "counts": self.breaker.counts}
        if self.events:
            answer["events"] = self.events
        if op["op"] != "advance":  # after it, looking at the state might change it
            answer["state"] = self.breaker.state()
        return answer

    def act(self, op: Json) -> Json:
        match op:
            case {"op": "begin", "call": call}:
                return {"r": word_for(lambda: self.begin(call))}
            case {"op": "finish", "call": call, "outcome": outcome} if self.two_step:
                self.admissions[call](outcome == "ok")
            case {"op": "finish", "call": call, "outcome": outcome}:
                return {"r": word_for(lambda: self.calls[call].send(OUTCOMES[outcome]))}
            case {"op": "advance", "d_ns": d_ns}:
                self.now_ns += d_ns
            case {"op": "state"}:
                return {"r": self.breaker.state()}
            case _:
                raise ValueError(op)
        return {}

    def begin(self, call: int) -> None:
        if self.two_step:
            self.admissions[call] = self.breaker.allow()
        else:
            self.calls[call] = held_open(self.breaker)
            next(self.calls[call])


@pytest.mark.parametrize(("file", "count"), [("breaker", 1000), ("breaker_coarse", 500)])
def test_the_breaker_answers_as_gobreaker_at_every_step(file: str, count: int) -> None:
    replayed = 0
    for sequence in sequences(file):
        replay = BreakerReplay(sequence)
        for step, (op, expected) in enumerate(zip(sequence["ops"], sequence["results"], strict=True)):
            if op["op"] == "advance":
                del expected["state"]
            got = replay.perform(op)
            assert same(got, expected), told(sequence, step, got, expected)
        replayed += 1
    assert replayed == count


# --- limiter ---


class FakeTime:
    """A clock that moves when it is told to, and wakes its sleepers on the way, each at its moment."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = 0

    def clock(self) -> int:
        return self.now_ns

    async def sleep_ns(self, duration_ns: int) -> None:
        waker = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._sleepers, (self.now_ns + duration_ns, self._order, waker))
        await waker

    async def advance(self, duration_ns: int) -> None:
        end_ns = self.now_ns + duration_ns
        while self._sleepers and self._sleepers[0][0] <= end_ns:
            self.now_ns, _, waker = heapq.heappop(self._sleepers)
            if not waker.done():
                waker.set_result(None)
                await asyncio.sleep(0)  # the sleeper runs before we do
        self.now_ns = end_ns


def rate(limit: float | str) -> float:
    return math.inf if limit == "inf" else float(limit)


class LimiterReplay:
    """One limiter under a fake time, its reservations, and its waits as tasks."""

    def __init__(self, settings: Json) -> None:
        self.time = FakeTime()
        limit = every(settings["every_ns"]) if "every_ns" in settings else rate(settings["limit"])
        assert limit == rate(settings["limit"])
        self.limiter = Limiter(limit, settings["burst"], clock=self.time.clock, sleep_ns=self.time.sleep_ns)
        self.reservations: dict[int, Reservation] = {}
        self.waits: dict[int, asyncio.Task[None]] = {}
        self.done: list[Json] = []

    async def perform(self, op: Json) -> Json:
        self.done.clear()
        answer = await self.act(op)
        answer |= {"t_ns": self.time.now_ns, "tokens": self.limiter.tokens()}
        if self.done:
            answer["done"] = sorted(self.done, key=lambda wait: (wait["t_ns"], wait["id"]))
        return answer

    async def act(self, op: Json) -> Json:
        match op:
            case {"op": "advance", "d_ns": d_ns}:
                await self.time.advance(d_ns)
            case {"op": "wait", "id": number, "n": n}:
                return await self.begin_wait(number, n, op.get("deadline_ns"), op.get("cancelled", False))
            case {"op": "cancel_wait", "id": number}:
                self.waits[number].cancel()
                await asyncio.sleep(0)
            case {"t_ns": at_ns}:
                return self.act_at(op, at_ns)
            case _:
                raise ValueError(op)
        return {}

    def act_at(self, op: Json, at_ns: int) -> Json:
        match op:
            case {"op": "allow", "n": n}:
                return {"ok": self.limiter.allow(n, at_ns)}
            case {"op": "reserve", "id": number, "n": n}:
                reservation = self.reservations[number] = self.limiter.reserve(n, at_ns)
                return {"ok": reservation.ok, "delay_ns": reservation.delay_ns(at_ns)}
            case {"op": "delay", "id": number}:
                return {"delay_ns": self.reservations[number].delay_ns(at_ns)}
            case {"op": "cancel", "id": number}:
                self.limiter.cancel(self.reservations[number], at_ns)
            case {"op": "tokens"}:
                return {"value": self.limiter.tokens(at_ns)}
            case {"op": "set_limit", "limit": limit}:
                self.limiter.set_limit(rate(limit), at_ns)
            case {"op": "set_burst", "burst": burst}:
                self.limiter.set_burst(burst, at_ns)
            case _:
                raise ValueError(op)
        return {}

    async def begin_wait(self, number: int, n: int, deadline_ns: int | None, cancelled: bool) -> Json:  # noqa: FBT001 - the vectors' own field
        self.waits[number] = asyncio.create_task(self.wait(number, n, deadline_ns, cancelled))
        await asyncio.sleep(0)
        return {} if self.done else {"pending": True}

    async def wait(self, number: int, n: int, deadline_ns: int | None, cancelled: bool) -> None:  # noqa: FBT001 - same
        began_ns = self.time.now_ns
        if cancelled:
            asyncio.current_task().cancel()  # type: ignore[union-attr] # a task runs this
        word = await self.word_for_wait(n, deadline_ns)
        now_ns = self.time.now_ns
        self.done.append({"id": number, "t_ns": now_ns, "waited_ns": now_ns - began_ns, "r": word})

    async def word_for_wait(self, n: int, deadline_ns: int | None) -> str:
        try:
            await self.limiter.wait(n, deadline_ns)
        except BurstExceededError:
            return "burst_exceeded"
        except WouldExceedDeadlineError:
            return "would_exceed_deadline"
        except DeadlineExceededError:
            return "deadline_exceeded"
        except asyncio.CancelledError:
            return "canceled"
        return "ok"

    async def close(self) -> None:
        for task in self.waits.values():
            task.cancel()
        await asyncio.gather(*self.waits.values(), return_exceptions=True)


def settle_tie(got: Json, expected: Json) -> None:
    """Where timer and deadline tie, Go may answer either; here the timer wins. Tokens are not told then."""
    for wait in expected.get("done", []):
        if wait["r"] == "tie":
            wait["r"] = "ok"
            del got["tokens"]


@pytest.mark.parametrize(("file", "count"), [("limiter", 1000), ("limiter_coarse", 500)])
async def test_the_limiter_answers_as_x_time_rate_at_every_step(file: str, count: int) -> None:
    replayed = 0
    for sequence in sequences(file):
        replay = LimiterReplay(sequence["settings"])
        for step, (op, expected) in enumerate(zip(sequence["ops"], sequence["results"], strict=True)):
            got = await replay.perform(op)
            settle_tie(got, expected)
            assert same(got, expected), told(sequence, step, got, expected)
        await replay.close()
        replayed += 1
    assert replayed == count
