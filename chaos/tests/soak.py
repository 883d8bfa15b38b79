"""How often the gate says what about the unbroken shop: ``python -m soak N [--busy] [--table FILE]``.

A line for each ruling, then a table. Gates of this commit that an earlier soak has finished count: one that was
stopped goes on. Exit code 0: no FAIL and, on a quiet machine, no INCONCLUSIVE either; beside
another program that keeps one processor busy at least nine in ten PASS. 1: otherwise; 3: a gate could not run.
"""

import argparse
import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from brownout.verdict import Ruling, Verdict

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs" / "soak"
FINISHED = "soak.json"
"""In a run's folder: its gate, as soon as it has ended."""

COULD_NOT_RUN = 3
RULED = (0, 1, 2)
LEAST_SHARE = 0.9


class Gate(msgspec.Struct, frozen=True):
    """One gate of many: its rulings, and how long it took in seconds."""

    verdicts: tuple[Verdict, ...]
    took_s: float


def main() -> int:
    """Run them one after another, print, and write the table."""
    parser = argparse.ArgumentParser("soak", description="Many gates of the unbroken shop, and what they say.")
    parser.add_argument("n", type=int, help="how many gates")
    parser.add_argument("--busy", action="store_true", help="beside a program that keeps one processor busy")
    parser.add_argument("--table", type=Path, help="add the table to this file")
    arguments = parser.parse_args()
    runs = RUNS / _commit() / ("busy" if arguments.busy else "quiet")
    gates = [msgspec.json.decode(each.read_bytes(), type=Gate) for each in sorted(runs.glob(f"2*/{FINISHED}"))]
    del gates[arguments.n :]
    for number, gate in enumerate(gates, start=1):
        _tell(number, gate)
    with _neighbour() if arguments.busy and len(gates) < arguments.n else contextlib.nullcontext():
        for number in range(len(gates) + 1, arguments.n + 1):
            gates.append(_gate(runs))
            _tell(number, gates[-1])
    page = _page(gates, busy=arguments.busy)
    print(page)  # noqa: T201 - same
    if arguments.table:
        with arguments.table.open("a") as table:
            table.write(page)
    return 0 if _good(gates, busy=arguments.busy) else 1


def _commit() -> str:
    """What is gated: the commit, and whether there is more than that."""
    asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unversioned"


def _tell(number: int, gate: Gate) -> None:
    for verdict in gate.verdicts:
        why = "" if verdict.ruling is Ruling.PASS else f"  {verdict.reason}"
        print(f"{number:3d}  {verdict.ruling:12}  {verdict.promise}{why}", flush=True)  # noqa: T201 - the result


def _gate(runs: Path) -> Gate:
    begun_s = time.monotonic()
    command = [str(Path(sys.executable).with_name("brownout")), "gate", "--runs", str(runs)]
    before = (runs / "latest").resolve()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    latest = (runs / "latest").resolve()
    if done.returncode not in RULED or latest == before:
        sys.stderr.write(done.stderr)
        sys.exit(COULD_NOT_RUN)
    verdicts = msgspec.json.decode((latest / "verdicts.json").read_bytes(), type=tuple[Verdict, ...])
    gate = Gate(verdicts, time.monotonic() - begun_s)
    (latest / FINISHED).write_bytes(msgspec.json.encode(gate))
    return gate


@contextlib.contextmanager
def _neighbour() -> Iterator[None]:
    """A program that does nothing but keep a processor busy; it ends with us, however we end."""
    loop = "import os\np = os.getppid()\nwhile os.getppid() == p:\n    sum(range(100000))\n"
    with subprocess.Popen([sys.executable, "-c", loop]) as busy:
        try:
            yield
        finally:
            busy.kill()


def _counts(gates: list[Gate]) -> Counter[Ruling]:
    return Counter(verdict.ruling for gate in gates for verdict in gate.verdicts)


def _good(gates: list[Gate], *, busy: bool) -> bool:
    counts = _counts(gates)
    enough = LEAST_SHARE * counts.total() if busy else counts.total()
    return not counts[Ruling.FAIL] and counts[Ruling.PASS] >= enough


def _page(gates: list[Gate], *, busy: bool) -> str:
    """The table as Markdown: a row for each promise."""
    counts, times = _counts(gates), sorted(gate.took_s for gate in gates)
    beside = "beside a program that keeps one processor busy" if busy else "on a quiet machine"
    by_promise: dict[str, Counter[Ruling]] = {}
    for gate in gates:
        for verdict in gate.verdicts:
            by_promise.setdefault(verdict.promise, Counter())[verdict.ruling] += 1
    rows = [f"| {name} | {' | '.join(str(each[ruling]) for ruling in Ruling)} |" for name, each in by_promise.items()]
    head = [
        f"## {len(gates)} gates {beside}",
        "",
        f"{counts.total()} rulings, without retries: "
        + ", ".join(f"{counts[ruling]} {ruling}" for ruling in Ruling)
        + f"; {times[0]:.0f} to {times[-1]:.0f} s a gate, the median {times[len(times) // 2]:.0f} s.",
        "",
        f"| promise | {' | '.join(Ruling)} |",
        "|---|" + "---|" * len(Ruling),
    ]
    return "\n".join([*head, *rows, "", ""])


if __name__ == "__main__":
    sys.exit(main())
