"""The provider's answers are lost, and its callbacks come late."""

from books import OPENED, balanced, closed
from brownout.promises.promise import NoEvidenceError
from brownout.scripts import Seen, Story, black_hole, hold, hold_all, load, outage, script, select, wait

BREAKER_OPEN_S = 60
TOLD_S = 10  # after it


@script(steady="buy", clause="2.4")
def answers_lost() -> Story:
    """What was charged while nobody heard the provider is paid when its callbacks come, though nobody pays again."""
    unheard = hold_all((black_hole("payments -> provider"), outage("provider -> gateway")), wait(12))
    buying = hold(load("buying", "buy", rate=1), wait(3), unheard, wait(2))
    paid = select("paid", "orders", "SELECT id FROM orders WHERE status = 'paid'")
    unsettled = select("unsettled", "payments", "SELECT order_id FROM payments WHERE status = 'pending'")
    seen = yield (*OPENED, buying, wait(BREAKER_OPEN_S + TOLD_S), *closed(), paid, unsettled)
    seen.none_failed("buying", "POST /api/orders")
    seen.answered("buying", "POST /api/payments", statuses={201, 502, 503, 504}, within_s=11)
    balanced(seen)
    _all_is_known(seen)


def _all_is_known(seen: Seen) -> None:
    """Make sure that payments knows every charge, and orders what is paid."""
    charged, paid = {row["reference"] for row in seen.rows("charges")}, {row["id"] for row in seen.rows("paid")}
    if charged <= set(seen.acknowledged("order_id", "POST /api/payments")):
        raise NoEvidenceError("no answer to a charge was lost")
    assert charged <= paid, f"{len(charged - paid)} orders are charged and not paid, the first {min(charged - paid)}"
    assert paid <= charged, f"{len(paid - charged)} orders are paid for nothing, the first {min(paid - charged)}"
    unknown = charged & {row["order_id"] for row in seen.rows("unsettled")}
    assert not unknown, f"{len(unknown)} charges are not known of, the first of order {min(unknown)}"
