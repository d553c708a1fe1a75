"""OpenTelemetry traces from a request to the shards of its scan; off unless the environment names a collector.

The standard variables apply: `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) turns them on, and
`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS` and the rest mean what they mean elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

TRACEPARENT = "traceparent"
"""The header (W3C Trace Context), and the field of a scan's row, that continues a trace."""

_CONTEXT = TraceContextTextMapPropagator()
_SWITCHES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def configure(service: str, *, forks: bool = False) -> None:
    """Export this process's spans if the environment says where to.

    Args:
        service: its name, unless `OTEL_SERVICE_NAME` gives another.
        forks: jobs run in children that end abruptly, so each span is sent as soon as it ends.
    """
    if not any(os.environ.get(name) for name in _SWITCHES) or os.environ.get("OTEL_TRACES_EXPORTER") == "none":
        return
    # Slow to import, and unused while traces are off.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    exporter = OTLPSpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter) if forks else BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


@contextmanager
def span(
    name: str,
    parent: str | None,
    attributes: Mapping[str, str | int] | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
) -> Iterator[Span]:
    """A span that is current inside. A malformed `parent` (a traceparent) counts as none."""
    context = _CONTEXT.extract({TRACEPARENT: parent}) if parent else None
    tracer = trace.get_tracer("tokenforce")
    with tracer.start_as_current_span(name, context, kind, attributes) as current:
        yield current


def failed(current: Span) -> None:
    """Mark a span as failed although no exception ends it."""
    current.set_status(Status(StatusCode.ERROR))


def current_traceparent() -> str | None:
    """The traceparent that continues the current trace; None without a trace."""
    carrier: dict[str, str] = {}
    _CONTEXT.inject(carrier)
    return carrier.get(TRACEPARENT)


def current_trace_id() -> str | None:
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None
