"""Makes a process a mutant of the shop: Python runs this file where this folder is on its PYTHONPATH.

``MUTANT`` names a row of the table; its module is imported with the one edit made. The shop knows nothing of it.
"""

import os
import sys
import tomllib
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

TABLE = Path(__file__).parents[1] / "mutants.toml"
PACKAGE = "brownout_shop"


class Edited(SourceFileLoader):
    """Loads a module from its source, edited; what was compiled before is neither read nor written."""

    def __init__(self, fullname: str, path: str, mutant: dict[str, Any]) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """Compile the edited source."""
        path = self.get_filename(fullname)
        source = self.get_data(path).decode()
        if source.count(self._mutant["old"]) != 1:
            raise ImportError(f"{path} does not have the text to be edited exactly once: {self._mutant['old']!r}")
        code: CodeType = compile(source.replace(self._mutant["old"], self._mutant["new"]), path, "exec")
        return code


class Finder:
    """Finds the one module that is edited."""

    def __init__(self, mutant: dict[str, Any]) -> None:
        self._mutant = mutant
        self._name = ".".join((PACKAGE, *Path(mutant["file"]).with_suffix("").parts))

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """As the interpreter asks for it."""
        found = PathFinder.find_spec(fullname, path, target) if fullname == self._name else None
        if found is not None and found.origin:
            found.loader = Edited(fullname, found.origin, self._mutant)
        return found


if "MUTANT" in os.environ:
    table = tomllib.loads(TABLE.read_text())["mutant"]
    sys.meta_path.insert(0, Finder(next(row for row in table if row["name"] == os.environ["MUTANT"])))
