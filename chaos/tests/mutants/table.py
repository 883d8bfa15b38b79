"""The table of mutants: shops of which each does one thing wrong."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from brownout.promises.metric import Metric
from brownout.promises.promise import Checked, Name, Stated

__all__ = ["SHOP", "Equivalent", "Mutant", "Mutants", "read_mutants"]

HERE = Path(__file__).parent
SHOP = HERE.parents[2] / "system" / "brownout_shop"
EDITED = HERE / "edited"

Text = Annotated[str, Meta(min_length=1)]


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One edit of the shop's source, and the promise that has to be broken by it.

    Attributes:
        name: unique.
        does: what it does wrong.
        promise: the contract's promise that kills it.
        service: whose processes are so.
        file: which is edited, below the shop's package.
        old: what stands there, exactly once.
        new: what stands there instead.
    """

    name: Name
    does: Text
    promise: Text
    service: Text
    file: Text
    old: Text
    new: str

    def of(self, kept: dict[str, Checked]) -> tuple[Checked, ...]:
        """The promise that kills it, named as the mutant is, and before it the one whose run it reads, if another's."""
        promise = kept[self.promise]
        if isinstance(promise, Metric):
            run = self._broken(kept[promise.of], f"{self.name}-run")
            return run, msgspec.structs.replace(promise, name=self.name, of=run.name)
        return (self._broken(promise, self.name),)

    def _broken(self, promise: Checked, name: str) -> Stated:
        if not isinstance(promise, Stated):
            raise TypeError(f"{promise.name} has no run of its own")
        settings = {"PYTHONPATH": str(EDITED), "MUTANT": self.name}
        environment = {**promise.environment, self.service: {**promise.environment.get(self.service, {}), **settings}}
        return msgspec.structs.replace(promise, name=name, environment=environment)


class Equivalent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What looks wrong and is not: nobody outside can tell."""

    name: Name
    does: Text
    proof: Text


class Mutants(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole table."""

    mutant: tuple[Mutant, ...]
    equivalent: tuple[Equivalent, ...] = ()


def read_mutants() -> Mutants:
    """The table of this repository."""
    return msgspec.toml.decode((HERE / "mutants.toml").read_bytes(), type=Mutants)
