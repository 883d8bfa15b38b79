"""The table of mutants: each is one edit that fits the source, and has a promise of the contract against it."""

from pathlib import Path

import pytest

from brownout.promises.promise import Stated, trials
from brownout.suite import read_suite
from brownout.topology import read_topology
from mutants.table import SHOP, Mutant, read_mutants

ROOT = Path(__file__).parents[2]
TABLE = read_mutants()
FEWEST = 40


@pytest.mark.parametrize("mutant", TABLE.mutant, ids=lambda mutant: mutant.name)
def test_the_edit_fits_in_one_place_and_leaves_a_program(mutant: Mutant) -> None:
    source = (SHOP / mutant.file).read_text()
    assert source.count(mutant.old) == 1
    edited = source.replace(mutant.old, mutant.new)
    assert edited != source
    compile(edited, mutant.file, "exec")


def test_there_are_enough_and_no_two_are_the_same() -> None:
    assert len(TABLE.mutant) >= FEWEST
    edits = {(mutant.file, mutant.old, mutant.new, mutant.service) for mutant in TABLE.mutant}
    names = {mutant.name for mutant in (*TABLE.mutant, *TABLE.equivalent)}
    assert len(edits) == len(TABLE.mutant)
    assert len(names) == len(TABLE.mutant) + len(TABLE.equivalent)


def test_every_promise_that_kills_one_is_in_the_contract_and_runs_the_broken_service() -> None:
    topology = read_topology(ROOT / "system" / "topology.toml")
    kept = {promise.name: promise for promise in read_suite(ROOT / "scenarios" / "contract.toml", topology)}
    for mutant in TABLE.mutant:
        broken = mutant.of(kept)
        assert broken[-1].name == mutant.name
        run = broken[0]
        assert isinstance(run, Stated)
        (trial,) = trials(broken, topology, {mutant.name})
        assert mutant.service in trial.scenario.services, mutant.name
        assert run.environment[mutant.service]["MUTANT"] == mutant.name


def test_every_clause_that_the_contract_states_has_its_mutants() -> None:
    topology = read_topology(ROOT / "system" / "topology.toml")
    kept = {promise.name: promise for promise in read_suite(ROOT / "scenarios" / "contract.toml", topology)}
    killed = {kept[mutant.promise].clause for mutant in TABLE.mutant}
    assert killed == {promise.clause for promise in kept.values()}
