"""What Grafana is told: when what was broken, as annotations over its panels."""

from brownout.cells.api import Api
from brownout.recording import Recording
from brownout.windows import windows

__all__ = ["TAG", "Grafana"]

TAG = "brownout"
"""By which a dashboard finds the annotations."""

ANSWER_S = 5.0


class Grafana(Api):
    """One Grafana server, to which anybody may write.

    Args:
        address: ``host:port`` of its HTTP API.
    """

    def __init__(self, address: str) -> None:
        super().__init__("grafana", address, ANSWER_S)

    async def annotate(self, recording: Recording) -> int:
        """Write down when each fault of a recording was on; returns how many there were.

        Raises:
            CellError: the server did not answer, or refused.
        """
        held = [window for window in windows(recording.history) if window.whole]
        for window in held:
            begins_ns, ends_ns = window.surely_ns
            annotation = {
                "time": begins_ns // 1_000_000,
                "timeEnd": ends_ns // 1_000_000,
                "tags": [TAG, recording.scenario],
                "text": f"{window.fault} ({recording.scenario})",
            }
            await self.ask("POST", "/api/annotations", f"the annotation of {window.fault}", json=annotation)
        return len(held)
