"""The windows of faults: which canary and which lift belong to which entry."""

from brownout.history import Outcome
from brownout.windows import windows
from brownout.written import Written

FAULT = "outage of orders -> users"


def test_a_fault_is_surely_on_from_its_entrys_end_to_its_lifts_beginning() -> None:
    story = Written()
    with story.fault(FAULT):
        story.wait(5)
    (window,) = windows(story.recording().history)
    assert window.whole
    assert window.surely_ns == (10_000_000, 5_010_000_000)
    assert window.perhaps_ns == (0, 5_020_000_000)


def test_the_same_fault_held_twice_has_two_windows_each_with_its_own_canary() -> None:
    story = Written()
    with story.fault(FAULT):
        story.wait(1)
    with story.fault(FAULT, canary=Outcome.FAILED):
        story.wait(1)
    first, second = windows(story.recording().history, FAULT)
    assert first.canary is not None
    assert second.canary is not None
    assert (first.canary.outcome, second.canary.outcome) == (Outcome.OK, Outcome.FAILED)
    assert first.perhaps_ns[1] <= second.perhaps_ns[0]


def test_a_fault_that_was_never_lifted_does_not_borrow_the_next_ones_lift() -> None:
    story = Written()
    with story.fault(FAULT, canary=None, lifted=False):
        story.wait(1)
    with story.fault(FAULT):
        story.wait(1)
    first, second = windows(story.recording().history)
    assert (first.lifted, first.canary, first.whole) == (None, None, False)
    assert second.whole


def test_the_windows_of_another_fault_are_left_out() -> None:
    story = Written()
    with story.fault(FAULT), story.fault("black hole on orders -> postgres"):
        story.wait(1)
    assert [window.fault for window in windows(story.recording().history, FAULT)] == [FAULT]
    assert len(windows(story.recording().history)) == 2
