"""The files that a run is told in, for continuous integration; none of them is ever that of an earlier run."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from brownout.archive import Archive
from brownout.errors import BrownoutError, FileError
from brownout.files import unwritable, write_whole
from brownout.promises.promise import Checked
from brownout.reports.html import html
from brownout.reports.json import json
from brownout.reports.junit import junit
from brownout.reports.markdown import markdown
from brownout.reports.report import Report, report_of, versions
from brownout.timing import Timing
from brownout.verdict import Verdict

__all__ = ["PAGE", "Outputs", "hold_outputs"]

_FORMS: Mapping[str, Callable[[Report], bytes]] = {"html": html, "junit": junit, "markdown": markdown, "json": json}

PAGE = "report.html"
"""The page that is always written, in the run's own folder."""

UNDER_WAY = "the run is under way, or was killed before it could say how it ended"


class Outputs:
    """The files that were asked for.

    Args:
        files: their paths by form.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files
        self.told = False

    def tell(
        self, archive: Archive, suite: Iterable[Checked], verdicts: Iterable[Verdict], timing: Timing | None = None
    ) -> str:
        """Write what was found, and the page in the run's folder; see `report_of`.

        Returns:
            where the page is; or why it is not there, as in a run on a medium that is only read.

        Raises:
            FileError: a file that was asked for cannot be written, or a recording is damaged.
        """
        report = report_of(archive, suite, verdicts, timing)
        page = html(report, archive)
        self.write(report, html=page)
        self.told = True
        path = archive.folder / PAGE
        try:
            write_whole(path, page)
        except FileError as error:
            return f"no page in the run's folder: {error}"
        return f"the page about it: {path}"

    def write(self, report: Report, **ready: bytes) -> None:
        """Write a report in every form that was asked for.

        Args:
            report: what there is to tell.
            ready: what has been made of it already, by form.

        Raises:
            FileError: a file cannot be written.
        """
        for form, path in self._files.items():
            write_whole(path, ready.get(form) or _FORMS[form](report))


@contextmanager
def hold_outputs(**files: Path | None) -> Iterator[Outputs]:
    """Hold files open for a run's report: from the start they say that there is none, and at the end why not.

    Args:
        files: where to write ``html``, ``junit``, ``markdown`` and ``json``; None: not at all.

    Raises:
        FileError: one of them cannot be written, told before the run starts.
    """
    outputs = Outputs(_distinct({form: _file(form, path) for form, path in files.items() if path}))
    try:
        outputs.write(Report(unfinished=UNDER_WAY, versions=versions()))
        yield outputs
    except BaseException as error:
        if not outputs.told:
            with suppress(FileError):  # what went wrong first is what is told
                outputs.write(Report(unfinished=_why(error), versions=versions()))
        raise


def _file(form: str, path: Path) -> Path:
    if str(path) == "-":
        raise FileError(f"--{form} -", "standard output has the table; name a file")
    if path.exists() and not path.is_file():
        raise FileError(f"--{form} {path}", "is there, and is no file")
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True)
    except OSError as error:
        raise unwritable(path, error) from None
    return path.resolve()  # a link stays one


def _distinct(files: dict[str, Path]) -> dict[str, Path]:
    for form, path in files.items():
        if other := [each for each in files if each != form and files[each] == path]:
            raise FileError(f"--{form} {path}", f"is the file of --{other[0]} too")
    return files


def _why(error: BaseException) -> str:
    """The cause in one line: a signal is behind the exit that it asks for."""
    cause = error.__cause__ or error
    if isinstance(cause, BrownoutError) or error.__cause__:
        return str(cause)
    return f"{type(cause).__name__}: {cause}".splitlines()[0]
