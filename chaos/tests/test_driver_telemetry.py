"""What is known of a cell where a server is not there: that it is not shown, which is not the same as nothing."""

import pytest

from brownout.cells.stores import LocalStores
from brownout.cells.telemetry import ServerTelemetry
from brownout.errors import CellError


async def test_of_a_system_without_observing_servers_spans_and_metrics_are_none() -> None:
    assert await ServerTelemetry(None, None, "cell").collect(0, 1, frozenset({"a" * 32})) == (None, None)


async def test_a_query_without_prometheus_is_refused_with_a_remedy() -> None:
    with pytest.raises(CellError, match=r"up: not scraped.*name \{consul\}"):
        await ServerTelemetry(None, None, "cell").evaluate("up", 0, 1)


async def test_a_query_without_postgres_is_refused_with_a_remedy() -> None:
    with pytest.raises(CellError, match=r"SELECT 1: no database.*name \{postgres\}"):
        await LocalStores("cell", None).select("orders", "SELECT 1")
