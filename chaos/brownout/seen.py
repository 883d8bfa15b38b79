"""What was recorded of a script's run, as the script asks for it."""

from math import inf
from typing import Any

from brownout.history import Operation
from brownout.promises.evidence import phase, read, told
from brownout.promises.intervals import quantile_at_most, share_at_most
from brownout.promises.promise import BrokenError, NoEvidenceError
from brownout.promises.timing import Timing, Took
from brownout.recording import Recording
from brownout.verdict import Figure

__all__ = ["Seen"]


class Seen:
    """What was recorded, as a script asks for it.

    Args:
        recording: of the script's own run.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.figures: list[Figure] = []

    def requests(self, name: str, to: str = "") -> list[Operation]:
        """The requests of a phase.

        Args:
            name: the phase, as `load` or `calls` named it.
            to: only those whose method and path begin so, such as ``POST /api/orders``.

        Raises:
            NoEvidenceError: there are none, or one has no end.
        """
        known = dict.fromkeys(one.invoked.action for one in self.recording.history.requests())
        if name not in known:
            raise NoEvidenceError(f"no requests in the phase {name!r}; there are {', '.join(known)}")
        found = [one for one in phase(self.recording, name) if one.target.startswith(to)]
        if not found:
            raise NoEvidenceError(f"no requests to {to!r} in the phase {name!r}")
        good = sum(one.ok for one in found)
        self.figures.append(Figure(f"{name}{to and ' '}{to} answered 2xx", good, f"of {len(found)}"))
        return found

    def none_failed(self, name: str, to: str = "", *, within_s: float = 10.0) -> None:
        """Make sure that every request of a phase succeeded, in time: every single one counts.

        Raises:
            BrokenError: one did not.
            NoEvidenceError: one may not have been in time: only the client says so, and it was busy.
        """
        self.answered(name, to, statuses=range(200, 300), within_s=within_s)

    def answered(self, name: str, to: str = "", *, statuses: range | set[int], within_s: float = 10.0) -> None:
        """Make sure that every request of a phase was answered with one of some statuses, in time.

        Raises:
            BrokenError: one was not.
            NoEvidenceError: one may not have been in time: only the client says so, and it was busy.
        """
        requests = self.requests(name, to)
        otherwise = [one for one in requests if one.status not in statuses]
        if wrong := otherwise or Timing(self.recording).late(requests, within_s):
            raise BrokenError(
                f"{len(wrong)} of {len(requests)} requests in {name!r}; the first, {wrong[0].target}, was answered "
                f"{told(wrong[0])} after {wrong[0].duration_s:.2f} s",
                wrong,
            )

    def share_failed(self, name: str, to: str = "", *, at_most: float) -> None:
        """Make sure that clearly no more than a share of a phase's requests failed.

        Raises:
            BrokenError: clearly more did.
            NoEvidenceError: the sample is too small to tell, and says which would not be.
        """
        requests = self.requests(name, to)
        failed = [one for one in requests if not one.ok]
        self.figures.append(share_at_most(f"{name} requests failed", failed, len(requests), at_most))

    def quantile(self, name: str, to: str = "", *, of: float, at_most_s: float) -> None:
        """Make sure that clearly so many of a phase's requests succeeded within a time; one that failed never did.

        Args:
            name: the phase.
            to: see `requests`.
            of: the quantile, such as 0.95 for the 95th percentile.
            at_most_s: the time.

        Raises:
            BrokenError: it clearly took longer.
            NoEvidenceError: the sample is too small to tell, and says which would not be.
        """
        timing = Timing(self.recording)
        took = [timing.took(one) if one.ok else Took(inf, inf) for one in self.requests(name, to)]
        values_s = [(one.least_s, one.most_s) for one in took]
        self.figures.append(quantile_at_most(f"{name} p{100 * of:g}", values_s, of, at_most_s))

    def p99(self, name: str, to: str = "", *, at_most_s: float) -> None:
        """Make sure that clearly 99 of 100 requests of a phase succeeded within a time; see `quantile`."""
        self.quantile(name, to, of=0.99, at_most_s=at_most_s)

    def acknowledged(self, field: str, to: str) -> list[str]:
        """A field of every 2xx answer to some requests, whatever the phase, but for those after the story's end.

        Raises:
            NoEvidenceError: there is none.
        """
        story = [one for one in self.recording.history.requests() if one.invoked.action != "after"]
        asked = [one for one in story if one.target.startswith(to)]
        found = [one for one in asked if one.ok]
        bodies = [one.completed.detail.get("body") for one in found if one.completed]
        values = [str(body[field]) for body in bodies if isinstance(body, dict) and field in body]
        if not values:
            raise NoEvidenceError(f"no answer to {to!r} has a field {field!r}")
        self.figures.append(Figure(f"{to} acknowledged", len(values), f"of {len(asked)}"))
        return values

    def rows(self, name: str) -> list[dict[str, Any]]:
        """What `select` or `messages` read under a name.

        Raises:
            NoEvidenceError: it was not read.
        """
        actor = "messages" if self.recording.history.operations("messages", name) else "select"
        _, rows = read(self.recording, actor, name)
        self.figures.append(Figure(name, len(rows), "rows"))
        return rows
