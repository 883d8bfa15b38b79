"""Both users instances are restarted, one after the other."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, hold, load, script, terminated, wait


@script(steady="buy", clause="6.6", instances={"users": 2})
def users_restarted() -> Story:
    """Two users instances are restarted one after the other, under load: nobody notices."""
    first, second = (hold(terminated("users", instance), wait(5)) for instance in (0, 1))
    seen = yield (
        *OPENED,
        hold(load("buying", "buy", rate=2), wait(3), first, wait(3), second, wait(3)),
        *closed(),
    )
    seen.none_failed("buying")
    balanced(seen)
