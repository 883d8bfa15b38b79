"""The load balancer: picks one of a callee's instances (clause 4.2)."""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, Protocol, TypeVar

__all__ = ["BALANCERS", "Balance", "Balancer", "NoInstanceError", "RandomChoice", "RoundRobin"]

Balance = Literal["round-robin", "random"]
"""The ways to choose, as a setting names them."""

T = TypeVar("T")


class NoInstanceError(Exception):
    """Discovery returned no instance to choose from (clause 4.2)."""

    def __init__(self) -> None:
        super().__init__("no service available")


class Balancer(Protocol):
    """Something that chooses."""

    def choose(self, instances: Sequence[T]) -> T:
        """Return one of `instances`.

        Raises:
            NoInstanceError: there are none.
        """
        ...


class RoundRobin:
    """Each instance in its turn: a counter over all choices, so the list may change between them."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        self._turns = itertools.count()

    def choose(self, instances: Sequence[T]) -> T:
        """Return the instance whose turn it is.

        Raises:
            NoInstanceError: there are none; no turn is used up.
        """
        if not instances:
            raise NoInstanceError
        return instances[next(self._turns) % len(instances)]


class RandomChoice:
    """Any instance, each as likely as the other.

    Args:
        rng: where chance comes from; one of its own if None.
    """

    __slots__ = ("_rng",)

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, keeps no secret

    def choose(self, instances: Sequence[T]) -> T:
        """Return an instance at random.

        Raises:
            NoInstanceError: there are none.
        """
        if not instances:
            raise NoInstanceError
        return self._rng.choice(instances)


BALANCERS: Mapping[Balance, Callable[[], Balancer]] = MappingProxyType(
    {"round-robin": RoundRobin, "random": RandomChoice}
)
