"""Rounds of a gate: everything once, and what is INCONCLUSIVE again, as often as it may be."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from brownout.errors import BrownoutError
from brownout.judge import known, repeated
from brownout.promises.promise import Trial
from brownout.verdict import Verdict

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
        failed: BaseExceptionGroup[BrownoutError] | None = None
        verdicts: Iterable[Verdict] = ()
        try:
            verdicts = await perform(unknown, attempt)
        except* BrownoutError as errors:
            if attempt == 1:
                raise
            failed = errors
        if failed:
            return {name: _ended(verdict, failed) for name, verdict in found.items()}
        for verdict in verdicts:
            before = found.get(verdict.promise)
            found[verdict.promise] = repeated(before, verdict, attempt) if before else verdict
    return found


def _unknown(trial: Trial, found: Mapping[str, Verdict]) -> Trial:
    """A trial with those of its promises alone that were not judged, or are INCONCLUSIVE."""
    stands = {name for name, verdict in found.items() if known(verdict)}
    return msgspec.structs.replace(trial, promises=tuple(one for one in trial.promises if one.name not in stands))


def _ended(verdict: Verdict, failed: BaseExceptionGroup[BrownoutError]) -> Verdict:
    """A verdict of before a round that could not be run to its end; one that does not stand says so."""
    if known(verdict):
        return verdict
    error = failed.exceptions[0]
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return msgspec.structs.replace(verdict, reason=f"{verdict.reason}; it could not be run again: {error}")
