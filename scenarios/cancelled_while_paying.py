"""Orders are cancelled while their payments are under way."""

from brownout.scripts import Story, answered, black_hole, hold, hold_all, load, outage, script, select, wait

BREAKER_OPEN_S = 60
CANCELLED = "POST /api/orders/"
OVER = "SELECT order_id FROM payments WHERE status IN ('refunded', 'voided')"


@script(steady="buy", clause="2.4")
def cancelled_while_paying() -> Story:
    """Nobody hears the provider while orders are paid and cancelled: all their money goes back, and no other."""
    silent = hold_all((black_hole("payments -> provider"), outage("provider -> gateway")), wait(15))
    hanging = hold(load("regretting", "buy-and-regret", rate=1), wait(3), silent, wait(2))
    over = select("over", "payments", OVER, until=answered("regretting", "id", to=CANCELLED), within_s=20)
    seen = yield (
        hanging,
        wait(BREAKER_OPEN_S),
        over,
        select("cancelled", "orders", "SELECT id FROM orders WHERE status = 'cancelled'"),
        select("charges", "provider", "SELECT reference, status FROM charges WHERE status <> 'voided'"),
    )
    seen.none_failed("regretting", "POST /api/orders")
    seen.answered("regretting", "POST /api/payments", statuses={201, 409, 502, 503, 504}, within_s=11)
    cancelled = {row["id"] for row in seen.rows("cancelled")}
    kept = {row["reference"] for row in seen.rows("charges") if row["status"] == "charged"}
    returned = [row["reference"] for row in seen.rows("charges") if row["status"] == "refunded"]
    missing = set(seen.acknowledged("id", CANCELLED)) - {row["order_id"] for row in seen.rows("over")}
    assert not missing, f"{len(missing)} cancelled orders have payments that are not over, the first {min(missing)}"
    assert not kept & cancelled, f"the money of {len(kept & cancelled)} cancelled orders was kept"
    assert returned, "no money went back"
    assert len(set(returned)) == len(returned), "money went back twice"
    assert set(returned) <= cancelled, "money went back for an order that is not cancelled"
