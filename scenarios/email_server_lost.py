"""The server that takes the e-mails is away."""

from brownout.scripts import Story, calls, hold, script, select, terminated, wait

TOLD = "POST /notifications"
WAITING = "SELECT notification_id AS id, state, attempts FROM deliveries WHERE channel = 'email'"
NOBODY = "127.0.0.1:1"
ATTEMPTS = range(2, 10)
"""In ten seconds or some more, with pauses that double from a second."""
YOUNG = 4
"""After so many attempts the next one comes within 8 s."""


@script(
    steady="notify",
    clause="2.5",
    services=["users", "notifications"],
    environment={"notifications": {"SMTP": NOBODY}},
)
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
    emails = {row["id"]: row["attempts"] for row in seen.rows("emails")}
    later = {row["id"]: row for row in seen.rows("later")}
    for told in seen.acknowledged("id", TOLD):
        assert told in emails, f"{told} was lost"
        state, attempts = later[told]["state"], later[told]["attempts"]
        assert state == "waiting", f"{told} is {state}, with nobody there to take it"
        assert attempts in ATTEMPTS, f"{told} was tried {attempts} times"
        assert emails[told] > YOUNG or attempts > emails[told], f"{told} was not tried again after the restart"
