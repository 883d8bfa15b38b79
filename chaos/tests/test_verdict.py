"""Rulings: what nobody knows is never a pass."""

import pytest

from brownout.verdict import Figure, Ruling, overall


@pytest.mark.parametrize(
    ("rulings", "ruling"),
    [
        ([Ruling.PASS, Ruling.PASS], Ruling.PASS),
        ([Ruling.PASS, Ruling.INCONCLUSIVE], Ruling.INCONCLUSIVE),
        ([Ruling.FAIL, Ruling.INCONCLUSIVE, Ruling.PASS], Ruling.FAIL),
        ([], Ruling.INCONCLUSIVE),
    ],
)
def test_fail_outranks_inconclusive_outranks_pass(rulings: list[Ruling], ruling: Ruling) -> None:
    assert overall(rulings) is ruling


def test_a_figure_is_read_with_its_unit_and_bound() -> None:
    assert str(Figure("refused", 58, "calls", "of 58")) == "refused 58 calls (of 58)"
    assert str(Figure("exit after", 1.234, "s")) == "exit after 1.23 s"
