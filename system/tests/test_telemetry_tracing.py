"""Which spans are kept: all of them."""

import pytest
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from brownout_shop.telemetry.tracing import Tracing

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("flag", ["00", "01"])
def test_a_request_is_traced_whatever_its_callers_flag_says(monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    monkeypatch.setattr(trace, "set_tracer_provider", lambda _: None)  # which is the process's, once and for all
    tracing = Tracing(service="gateway", instance="gateway-0", cell="c1", otlp_url="http://127.0.0.1:1")
    propagator, passed_on = TraceContextTextMapPropagator(), dict[str, str]()
    caller = propagator.extract({"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-{flag}"})
    span = tracing._provider.get_tracer("test").start_span("asked", caller)
    propagator.inject(passed_on, trace.set_span_in_context(span))
    assert span.is_recording()
    _, trace_id, _, flags = passed_on["traceparent"].split("-")
    assert (trace_id, flags) == (TRACE_ID, "01")
    tracing.flush()
