"""What no client should send."""

from brownout.scripts import Story, calls, script


@script(steady="me", clause="3.1", services=["gateway", "users"])
def strange_requests() -> Story:
    """What is too large or cannot be kept is the caller's mistake, and users goes on as if nothing had been."""
    seen = yield (
        calls("too much", "send-too-much", count=3),
        calls("a NUL", "send-a-nul", count=3),
        calls("half a character", "send-half-a-character", count=3),
        calls("others", "me", count=3),
    )
    seen.answered("too much", statuses={413})
    seen.answered("a NUL", statuses={422})
    seen.answered("half a character", statuses={422})
    seen.none_failed("others")
