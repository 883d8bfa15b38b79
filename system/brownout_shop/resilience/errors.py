"""How a call to another service fails, whatever its protocol (clause 3.1).

CallError
├── NoInstanceKnownError   503  no passing instance
├── CallRefusedError       503  our breaker for the callee is open
├── CalleeRefusedError     4xx  the callee says that it is the caller's mistake
├── CalleeLackingError     503  the callee lacks a service of its own
├── CalleeTimedOutError    504  no answer in time
└── CalleeFailedError      502  any other status, a broken answer, none at all
"""

import math
import re
from dataclasses import dataclass

from brownout_shop.problems import ALLOW, CHALLENGE, RETRY_AFTER, Problem, detail_of, word_of
from brownout_shop.resilience.breaker import BreakerOpenError, OpenError

__all__ = [
    "LACKING",
    "Answer",
    "CallError",
    "CallRefusedError",
    "CalleeFailedError",
    "CalleeLackingError",
    "CalleeRefusedError",
    "CalleeTimedOutError",
    "NoInstanceKnownError",
    "callee_is_well",
]

SECONDS = re.compile("[0-9]{1,9}")
"""What a Retry-After says that is no date (RFC 9110)."""

LACKING = ("breaker-open", "no-instance", "overloaded")
"""The words of a 503 that says nothing against the callee."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A callee's answer, read to its end.

    Args:
        retry_after: when the callee wants to be asked again, in seconds; empty if it does not say.
        allow: by which methods it may be asked; empty if it does not say.
        challenge: how one proves to it who one is; empty if it does not say.
    """

    status: int
    body: bytes
    content_type: str
    retry_after: str = ""
    allow: str = ""
    challenge: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What of the answer's headers is for whoever gets it in the end."""
        again = {RETRY_AFTER: self.retry_after} if SECONDS.fullmatch(self.retry_after) else {}
        others = {ALLOW: self.allow, CHALLENGE: self.challenge}
        return again | {name: value for name, value in others.items() if value}


class CallError(Problem):
    """A call to another service that brought no success; unless caught, it is our own answer as well."""

    outcome = "failed"


class NoInstanceKnownError(CallError):
    """Discovery knows no passing instance."""

    outcome = "no-instance"

    def __init__(self, callee: str) -> None:
        super().__init__(503, "no-instance", f"{callee}: no service available")


class CallRefusedError(CallError):
    """Our own breaker refused the call; nothing was sent. It says for how many seconds the breaker stays open."""

    outcome = "breaker-open"

    def __init__(self, error: BreakerOpenError) -> None:
        wait_s = math.ceil(error.left_ns / 1e9) if isinstance(error, OpenError) else 1
        super().__init__(503, "breaker-open", str(error), {RETRY_AFTER: str(max(1, wait_s))})


class CalleeRefusedError(CallError):
    """The callee answered 4xx, which says nothing against the callee."""

    outcome = "refused"

    def __init__(self, callee: str, answer: Answer) -> None:
        detail = detail_of(answer.body) or f"{callee} refused the request"  # ours say what is wrong; others, who knows
        super().__init__(answer.status, word_of(answer.body) or "invalid", detail, answer.headers)
        self.answer = answer


class CalleeLackingError(CallError):
    """The callee is well, but lacks a service of its own; when to come again is for the callee to say."""

    outcome = "lacking"

    def __init__(self, callee: str, answer: Answer) -> None:
        super().__init__(503, word_of(answer.body), f"{callee} cannot serve the request now", answer.headers)


class CalleeTimedOutError(CallError):
    """No answer came in time."""

    outcome = "timed-out"

    def __init__(self, callee: str) -> None:
        super().__init__(504, "upstream-timeout", f"{callee} did not answer in time")


class CalleeFailedError(CallError):
    """The callee failed, or was not there."""

    def __init__(self, callee: str, cause: str) -> None:
        super().__init__(502, "upstream-failed", f"{callee} failed: {cause}")


def callee_is_well(error: Exception | None) -> bool:
    """Return what the breaker counts (clause 3.1)."""
    return error is None or isinstance(error, CalleeRefusedError | CalleeLackingError)
