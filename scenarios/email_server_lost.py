"""The server that takes the e-mails is away."""

from typing import Any

from brownout.scripts import Story, calls, hold, script, select, terminated, wait

TOLD = "POST /notifications"
WAITING = "SELECT notification_id AS id, state, attempts FROM deliveries WHERE channel = 'email'"
AWAY = {"notifications": {"SMTP": "127.0.0.1:1"}}
ATTEMPTS = range(2, 10)
"""In ten seconds or some more, with pauses that double from a second."""
YOUNG = 4
"""After so many attempts the next one comes within 8 s."""


@script(steady="notify", clause="2.5", services=["users", "notifications"], environment=AWAY)
def email_server_lost() -> Story:
    """Nobody takes the e-mails: who tells a user something is served, and each is tried again, a restart or not."""
    seen = yield (
        calls("telling", "notify", count=5),
        wait(6),
        select("emails", "notifications", WAITING),
        hold(terminated("notifications"), wait(5)),
        wait(10),
        select("later", "notifications", WAITING),
    )
    seen.none_failed("telling", within_s=1)
    emails, later = ({row["id"]: row for row in seen.rows(name)} for name in ("emails", "later"))
    for told in seen.acknowledged("id", TOLD):
        assert told in emails, f"{told} was lost"
        _still_tried(told, emails[told], later[told])


def _still_tried(told: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    attempts = after["attempts"]
    assert after["state"] == "waiting", f"{told} is {after['state']}, with nobody there to take it"
    assert attempts in ATTEMPTS, f"{told} was tried {attempts} times"
    assert before["attempts"] > YOUNG or attempts > before["attempts"], f"{told} was not tried after the restart"
