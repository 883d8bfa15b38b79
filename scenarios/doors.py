"""The gateway is the one door."""

from brownout.scripts import Story, calls, script


@script(steady="me", clause="6.1", services=["gateway", "users", "products", "orders", "payments"])
def doors() -> Story:
    """Nobody comes in without a token, with a wrong one, or as the provider; who comes in finds nothing but what is."""
    seen = yield (
        calls("stranger", "knock-without-a-token", count=3),
        calls("forger", "knock-with-a-wrong-token", count=3),
        calls("swindler", "knock-with-a-forged-callback", count=3),
        calls("replayer", "knock-with-an-old-callback", count=3),
        calls("lost", "ask-for-nothing", count=3),
        calls("guest", "browse", count=3),
    )
    seen.answered("stranger", statuses={401})
    seen.answered("forger", statuses={401})
    seen.answered("swindler", statuses={401})
    seen.answered("replayer", statuses={401})
    seen.answered("lost", statuses={404})
    seen.none_failed("guest")
