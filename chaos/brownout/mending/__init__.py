"""Undoing what was broken, from what is written on disk.

The standard library alone: the watchdog runs it, which stands within a few hundredths of a second.
"""

from brownout.mending.journal import Journal, Mended, faults_of, held, mend, mend_lost
from brownout.mending.process import Identity, began_at, state_of
from brownout.mending.undoing import Undo

__all__ = ["Identity", "Journal", "Mended", "Undo", "began_at", "faults_of", "held", "mend", "mend_lost", "state_of"]
