"""Standing checks: what every recording has to show before any ruling on it means something."""

from collections.abc import Sequence

from brownout.checks import clock, faults_acted, finished, host, load_offered, punctual, sampled, steady
from brownout.recording import Recording

__all__ = ["excuse", "missing_evidence", "missing_recovery"]

_EVIDENCE = (
    finished.check,
    steady.check_before,
    faults_acted.check,
    load_offered.check,
    punctual.check,
    sampled.check,
    clock.check,
)


def missing_evidence(recording: Recording) -> list[str]:
    """Why nothing can be ruled on a recording, in words; empty when it can."""
    return [reason for check in _EVIDENCE if (reason := check(recording))]


def missing_recovery(recording: Recording) -> str | None:
    """How the system did not come back; it forbids a PASS, and takes nothing from a FAIL that came before."""
    return steady.check_after(recording)


def excuse(recording: Recording, broke: Sequence[int] = ()) -> str | None:
    """How the host may have broken what the system promised; it forbids a FAIL, and takes nothing from a PASS."""
    return host.check(recording, broke)
