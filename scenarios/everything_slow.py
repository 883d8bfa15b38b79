"""Everything is slow at once."""

from books import OPENED, balanced, closed
from brownout.scripts import Story, hold_all, latency, load, script, wait

CALLS = (
    "gateway -> users, gateway -> products, gateway -> orders, gateway -> payments, orders -> users, orders -> products"
)
MORE = "payments -> orders, payments -> provider, provider -> gateway, notifications -> users:grpc"
NEWS = [f"{each} -> kafka" for each in ("products", "orders", "payments", "notifications")]
STORES = [f"{each} -> postgres" for each in ("users", "products", "orders", "payments", "provider", "notifications")]


@script(steady="buy", clause="6.2")
def everything_slow() -> Story:
    """Every call, query and message takes 0.2 s longer at once: it adds up, and everybody is served."""
    slow = [latency(edge, seconds=0.2) for edge in (*CALLS.split(", "), *MORE.split(", "), *NEWS, *STORES)]
    seen = yield (*OPENED, hold_all([load("buying", "buy", rate=1), *slow], wait(15)), *closed())
    seen.none_failed("buying")
    balanced(seen)
