"""Traces exported by OTLP: off unless asked for, and never in the way of the work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.collector import collector

PROGRAM = Path(__file__).with_name("traced_service.py")
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE, SPAN = PARENT.split("-")[1:3]
PATIENCE_S = 90
SECRET = "swordfish"


def run(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STARLINGS_", "OTEL_"))
    }
    return subprocess.run(
        [sys.executable, str(PROGRAM)],
        env={**inherited, "STARLINGS_HEALTH_PORT": "off", **env},
        cwd=folder,
        timeout=PATIENCE_S,
        capture_output=True,
        text=True,
        check=False,
    )


def refused(folder: Path, **env: str) -> str:
    """Run it with a wrong setting; return the one line that it says."""
    ended = run(folder, **env)
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    return line


def handed_on(ended: subprocess.CompletedProcess[str]) -> tuple[str, bool]:
    assert ended.returncode == 0, ended.stderr
    traceparent, imported = ended.stdout.split()
    return traceparent, imported == "True"


def test_without_an_endpoint_nothing_is_imported_and_the_trace_is_handed_on(tmp_path):
    told = {"OTEL_TRACES_SAMPLER": "jaeger_remote", "OTEL_SERVICE_NAME": "x"}  # of other programs
    traceparent, imported = handed_on(run(tmp_path, STARLINGS_PARENT=PARENT, **told))

    assert not imported
    assert traceparent.startswith(f"00-{TRACE}-")
    assert SPAN not in traceparent


@pytest.mark.parametrize(
    "off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}], ids=str
)
def test_what_switches_opentelemetry_off_is_heeded(tmp_path, off):
    with collector() as traces:
        _, imported = handed_on(run(tmp_path, **traces.env, **off))

    assert not imported
    assert not traces.web.asked


def test_a_span_goes_below_its_parent_and_its_own_id_is_handed_on(tmp_path):
    with collector() as traces:
        ended = run(tmp_path, **traces.env, STARLINGS_PARENT=PARENT, STARLINGS_INSTANCE="pod-1")
        work, part = traces.one("work"), traces.one("part")

    assert (work.trace_id, work.parent_id) == (TRACE, SPAN)
    assert (part.trace_id, part.parent_id) == (TRACE, work.span_id)
    assert part.about == {"told": True}
    assert f"-{TRACE}-{work.span_id}-" in handed_on(ended)[0]
    assert work.service == "starlings-traced"
    assert work.resource["service.instance.id"] == "pod-1"


def test_a_failure_is_told_with_its_code_and_its_message(tmp_path):
    with collector() as traces:
        run(tmp_path, **traces.env, STARLINGS_FAILS="true")

    part = traces.one("part")
    assert (part.failed, part.about["error.type"]) == ("the room is sold out", "sold_out")
    assert traces.one("work").failed is None


def test_who_reads_a_message_without_a_trace_begins_the_same(tmp_path):
    with collector() as traces:
        for _ in range(2):
            run(tmp_path, **traces.env)

    first, second = traces.named("work")
    assert first.trace_id == second.trace_id
    assert first.span_id != second.span_id
    assert first.parent_id == second.parent_id == ""


def test_the_standard_variables_are_heeded_also_from_the_env_file(tmp_path):
    with collector() as traces:
        lines = [f"{name}={value}" for name, value in traces.env.items()]
        lines.append(f"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20{SECRET},x-tenant=blue")
        (tmp_path / ".env").write_text("\n".join(lines))
        ended = run(
            tmp_path,
            OTEL_SERVICE_NAME="my-service",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test,team=a%2Cb",
        )

    headers = traces.web.asked[0].headers
    assert (headers["authorization"], headers["x-tenant"]) == (f"Bearer {SECRET}", "blue")
    work = traces.one("work")
    assert (work.service, work.resource["team"]) == ("my-service", "a,b")
    assert work.resource["deployment.environment.name"] == "test"
    assert SECRET not in ended.stderr


def test_a_share_of_traces_is_decided_once_and_handed_on(tmp_path):
    ratio = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    with collector() as traces:
        unsampled, _ = handed_on(run(tmp_path, **traces.env, **ratio))
        assert not traces.spans()
        run(tmp_path, **traces.env, **ratio, STARLINGS_PARENT=PARENT)  # somebody has decided: yes

    assert int(unsampled[-2:], 16) & 1 == 0
    assert traces.one("work").parent_id == SPAN


def test_a_collector_of_traces_alone_may_be_named_with_its_path(tmp_path):
    with collector() as traces:
        whole = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{traces.web.url}/v1/traces"}
        run(tmp_path, **whole, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")

    assert traces.one("work")


def test_the_missing_extra_is_one_clear_line(tmp_path):
    line = refused(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", WITHOUT_EXTRA="1")

    assert line.startswith("traced: OTEL_EXPORTER_OTLP_ENDPOINT is set, but")
    assert "pip install 'starlings[otlp]'" in line


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http://"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://", "http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", SECRET, "name=value"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team", "name=value"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "from 0 to 1"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_takes(tmp_path, name, value, says):
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", name: value}
    line = refused(tmp_path, **env)

    assert line.startswith(f"traced: {name}")
    assert says in line
    assert SECRET not in line


@pytest.mark.parametrize("hangs", [False, True], ids=["unreachable", "hangs"])
def test_a_collector_that_takes_nothing_holds_nobody_up(tmp_path, hangs):
    """Many more spans than the queue takes; what is in it is given up at the end."""
    with collector(hangs=hangs) as traces:
        address = traces.web.url if hangs else "http://127.0.0.1:9"
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": address,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "100",  # by itself the library would go on for 30 s
            "OTEL_BSP_MAX_QUEUE_SIZE": "600",
        }
        before = time.monotonic()
        ended = run(tmp_path, **env, STARLINGS_SPANS="3000")
        took_s = time.monotonic() - before

    assert ended.returncode == 0, ended.stderr
    assert took_s < 28
    assert "Queue full, dropping Span" in ended.stderr
    assert len(ended.stderr.splitlines()) < 30
