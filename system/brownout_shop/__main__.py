"""Starts one service: ``python -m brownout_shop users``."""

import sys
from typing import get_args

from brownout_shop.serve import Name, run


def main() -> int:
    """Run the service named on the command line until a signal ends it, and return the exit code."""
    names: tuple[Name, ...] = get_args(Name)
    for name in names:
        if sys.argv[1:] == [name]:
            return run(name)
    sys.stderr.write(f"usage: python -m brownout_shop {{{','.join(names)}}}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
