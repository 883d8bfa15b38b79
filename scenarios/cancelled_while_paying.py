"""Orders are cancelled while their payments are under way."""

from books import OPENED, balanced, closed
from brownout.scripts import Seen, Story, answered, black_hole, hold, hold_all, load, outage, script, select, wait

BREAKER_OPEN_S = 60
CANCELLED = "POST /api/orders/"
OVER = "SELECT order_id FROM payments WHERE status IN ('refunded', 'voided')"


@script(steady="buy", clause="2.4")
def cancelled_while_paying() -> Story:
    """Nobody hears the provider while orders are paid and cancelled: all their money goes back, and no other."""
    unheard = hold_all((black_hole("payments -> provider"), outage("provider -> gateway")), wait(15))
    regretting = hold(load("regretting", "buy-and-regret", rate=1), wait(3), unheard, wait(2))
    over = select("over", "payments", OVER, until=answered("id", to=CANCELLED), within_s=20)
    cancelled = select("cancelled", "orders", "SELECT id FROM orders WHERE status = 'cancelled'")
    money = select("money", "provider", "SELECT reference, status FROM charges WHERE status <> 'voided'")
    seen = yield (*OPENED, regretting, wait(BREAKER_OPEN_S), *closed(), over, cancelled, money)
    seen.none_failed("regretting", "POST /api/orders")
    seen.answered("regretting", "POST /api/payments", statuses={201, 409, 502, 503, 504}, within_s=11)
    balanced(seen)
    _money_went_back(seen)


def _money_went_back(seen: Seen) -> None:
    """Make sure that the provider has no money of a cancelled order, and gave back no other."""
    cancelled, money = {row["id"] for row in seen.rows("cancelled")}, seen.rows("money")
    kept = {row["reference"] for row in money if row["status"] == "charged"}
    returned = {row["reference"] for row in money if row["status"] == "refunded"}
    left = set(seen.acknowledged("id", CANCELLED)) - {row["order_id"] for row in seen.rows("over")}
    assert not left, f"{len(left)} cancelled orders have payments that are not over, the first {min(left)}"
    assert not kept & cancelled, f"the money of {len(kept & cancelled)} cancelled orders was kept"
    assert returned, "no money went back"
    assert returned <= cancelled, "money went back for an order that is not cancelled"
