"""The judge: what a promise's own check and the standing checks come to together."""

from collections.abc import Iterable

import msgspec

from brownout.checks import excuse, missing_evidence, missing_recovery
from brownout.promises.promise import Promise
from brownout.recording import Recording
from brownout.verdict import Ruling, Verdict

__all__ = ["judged", "known", "repeated", "settled"]


_ORDINALS = {2: "2nd", 3: "3rd"}


def judged(promise: Promise, recording: Recording | None) -> Verdict:
    """The verdict on a promise: a pure function of its recording.

    A recording that lacks evidence overrules everything; a system that did not come back overrules a PASS only, a host
    that was not fit to measure on a FAIL only.

    Args:
        promise: what was put to the test.
        recording: what happened; None where there is no whole one.
    """
    if recording is None:
        return _unknown(promise, "there is no recording: the run ended before it was whole")
    try:
        if missing := missing_evidence(recording):
            return _unknown(promise, "; ".join(missing))
        verdict = promise.check(recording)
        lost, excused = missing_recovery(recording), excuse(recording, verdict.events)
    except Exception as error:  # noqa: BLE001 - whatever a checker does, nothing passes by it
        return _unknown(promise, f"the checker crashed: {type(error).__name__}: {error}")
    if lost and verdict.ruling is Ruling.PASS:
        return msgspec.structs.replace(verdict, ruling=Ruling.INCONCLUSIVE, reason=lost, final=True)
    if excused and verdict.ruling is Ruling.FAIL:
        reason = f"{excused}; it was seen that {verdict.reason}"
        return msgspec.structs.replace(verdict, ruling=Ruling.INCONCLUSIVE, reason=reason)
    return verdict


def known(verdict: Verdict) -> bool:
    """Whether a verdict stands: it is no INCONCLUSIVE, or one by what the system itself did."""
    return verdict.final or verdict.ruling is not Ruling.INCONCLUSIVE


def settled(promise: Promise, recordings: Iterable[Recording | None]) -> Verdict:
    """The verdict on a promise whose scenario was run again as long as it was INCONCLUSIVE; it tells of each time.

    Args:
        promise: what was put to the test.
        recordings: one for each time, the first first; those after a PASS or a FAIL are of others' repetitions.
    """
    each = iter(recordings)
    verdict = judged(promise, next(each, None))
    for times, recording in enumerate(each, start=2):
        if known(verdict):
            break
        verdict = repeated(verdict, judged(promise, recording), times)
    return verdict


def repeated(before: Verdict, verdict: Verdict, times: int) -> Verdict:
    """The verdict on what was run again, its reason preceded by those of the times before."""
    told = before.reason if times > 2 else f"{before.ruling} the 1st time: {before.reason}"  # noqa: PLR2004 - the second
    reason = f"{told}; {verdict.ruling} the {_ORDINALS.get(times, f'{times}th')}: {verdict.reason}"
    return msgspec.structs.replace(verdict, reason=reason, attempt=times)


def _unknown(promise: Promise, reason: str) -> Verdict:
    return Verdict(promise.name, promise.clause, Ruling.INCONCLUSIVE, reason)
