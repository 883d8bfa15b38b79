"""The code keeps its own measure: small functions and files, and public names that are there and in order."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_LINES = {"a function": 60, "a file": 400}


def files() -> Iterator[Path]:
    for folder in ("chaos", "system", "scenarios", "loadtests", "dashboards"):
        yield from (path for path in (ROOT / folder).rglob("*.py") if "_pb2" not in path.name)  # those are generated


def modules() -> Iterator[str]:
    for package in ("brownout", "brownout_shop"):
        found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        yield from (each.name for each in found if "_pb2" not in each.name and not each.name.endswith("__main__"))


def lengths(path: Path) -> Iterator[tuple[str, int, str]]:
    """What has a length in a file: its kind, its lines, and where it is."""
    text = path.read_text()
    name = path.relative_to(ROOT).as_posix()
    yield "a file", text.count("\n"), name
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            yield "a function", node.end_lineno - node.lineno + 1, f"{name}: {node.name}"


def test_no_function_is_over_60_lines_and_no_file_over_400() -> None:
    measured = [each for path in files() for each in lengths(path)]
    assert len(measured) > 1_000
    assert [each for each in measured if each[1] > MOST_LINES[each[0]]] == []


def test_the_public_names_of_every_module_are_there_and_in_order() -> None:
    wrong = []
    for name in modules():
        module = importlib.import_module(name)
        public: list[str] = getattr(module, "__all__", [])
        in_order = sorted(public, key=lambda each: (not each.isupper(), not each[0].isupper(), each))
        if public != in_order or not all(hasattr(module, each) for each in public):
            wrong.append(name)
    assert wrong == []
