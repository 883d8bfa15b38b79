"""Connections to the databases are cut while nobody asks."""

from brownout.scripts import Story, calls, hold_all, outage, script, wait

DATABASES = [f"{service} -> postgres" for service in ("users", "products", "orders")]


@script(steady="order", clause="6", services=["users", "products", "orders"])
def connections_cut() -> Story:
    """Every connection to a database is cut while nobody asks: whoever asks next does not notice."""
    seen = yield (
        calls("before", "list-orders", count=5),
        hold_all(map(outage, DATABASES), wait(1)),
        calls("listing", "list-orders", count=3),
        calls("looking", "look", count=3),
        calls("reading", "read-user", count=3),
    )
    for name in ("listing", "looking", "reading"):
        seen.none_failed(name)
