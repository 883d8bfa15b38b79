"""What the shop keeps to under load: `locust -f loadtests/open_model.py --record` this file, then `brownout judge`."""

from brownout.scripts import Story, hold, load, script, wait


@script(steady="buy", clause="load")
def under_load() -> Story:
    """Under load one request in a hundred may fail, and 95 of 100 are answered within a second."""
    seen = yield (hold(load("browse", "browse", rate=8), hold(load("buy", "buy", rate=4), wait(60))),)
    for journey in ("browse", "buy"):
        seen.share_failed(journey, at_most=0.01)
        seen.quantile(journey, of=0.95, at_most_s=1.0)
