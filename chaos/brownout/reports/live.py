"""A running system on the terminal: its addresses, and how it is."""

from rich.console import Console

from brownout.control import Standing
from brownout.live import State

__all__ = ["print_standing", "print_system"]


def print_system(console: Console, state: State) -> None:
    """A line an address, services first."""
    for name, address in (state.addresses | state.servers).items():
        _line(console, name, address)


def print_standing(console: Console, state: State, standing: Standing) -> None:
    """A line a service, with its own word; then what is held broken, and what Toxiproxy says of it."""
    for name, word in standing.health.items():
        _line(console, name, f"{state.addresses.get(name, ''):24} {word}")
    for name, address in state.servers.items():
        _line(console, name, address)
    for fault in standing.held:
        _line(console, "injected", fault)
    for proxy in standing.broken:
        _line(console, "toxiproxy", proxy)


def _line(console: Console, name: str, text: str) -> None:
    console.print(f"{name:14} {text}", markup=False, soft_wrap=True)
