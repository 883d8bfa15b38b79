"""What can go wrong, as one tree.

BrownoutError
├── FileError         a contract, topology or recording cannot be read
├── ServerError       a real server cannot be found, built or started
├── CellError         a cell cannot be started or reached
├── FaultError        a fault could not be put in force, or lifted
└── ProcessError      a process could not be started or has gone
"""

__all__ = ["BrownoutError", "CellError", "FaultError", "FileError", "ProcessError", "ServerError"]


class BrownoutError(Exception):
    """A failure that is told in one line: what it is about, the cause, and the remedy where there is one.

    Args:
        subject: what it is about: a file, a server, an edge, a process.
        cause: what happened, in words a user can act on.
        remedy: what would help; empty where nothing is known.
    """

    def __init__(self, subject: str, cause: str, remedy: str = "") -> None:
        super().__init__(subject, cause, remedy)
        self.subject = subject
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        line = f"{self.subject}: {self.cause}"
        return f"{line}; {self.remedy}" if self.remedy else line


class FileError(BrownoutError):
    """A contract, topology or recording cannot be read; the subject is ``file: key``."""


class ServerError(BrownoutError):
    """A real server cannot be found, built or started; the subject is its name."""


class CellError(BrownoutError):
    """A cell cannot be started or reached; the subject is ``cell`` or ``cell/service``."""


class FaultError(BrownoutError):
    """A fault could not be put in force, or lifted; the subject is the edge or process."""


class ProcessError(BrownoutError):
    """A process could not be started or has gone; the subject is its name."""
