"""A metric that says in which state something is, for whoever reads a report: it judges nothing."""

from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = ["StateMetric"]


class StateMetric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a system says of its own states.

    Attributes:
        title: what a reader calls it, such as ``breaker``.
        metric: its name.
        values: the value of each state, by the state's name, from well to ill.
    """

    title: Annotated[str, Meta(min_length=1)]
    metric: Annotated[str, Meta(min_length=1)]
    values: Annotated[dict[str, float], Meta(min_length=1)]
