"""Users have roles, and what is theirs."""

from brownout.scripts import Story, calls, script


@script(steady="me", clause="2.1", services=["gateway", "users", "products", "orders"])
def roles() -> Story:
    """Customers get at what is their own, whoever they claim to be; admins give roles, which hold at once."""
    seen = yield (
        calls("poser", "pose-as-another", count=3),
        calls("pretender", "presume-to-administer", count=3),
        calls("guesser", "guess-a-password", count=3),
        calls("admin", "administer", count=3),
    )
    seen.answered("poser", statuses={404})
    seen.answered("pretender", statuses={403})
    seen.answered("guesser", statuses={403})
    seen.answered("admin", statuses={200})
