"""Writes the dashboards that Grafana reads: ``python dashboards/generate.py``, after a change of any of them."""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from gate_history import gate_history
from overview import overview
from resilience import resilience
from under_load import load_run

__all__ = ["FOLDER"]

FOLDER = Path(__file__).parent / "grafana" / "dashboards"


def main() -> None:
    """Write them into the folder that is named, or into the repository's."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else FOLDER
    for made in (overview(), resilience(), load_run(), gate_history()):
        board = made.build()
        text = json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True)
        (folder / f"{str(board.uid).removeprefix('brownout-')}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
