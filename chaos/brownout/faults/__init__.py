"""What can be done to a cell: to its edges and to its processes."""

from brownout.faults.network import AnyToxic, BlackHole, Latency, Outage
from brownout.faults.process import Killed, Lost, Paused, Terminated

__all__ = ["AnyToxic", "BlackHole", "Killed", "Latency", "Lost", "Outage", "Paused", "Terminated"]
