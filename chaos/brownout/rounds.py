"""Rounds of a gate: everything once, and what is INCONCLUSIVE again, as often as it may be."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from brownout.judge import repeated
from brownout.promises.promise import Trial
from brownout.verdict import Ruling, Verdict

__all__ = ["rounds"]


async def rounds(
    tried: Sequence[Trial], retries: int, perform: Callable[[Sequence[Trial], int], Awaitable[Iterable[Verdict]]]
) -> dict[str, Verdict]:
    """The verdicts by promise; of what was run several times the last one, which tells of those before.

    A PASS or FAIL stands: what is run again is read only for the promises that nobody knows anything of yet.

    Args:
        tried: all that there is to run.
        retries: how many rounds more there may be.
        perform: runs some trials, told which round it is from 1, and judges their recordings.
    """
    found: dict[str, Verdict] = {}
    for attempt in range(1, 2 + retries):
        unknown = [trial for each in tried if (trial := _unknown(each, found)).promises]
        if not unknown:
            break
        for verdict in await perform(unknown, attempt):
            before = found.get(verdict.promise)
            found[verdict.promise] = repeated(before, verdict, attempt) if before else verdict
    return found


def _unknown(trial: Trial, found: Mapping[str, Verdict]) -> Trial:
    """A trial with those of its promises alone that were not judged, or are INCONCLUSIVE."""
    known = {name for name, verdict in found.items() if verdict.ruling is not Ruling.INCONCLUSIVE}
    return msgspec.structs.replace(trial, promises=tuple(one for one in trial.promises if one.name not in known))
