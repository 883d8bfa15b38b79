"""What undoes a run when its runner is gone: every process the run started is ended, its scratch removed."""

from brownout.undo.supervisor import Process, Supervisor

__all__ = ["Process", "Supervisor"]
