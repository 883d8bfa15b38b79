"""All that a gate judges: the promises of a contract, and the scripts beside it."""

from collections.abc import Collection, Mapping
from pathlib import Path

from brownout.errors import FileError
from brownout.journeys import Journey
from brownout.promises.contract import fitted, read_contract
from brownout.promises.promise import Checked
from brownout.scripts import Script, script_files, scripts_in
from brownout.topology import Topology

__all__ = ["fitted_scripts", "read_suite"]


def read_suite(
    contract: Path, topology: Topology, journeys: Mapping[str, Journey] | None = None
) -> tuple[Checked, ...]:
    """The promises of a contract in its order, and the scripts in that of their files.

    Args:
        contract: the file.
        topology: what its edges and services have to be in.
        journeys: what its journeys have to be among; None: they are not going to be done, and may be missing.

    Raises:
        FileError: a file cannot be read, a key is wrong, a script names what is not there, or a name is there twice.
    """
    suite: list[Checked] = [*read_contract(contract, topology, journeys).promises]
    for path in script_files(contract):
        for script in fitted_scripts(path, topology, journeys):
            if script.name in {each.name for each in suite}:
                raise FileError(str(path), f"there is another promise {script.name!r}")
            suite.append(script)
    return tuple(suite)


def fitted_scripts(path: Path, topology: Topology, journeys: Collection[str] | None) -> tuple[Script, ...]:
    """The scripts in a file, all of whose edges, services and journeys are there.

    Raises:
        FileError: the file cannot be loaded, or something is not there.
    """
    scripts = scripts_in(path)
    for script in scripts:
        fitted(script, topology, journeys, f"{path}: {script.name}")
    return scripts
