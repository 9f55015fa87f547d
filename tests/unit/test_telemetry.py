"""Traces from an agent's call to its result, and logs without secrets; a bus as a process, a collector that listens."""

import asyncio
import io
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from agents.client import RequestingAgent, h2_documents, h2_manifest
from agents.tracing import current_traceparent
from qpubus import Client
from qpubus.keyfile import read_key
from qpubus.mcp.reading_matter import bell_arguments
from qpubus.telemetry.exporting import wants_traces
from qpubus.telemetry.logs import BLOT, JsonLines, PlainLines, without_secrets
from qpubus.telemetry.requests import Traced
from schemas.calibrations import CalibrationWish, sign_calibration
from tests.support.bell import bell_manifest, encoded
from tests.support.commands import qpubus, running_bus
from tests.support.mcp_site import Bus, bus_in, running_site
from tests.support.otlp import Collector, collecting
from tests.support.town import AGENT, SITE, TRAP, new_town

TRACE_ID, SPAN_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
PARENT = f"00-{TRACE_ID:032x}-{SPAN_ID:016x}-01"
STORY = {"IntentDeclared", "IntentAdmitted", "PlacementDecided", "StepCompleted", "ResultRecorded", "JobCompleted"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collecting_now, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collecting_now.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield collecting_now


@pytest.fixture(scope="module")
def bus(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    assert collector.url
    with running_site(tmp_path_factory.mktemp("traced") / "data") as running:
        yield running


def waiting(is_there: Callable[[], bool]) -> None:
    """Give an exporter its time."""
    until = time.monotonic() + 30
    while not is_there() and time.monotonic() < until:
        time.sleep(0.1)


def test_documents_and_calibrations_belong_to_the_trace_of_who_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        town = await new_town(tmp_path)
        await town.run(town.device())
        gateway = town.gateway()
        wish = CalibrationWish(request_id="c-1", site=SITE, device=TRAP, max_age_s=0, reason="a test")
        caller = NonRecordingSpan(SpanContext(TRACE_ID, SPAN_ID, is_remote=True, trace_flags=TraceFlags(1)))
        with trace.use_span(caller):
            await gateway.store_artifact(b"print()", "text/x-python", AGENT)
            await gateway.request_calibration(sign_calibration(wish, town.keys[AGENT]))
        await gateway.store_artifact(b"pass", "text/x-python", AGENT)
        said = [(type(each.event).__name__, each.traceparent) for each in await town.heard()]
        asked = [each for each in said if each[0] in {"ArtifactStored", "CalibrationRequested"} and each[1]]
        assert sorted(asked) == [("ArtifactStored", PARENT), ("CalibrationRequested", PARENT)]

    asyncio.run(scenario())


def test_one_trace_leads_from_the_agents_call_to_the_result(bus: Bus, collector: Collector) -> None:
    document = bell_arguments("bell-traced")["manifest"]
    manifest = bell_manifest(
        job_id="bell-traced",
        initiator=bus.agent.source,
        site=bus.site,
        quantum={"circuit": encoded(document["quantum"]["circuit"]), "shots": 100},
        budget=document["budget"],
    )
    caller = NonRecordingSpan(SpanContext(TRACE_ID, SPAN_ID, is_remote=True, trace_flags=TraceFlags(1)))
    with Client(bus.url, bus.agent.source, bus.agent.key) as client:
        with trace.use_span(caller):
            client.submit(manifest)
        assert client.wait("bell-traced", 60).state == "completed"
    waiting(lambda: {span.name for span in collector.of(TRACE_ID)} >= STORY)
    spans = collector.of(TRACE_ID)
    assert {span.name for span in spans} >= STORY
    (call,) = [span for span in spans if span.name == "POST /v1/jobs"]
    assert int.from_bytes(call.parent_span_id) == SPAN_ID
    assert {span.parent_span_id for span in spans if span.name in STORY} == {call.span_id}
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)
    events = qpubus("events", "--job", "bell-traced", "--json", "--data", bus.directory).out.splitlines()
    assert len(events) > len(STORY)


async def test_a_tool_call_is_a_span_that_the_model_s_trace_holds(bus: Bus, collector: Collector) -> None:
    other = TRACE_ID + 1
    caller = NonRecordingSpan(SpanContext(other, SPAN_ID, is_remote=True, trace_flags=TraceFlags(1)))
    async with bus.over_http() as client:
        with trace.use_span(caller):
            await client.call_tool("budget_left", {})
    await asyncio.to_thread(waiting, lambda: any(span.name == "tools/call budget_left" for span in collector.of(other)))
    (span,) = [span for span in collector.of(other) if span.name == "tools/call budget_left"]
    assert {each.key: each.value.string_value for each in span.attributes}["gen_ai.tool.name"] == "budget_left"


def test_neither_logs_nor_traces_hold_a_secret(collector: Collector, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    assert qpubus("init", "--data", directory).code == 0
    with running_bus(directory, "127.0.0.1:0") as process:
        bus = bus_in(directory)
        token, proof = bus.token(), bus.agent.sign(h2_manifest("h2-secret", bus.agent.source, bus.site, 1))
        with Client(bus.url, bus.agent.source, bus.agent.key) as client:
            client.quote(bell_manifest(job_id="q", initiator=bus.agent.source, site=bus.site))
            client.submit(h2_manifest("h2-secret", bus.agent.source, bus.site, 1), h2_documents())
        process.terminate()
        _, errors = process.communicate(timeout=60)
    logged = [orjson.loads(line) for line in errors.splitlines()]
    assert ("POST", "/v1/quotes", 200) in {
        (line.get("method"), line.get("path"), line.get("status")) for line in logged
    }
    told = errors.encode() + b"".join(collector.bodies)
    pems = [path.read_text().splitlines()[1] for path in sorted((directory / "keys").glob("*.pem"))]
    for secret in (token, token.rpartition(".")[2], proof, proof.rpartition(".")[2], *pems):
        assert secret.encode() not in told


@pytest.mark.parametrize("formatter", [JsonLines(), PlainLines()], ids=["json", "plain"])
def test_what_looks_like_a_secret_is_blotted_out_whoever_logs_it(formatter: logging.Formatter, tmp_path: Path) -> None:
    assert qpubus("init", "--data", tmp_path / "data").code == 0
    pem = (tmp_path / "data" / "keys" / "agent.pem").read_text()
    key = read_key(tmp_path / "data" / "keys" / "agent.pem")
    proof = RequestingAgent("agent:x", key).sign(bell_manifest())
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("careless")  # noqa: LOG001 (one of its own, so that nothing else hears it)
    logger.addHandler(handler)
    logger.error("sent %s with Authorization: Bearer abc.def.ghi and passphrase=hunter2: %s", proof, pem)
    logger.error("only the middle of a key: %s", pem.splitlines()[1])
    said = stream.getvalue()
    assert BLOT in said
    for secret in (proof, proof.rpartition(".")[2], "abc.def.ghi", "hunter2", pem.splitlines()[1]):
        assert secret not in said


def test_ordinary_words_stay() -> None:
    line = "stage:policy stopped (KeyError: 'x'); it starts again in 1 s"
    assert without_secrets(line) == line


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}, False),
    ],
    ids=["default", "endpoint", "traces endpoint", "exporter", "none", "disabled"],
)
def test_traces_go_out_only_where_the_environment_says_so(environment: dict[str, str], wanted: bool) -> None:
    assert wants_traces(environment) == wanted


def heard_traceparents(tracer: trace.Tracer | None, headers: dict[str, str]) -> list[str]:
    """What a call inside the application would put into its event's header."""
    heard = []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        heard.append(current_traceparent())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    TestClient(Traced(app, tracer)).get("/x?token=hunter2", headers=headers)
    return heard


def test_without_an_exporter_the_caller_s_trace_still_reaches_the_event() -> None:
    assert heard_traceparents(trace.NoOpTracer(), {"traceparent": PARENT}) == [PARENT]
    assert heard_traceparents(trace.NoOpTracer(), {}) == [""]
    assert heard_traceparents(trace.NoOpTracer(), {"traceparent": "00-zz-yy-01"}) == [""]


def test_a_request_s_span_is_the_child_of_the_caller_s_and_tells_no_query() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    (heard,) = heard_traceparents(provider.get_tracer("test"), {"traceparent": PARENT})
    (span,) = exporter.get_finished_spans()
    assert heard == f"00-{TRACE_ID:032x}-{span.context.span_id:016x}-01"
    assert span.parent
    assert span.parent.span_id == SPAN_ID
    assert "hunter2" not in span.to_json()
