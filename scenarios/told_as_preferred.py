"""Users are told on the ways that they want."""

from brownout.scripts import Story, answered, calls, script, select

TOLD = "POST /notifications"
DELIVERED = """
SELECT id, text, string_agg(channel, ', ' ORDER BY channel) AS ways
FROM notifications JOIN deliveries ON notification_id = id
GROUP BY id HAVING bool_and(state = 'sent')
"""
WANTED = {"hello": "email", "as you like it": "push, sms"}
"""The ways that the users want whom a journey tells this."""


@script(steady="notify", clause="2.5", services=["users", "notifications"])
def told_as_preferred() -> Story:
    """Who asks for SMS and push messages gets both and no e-mail; who asks for nothing gets an e-mail."""
    seen = yield (
        calls("usual", "notify", count=3),
        calls("preferring", "tell-as-preferred", count=3),
        select("delivered", "notifications", DELIVERED, until=answered("id", to=TOLD), within_s=10),
    )
    seen.none_failed("preferring")
    delivered = {row["id"]: row for row in seen.rows("delivered")}
    for told in seen.acknowledged("id", TOLD):
        assert told in delivered, f"{told} was not sent on every way"
        text, ways = delivered[told]["text"], delivered[told]["ways"]
        assert ways == WANTED[text], f"{told} was sent by {ways}, its user wants {WANTED[text]}"
