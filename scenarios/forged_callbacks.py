"""The provider's door is the provider's only."""

from brownout.scripts import Story, calls, script


@script(steady="me", clause="2.4", services=["gateway", "users", "products", "orders", "payments"])
def forged_callbacks() -> Story:
    """A callback that the provider has not signed is refused, and one that it signed long ago as well."""
    seen = yield (
        calls("swindler", "knock-with-a-forged-callback", count=3),
        calls("replayer", "knock-with-an-old-callback", count=3),
    )
    seen.answered("swindler", statuses={401})
    seen.answered("replayer", statuses={401})
