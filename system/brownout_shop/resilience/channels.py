"""Connections for gRPC: one for each address, and one that lost its way is given up, never mended.

Left to itself a channel goes on connecting, at ever longer intervals: that is traffic while a breaker is open, and
failed calls after the callee is back (2.4 and 5.5 s were measured). A new channel connects at once.
"""

import asyncio

import grpc
from grpc import ChannelConnectivity

__all__ = ["Channels", "Line", "NotConnectedError"]

OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # otherwise a new channel shares what it replaces
    ("grpc.enable_http_proxy", 0),  # a service is reached directly, whatever proxy the shell names
)


class NotConnectedError(Exception):
    """The address cannot be reached."""


class Line:
    """A channel, to be held open with ``with`` around a call; given up, it is closed by the last call that it has.

    Args:
        address: ``host:port``.
    """

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, OPTIONS)
        self.kept = True
        self._calls = 0

    def __enter__(self) -> grpc.aio.Channel:
        self._calls += 1
        return self.channel

    def __exit__(self, *_: object) -> None:
        self._calls -= 1
        self._close_unused()

    def give_up(self) -> None:
        """Use it for no further call."""
        self.kept = False
        self._close_unused()

    def _close_unused(self) -> None:
        if not self.kept and not self._calls:
            self._closing = asyncio.create_task(self.channel.close(None))


class Channels:
    """A caller's lines to the addresses of its callees."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str], Line] = {}

    async def connected(self, callee: str, address: str) -> Line:
        """Return the line to an address as soon as it is connected; how long to wait is the caller's business.

        Raises:
            NotConnectedError: the attempt to connect has failed, or was ended by `hang_up`.
        """
        line = self._line(callee, address)
        while (state := line.channel.get_state(try_to_connect=True)) is not ChannelConnectivity.READY:
            if state is ChannelConnectivity.TRANSIENT_FAILURE and line.kept:
                self.hang_up(callee, address)
            if not line.kept:
                break
            await line.channel.wait_for_state_change(state)
        if not line.kept:
            raise NotConnectedError
        return line

    def hang_up(self, callee: str, address: str = "") -> None:
        """Give up the lines to a callee, or the one to an address; who still waits for one fails at once."""
        for key in [key for key in self._lines if key[0] == callee and address in (key[1], "")]:
            self._lines.pop(key).give_up()

    async def close(self) -> None:
        """Close all lines; calls that are being answered are cut."""
        lines = [*self._lines.values()]
        self._lines.clear()
        await asyncio.gather(*(line.channel.close(None) for line in lines))

    def _line(self, callee: str, address: str) -> Line:
        line = self._lines.get((callee, address))
        if line is not None and line.channel.get_state() is ChannelConnectivity.TRANSIENT_FAILURE:
            self.hang_up(callee, address)
            line = None
        if line is None:
            line = self._lines[callee, address] = Line(address)
        return line
