"""What can be done to a cell: to its edges, to its processes, and to the servers that it has to itself."""

from brownout.faults.network import AnyToxic, BlackHole, Latency, Outage
from brownout.faults.process import Killed, Lost, Paused, Terminated
from brownout.faults.server import AGENT, Restarted

__all__ = ["AGENT", "AnyToxic", "BlackHole", "Killed", "Latency", "Lost", "Outage", "Paused", "Restarted", "Terminated"]
