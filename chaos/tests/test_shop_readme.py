"""The shop's README names what there is: each path, test and promise, and each promise in the rows of its clause."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from brownout.suite import read_suite
from brownout.topology import read_topology

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "system" / "brownout_shop"
CODE = re.compile(r"`([^`]+)`")
SIX = (f"6.{number}" for number in range(1, 7))
CLAUSES = ("2", "2.1", "2.2", "2.3", "2.4", "2.5", "3.1", "3.2", "3.3", "4.1", "4.2", "5", "6", *SIX)


def rows(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its own two."""
    text = (ROOT / "system" / "README.md").read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


TABLE = rows("Clause by clause")


def promises() -> dict[str, str]:
    """The clause of each promise, the scripts' among them."""
    topology = read_topology(ROOT / "system" / "topology.toml")
    return {promise.name: promise.clause for promise in read_suite(ROOT / "scenarios" / "contract.toml", topology)}


def known_tests() -> Iterator[str]:
    """Each file of tests, and each test in it."""
    for path in (*(ROOT / "system" / "tests").glob("test_*.py"), *(ROOT / "chaos" / "tests").glob("test_*.py")):
        yield path.name
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.name}::{node.name}"


def test_each_clause_has_its_rows_in_order_and_each_row_all_its_cells() -> None:
    assert tuple(dict.fromkeys(row[0] for row in TABLE)) == CLAUSES
    assert all(len(row) == 5 and all(row) for row in TABLE)
    assert {row[0] for row in rows("Where we differ from the documents")} <= set(CLAUSES)


@pytest.mark.parametrize("column", [2, 3, 4], ids=["paths", "tests", "promises"])
def test_what_is_named_is_there(column: int) -> None:
    there = {
        2: {path.relative_to(SHOP).as_posix() for path in SHOP.rglob("*")},
        3: set(known_tests()),
        4: set(promises()),
    }
    named = [name for row in TABLE for name in CODE.findall(row[column])]
    assert all(CODE.search(row[column]) for row in TABLE)
    assert [name for name in named if name not in there[column]] == []


def test_each_promise_is_named_in_a_row_of_its_clause() -> None:
    named = {(row[0], name) for row in TABLE for name in CODE.findall(row[4])}
    assert [name for name, clause in promises().items() if (clause, name) not in named] == []


def test_each_service_of_the_topology_is_in_the_table_of_services() -> None:
    services = [CODE.findall(row[0])[0] for row in rows("The services")]
    assert sorted(services) == sorted(read_topology(ROOT / "system" / "topology.toml").services)
