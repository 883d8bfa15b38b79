"""How long a gate took."""

import msgspec

__all__ = ["Timing"]


class Timing(msgspec.Struct, frozen=True):
    """In seconds: from a gate's call to its first step, its longest scenario, and to its end."""

    prepared_s: float = 0.0
    longest_s: float = 0.0
    whole_s: float = 0.0
