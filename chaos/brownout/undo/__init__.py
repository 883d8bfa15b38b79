"""What undoes a run when its runner is gone: every process the run started is ended, its scratch removed."""

from brownout.undo.launcher import Launcher
from brownout.undo.parent import Process, Starter
from brownout.undo.supervisor import Supervisor, journals_folder

__all__ = ["Launcher", "Process", "Starter", "Supervisor", "journals_folder"]
