"""Incidents as people make them: from a running system, by the command line."""

from __future__ import annotations

import base64
import json
import shutil

import pytest
from aiokafka.admin import RecordsToDelete
from support import leaky, slow_agent

from starlings.kafka.codec import CLAIM_HEADER
from starlings.messages import RunOutcome, StepStarted
from starlings.replay import ArchiveHeader, LogReader, create_archive, ranges_of

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

LEAKY = f"{leaky.__file__}:leaky"
KEY = "sk-abcdefghijklmnop1234"
PASSWORD = "Tr0ub4dor&3"
TOKEN = "tok-55-nobody-may-know"
OF_PROCESS = "only-this-process-knows-9"
BEARER = "ya29.a0AfH6SMBx"
SECRETS = (KEY, PASSWORD, TOKEN, OF_PROCESS, BEARER)
REQUEST = f"log in with api_key={KEY}"
PLAN = {
    "steps": [
        {"id": "login", "agent": "leaky", "input": {"password": PASSWORD, "tokens": 250}},
        {
            "id": "use",
            "agent": "leaky",
            "depends_on": ["login"],
            "input": {"text": "{{steps.login.output.said.password}}", "x": OF_PROCESS},
        },
        {"id": "big", "agent": "leaky", "input": {"large": 300_000, "note": TOKEN}},
        {
            "id": "fail",
            "agent": "leaky",
            "depends_on": ["use", "big"],
            "input": {"fail": f"Authorization: Bearer {BEARER}", "password": PASSWORD},
            "retry": {"attempts": 1},
        },
    ]
}

OPEN = {"steps": [{"id": "s1", "agent": "slow", "tool": "wait", "args": {"seconds": 60}}]}


@pytest.fixture
async def failed(services, starlings):
    """Have a run that failed, and that was careless with secrets in every place."""
    services.start("coordinator", "planner", LEAKY)
    async with services.client() as client:
        run = await client.submit(
            REQUEST, plan=PLAN, run_id="leaks", on_failure="stop", tags={"token": TOKEN}
        )
        done = await run.result(timeout_s=90)
    assert done.outcome is RunOutcome.FAILED, done
    return done


async def test_an_incident_holds_all_of_a_run_and_none_of_its_secrets(services, starlings, failed):
    services.env["STARLINGS_SECRET_OF_PROCESS"] = OF_PROCESS
    wrote = await starlings("incident", "leaks", "-o", "leaks.jsonl", "--blobs", "--json")
    assert wrote.code == 0, wrote
    text = (services.folder / "leaks.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    blobs = b"".join(base64.b64decode(x["base64"]) for x in lines if x.get("attachment") == "blob")
    for secret in SECRETS:
        assert secret not in text + wrote.stdout + wrote.stderr
        assert secret.encode() not in blobs
    assert len(blobs) > 300_000

    header = wrote.document
    assert (header["run_id"], header["status"], header["ended"]) == ("leaks", "failed", True)
    assert (header["blobs"], header["left"], header["starlings_incident"]) == (3, [], 1)
    held = {name.removeprefix(services.topics.prefix) for name in header["holds"]}
    assert {"events", "requests", "steps.leaky", "agents"} <= held
    placeholders = {each["placeholder"].rsplit("-", 1)[0] for each in header["redacted"]}
    assert {"redacted-password", "redacted-of-process", "redacted-token"} <= placeholders
    (login,) = {x["value"]["input"]["password"] for x in lines if _is_step(x, "login")}
    (done,) = (x for x in lines if _is(x, "step_done") and x["value"].get("step_id") == "use")
    assert done["value"]["output"]["said"]["text"] == login
    assert {x["headers"][CLAIM_HEADER] for x in lines if CLAIM_HEADER in x.get("headers", ())} == {
        "1"
    }

    argv = ("--incident", "leaks.jsonl", "--incident-agent", LEAKY)
    tested = await starlings(*argv, program="pytest")
    assert "5 passed" in tested.stdout, tested.stdout
    shutil.rmtree(services.folder / "blobs")  # what the file carries is enough
    verified = await starlings("replay", "verify", "leaks", "--steps", "--from", "leaks.jsonl")
    assert (verified.code, verified.stdout[:8]) == (0, "the same"), verified
    again = await starlings(
        "replay", "step", "leaks", "fail", "--agent", LEAKY, "--from", "leaks.jsonl"
    )
    assert again.code == 0, again
    shown = await starlings("events", "show", "leaks", "--from", "leaks.jsonl", "--timeline")
    assert (shown.code, "blob_gone" in shown.stdout + shown.stderr) == (0, False), shown


def _is(line, name):
    return line.get("headers", {}).get("ce_type") == f"starlings.{name}.v1"


def _is_step(line, step_id):
    return _is(line, "step_ready") and line["value"].get("step_id") == step_id


async def test_what_is_gone_is_named_with_the_way_out(services, starlings, failed):
    kept = services.folder / "kept.jsonl"
    await _export(services, kept)
    left = await starlings("incident", "latest", "-o", "left.jsonl")
    assert left.code == 0, left
    assert "3 large values lie in the blob store, and are not in the file: --blobs" in left.stderr
    assert "look yourself before you hand it on" in left.stdout

    again = await starlings("incident", "leaks", "-o", "left.jsonl")
    assert (again.code, again.stdout) == (2, "")
    assert "left.jsonl is there already; --force overwrites it" in again.stderr

    shutil.rmtree(services.folder / "blobs")
    gone = await starlings("incident", "leaks", "-o", "gone.jsonl", "--blobs", "--json")
    assert gone.code == 1
    assert gone.stderr.count("is not in the file: the value file://") == len(gone.document["left"])

    await _delete_all(services, services.topics.events)
    unknown = await starlings("incident", "leaks", "-o", "no.jsonl")
    assert (unknown.code, (services.folder / "no.jsonl").exists()) == (2, False)
    assert "there is no run 'leaks' in the log" in unknown.stderr
    of_file = await starlings(
        "incident", "leaks", "-o", "file.jsonl", "--from", str(kept), "--json"
    )
    assert of_file.code == 0, of_file
    assert of_file.document["holds"][services.topics.events] >= 6


async def _export(services, path):
    """Write all topics into an archive."""
    connection = services.connection()
    names = sorted(
        n for n in await connection.topic_names() if n.startswith(services.topics.prefix)
    )
    ranges = await ranges_of(connection, names)
    header = ArchiveHeader(prefix=services.topics.prefix, ranges=ranges)
    with create_archive(path, header) as archive:
        async for record in LogReader(connection, ranges).records():
            archive.write(record)


async def _delete_all(services, topic):
    connection = services.connection()
    ranges = await ranges_of(connection, [topic])
    async with connection.administering() as admin:
        await admin.delete_records(
            {found.place: RecordsToDelete(before_offset=found.end) for found in ranges}
        )


async def test_a_run_that_goes_on_can_be_written_down_as_far_as_it_is(services, starlings):
    services.start("coordinator", "planner", slow_agent.__file__)
    async with services.client() as client:
        run = await client.submit("number 4711", plan=OPEN, run_id="open")
        async for fact in run.facts():
            if isinstance(fact, StepStarted):
                break
    wrote = await starlings("incident", "open", "-o", "open.jsonl.gz", "--redact", "number (\\d+)")
    assert wrote.code == 0, wrote
    assert "has not ended: what is to come is not in the file" in wrote.stderr
    assert "redacted-own-1" in wrote.stdout
    wrong = await starlings("incident", "open", "-o", "no.jsonl", "--redact", "ope.")
    assert wrong.code == 2
    assert "fits 'open', a name by which the run's records are known" in wrong.stderr
