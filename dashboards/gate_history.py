"""The history of gates: what each ruled, promise by promise, and what it measured. `push.py` puts them there."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

import panels as p

__all__ = ["gate_history"]

RULINGS = (("PASS", "green"), ("INCONCLUSIVE", "yellow"), ("FAIL", "red"))
PROMISE = p.variable("promise", "Promise", "label_values(brownout_promise_ruling, promise)")


def gate_history() -> Dashboard:
    """Return it; every gate is one point, at the time that it began."""
    return p.board(
        "Gate history",
        "What the gates ruled and measured. Each is one point, put here by dashboards/push.py.",
        (PROMISE,),
        {
            "Gates": (
                p.states("Ruling", RULINGS, p.query(_gates("brownout_gate_ruling"), "gate"), now_and_then=True),
                p.events("Promises by ruling", "none", p.query(_gates("brownout_gate_promises"), "{{ruling}}")),
                p.events("Duration", "s", p.query(_gates("brownout_gate_duration_seconds"), "whole gate")),
            ),
            "Promises": (
                p.states(
                    "Rulings",
                    RULINGS,
                    p.query(_gates("brownout_promise_ruling", CHOSEN), "{{promise}}"),
                    now_and_then=True,
                ),
                p.events(
                    "Duration of the scenarios",
                    "s",
                    p.query(_gates("brownout_promise_duration_seconds", CHOSEN), "{{promise}}"),
                ),
            ),
            "Figures": (
                p.events(
                    "Measured",
                    "none",
                    p.query(_gates("brownout_promise_figure", CHOSEN), "{{promise}}: {{figure}} {{unit}}"),
                    description="Each with its own unit: choose one promise or two above.",
                ),
            ),
        },
        shown="now-30d",
        refresh="1m",
    )


CHOSEN = '{promise=~"$promise"}'


def _gates(metric: str, chosen: str = "") -> str:
    """Return the points of a metric that has one a gate, each in the step in which it lies."""
    return f"last_over_time({metric}{chosen}[$__interval])"
