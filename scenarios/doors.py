"""The gateway is the one door."""

from brownout.scripts import Story, calls, script


@script(steady="me", clause="6.1", services=["gateway", "users", "products", "orders", "payments"])
def doors() -> Story:
    """Nobody comes in without a token or with a wrong one, and who comes in finds nothing but what there is."""
    seen = yield (
        calls("stranger", "knock-without-a-token", count=3),
        calls("forger", "knock-with-a-wrong-token", count=3),
        calls("scribe", "knock-with-an-unsigned-token", count=3),
        calls("lost", "ask-for-nothing", count=3),
        calls("guest", "browse", count=3),
    )
    seen.answered("stranger", statuses={401})
    seen.answered("forger", statuses={401})
    seen.answered("scribe", statuses={401})
    seen.answered("lost", statuses={404})
    seen.none_failed("guest")
