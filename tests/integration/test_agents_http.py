"""The agent `http` against real servers on loopback: calls, secrets that stay secret, errors."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from support.logs import logged
from support.web_server import Page, web_server

from starlings.agents.compensate import execute_compensation
from starlings.agents.execute import execute
from starlings.messages import CompensationReady, StepReady
from starlings_agents.http import agent

KEY = 'sk-"very"/secret+value'


@pytest.fixture
def web(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # away from anybody's .env
    with web_server() as served:
        monkeypatch.setenv("STARLINGS_FETCH_ALLOW", "127.0.0.1")
        monkeypatch.setenv("STARLINGS_FETCH_PORTS", "1-65535")
        monkeypatch.setenv("STARLINGS_SECRET_API", KEY)
        monkeypatch.setenv("STARLINGS_SECRET_ORIGINS", json.dumps({"API": [served.url]}))
        yield served


async def call(url, *, attempt=1, **args):
    args = {"url": url, **args}
    step = StepReady(
        run_id="r", step_id="s", attempt=attempt, agent="http", tool="request", args=args
    )
    return await execute(agent, step)


async def said(url, **args):
    done = await call(url, **args)
    assert done.error is not None
    return done.error


async def test_json_comes_back_as_json_with_status_and_headers(web):
    web.pages["/v1/users"] = Page('{"id": 7}', type="application/json", headers={"ETag": '"x"'})
    done = await call(f"{web.url}/v1/users", query={"page": 2, "tag": ["a&b", "c"], "all": True})
    assert done.error is None
    assert done.output["body"] == {"id": 7}
    assert (done.output["status"], done.output["headers"]["etag"]) == (200, '"x"')
    assert web.asked[0].path == "/v1/users?page=2&tag=a%26b&tag=c&all=true"
    assert "idempotency-key" not in web.asked[0].headers
    assert done.summary == f'HTTP 200 from GET {web.url}/v1/users: {{"id": 7}}'


@pytest.mark.parametrize(
    ("type_", "body", "expected"),
    [
        ("text/plain; charset=latin-1", "grün".encode("latin-1"), "grün"),
        ("text/plain; charset=no-such", "grün".encode(), "grün"),
        ("application/problem+json", b"[1]", [1]),
        ("application/json", b"no json", "no json"),
        ("image/svg+xml", b"<svg/>", "<svg/>"),
        ("image/png", b"\x89PNG", {"base64": "iVBORw==", "size_bytes": 4}),
        ("application/json", b"", None),
    ],
)
async def test_a_body_is_read_by_its_media_type(web, type_, body, expected):
    web.pages["/"] = Page(body, type=type_)
    assert (await call(web.url)).output["body"] == expected


async def test_bodies_and_forms_are_sent_with_their_type_and_a_key(web):
    web.pages["/"] = Page(status=201)
    await call(web.url, method="POST", body={"name": "ü"})
    await call(web.url, method="POST", body={"name": "ü"}, attempt=2)
    await call(web.url, method="POST", form={"a": "1 2", "b": True})
    await call(web.url, method="PUT", body="text", headers={"Idempotency-Key": "mine"})
    json_, again, form, text = web.asked
    assert json.loads(json_.body) == {"name": "ü"}
    assert json_.headers["content-type"] == "application/json"
    assert json_.headers["idempotency-key"].startswith("r/s/")
    assert again.headers["idempotency-key"] == json_.headers["idempotency-key"]  # a retry
    assert form.headers["idempotency-key"] != json_.headers["idempotency-key"]  # another call
    assert form.body == b"a=1+2&b=true"
    assert (text.body, text.headers["idempotency-key"]) == (b"text", "mine")


async def test_values_stay_one_part_of_the_path(web):
    done = await call(
        f"{web.url}/users/{{name}}/mail", path={"name": "../admin?x=1#{{secret:API}}"}
    )
    assert done.error.code == "http_404"
    assert web.asked[0].path == f"/users/{quote('../admin?x=1#{{secret:API}}', safe='')}/mail"
    for name in ("..", ".", "", " "):
        assert (await said(f"{web.url}/{{a}}", path={"a": name})).code == "request_invalid"
    assert (await said(f"{web.url}/{{a}}")).code == "request_invalid"


@pytest.mark.parametrize(
    "args",
    [
        {"body": "x"},
        {"method": "POST", "body": "x", "form": {}},
        {"headers": {"Host": "other"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"headers": {"X-A": "a\r\nX-B: b"}},
    ],
)
async def test_requests_that_make_no_sense_are_refused(web, args):
    assert (await said(web.url, **args)).code == "request_invalid"
    assert web.asked == []


@pytest.mark.parametrize(
    ("status", "retryable"), [(400, False), (404, False), (409, False), (429, True), (503, True)]
)
async def test_a_status_says_whether_to_try_again(web, status, retryable):
    web.pages["/"] = Page('{"why": "no"}', status, "application/json", {"Retry-After": "7"})
    error = await said(web.url)
    assert (error.code, error.retryable) == (f"http_{status}", retryable)
    assert error.retry_after_s == (7 if retryable else None)
    assert '{"why": "no"}' in error.message
    assert (await call(web.url, also_ok=[status])).output["status"] == status


# -- secrets ---------------------------------------------------------------------------------------


def echoes(request):
    """Answer with all that was sent, in as many spellings as servers have."""
    sent = request.headers.get("authorization", "") + request.headers.get("x-key", "")
    answer = {
        "plain": sent,
        "query": request.path,
        "hex": sent.encode().hex(),
        "base64": [base64.b64encode(f"{'x' * n}{sent}".encode()).decode() for n in range(3)],
        sent: "as a name",
        "body": request.body.decode(),
    }
    headers = {"x-echo": quote(sent), "set-cookie": f"key={quote(sent)}"}
    return Page(json.dumps(answer), type="application/json", headers=headers)


SECRETIVE = {
    "headers": {"Authorization": "Bearer {{secret:API}}", "X-Key": "{{ secret:API }}"},
    "query": {"key": "{{secret:API}}"},
}


def shown(done, logs):
    """All that anybody could read of a step."""
    return done.model_dump_json() + logs.text


def leaks(text):
    spellings = [KEY, json.dumps(KEY)[1:-1], quote(KEY), quote(KEY, safe=""), KEY.encode().hex()]
    spellings += [json.dumps(spelling)[1:-1] for spelling in spellings]
    spellings += ["very", base64.b64encode(KEY.encode()).decode()[:16]]
    return [spelling for spelling in spellings if spelling in text]


@pytest.fixture
def logs():
    """Everything that libraries log at their most talkative."""
    with logged(level="debug") as lines:
        yield lines


async def test_a_secret_reaches_the_api_and_nobody_else(web, logs):
    web.pages["/"] = echoes
    done = await call(web.url, method="POST", body={"a": "{{secret:API}}"}, **SECRETIVE)
    assert done.error is None
    assert web.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert web.asked[0].path == f"/?key={quote(KEY, safe='')}"
    assert json.loads(web.asked[0].body) == {"a": "{{secret:API}}"}  # a body holds others' words
    assert done.output["body"]["plain"] == "Bearer [secret API][secret API]"
    assert leaks(shown(done, logs)) == []


async def test_a_secret_goes_into_a_body_only_where_the_plan_says_so(web):
    web.pages["/"] = echoes
    done = await call(web.url, method="POST", body=[{"a": "{{secret:API}}"}], secrets_in_body=True)
    assert json.loads(web.asked[0].body) == [{"a": KEY}]
    assert json.loads(done.output["body"]["body"]) == [{"a": "[secret API]"}]


@pytest.mark.parametrize(
    ("status", "type_", "body"),
    [
        (401, "application/json", json.dumps({"error": f"bad key {KEY}"})),
        (503, "text/plain", f"bad key {KEY} {quote(KEY)}"),
        (200, "application/json", f"broken {json.dumps(KEY)}"),
        (200, "application/octet-stream", b"\x00" + KEY.encode()),
        (200, f"text/x; v={quote(KEY)}", KEY),
    ],
)
async def test_a_secret_in_an_answer_is_taken_out_of_results_and_errors(
    web, logs, status, type_, body
):
    web.pages["/"] = Page(body, status, type_)
    done = await call(web.url, **SECRETIVE)
    assert leaks(shown(done, logs)) == []


async def test_a_secret_in_a_redirect_or_a_broken_answer_stays_secret(web, logs):
    for headers in (
        {"location": f"http://169.254.169.254/{quote(KEY)}"},
        {"location": f"{web.url}:99999/{KEY}"},
        {"location": f"ftp://x/{quote(KEY)}"},
        {"location": "/", "content-encoding": quote(KEY)[:30]},
    ):
        web.pages["/"] = Page(status=302, headers=headers)
        done = await call(web.url, **SECRETIVE)
        assert done.error is not None
        assert leaks(shown(done, logs)) == []


async def test_a_secret_goes_nowhere_but_to_its_origin(web, monkeypatch):
    with web_server() as other:
        assert (await said(other.url, **SECRETIVE)).code == "secret_forbidden"
        web.pages["/"] = Page(status=302, headers={"location": other.url})
        error = await said(web.url, **SECRETIVE)
        assert error.code == "secret_forbidden"
        assert f'STARLINGS_SECRET_ORIGINS if it shall: {{"API": ["{other.url}"]}}' in error.message
        assert other.asked == []
    monkeypatch.delenv("STARLINGS_SECRET_ORIGINS")
    assert (await said(web.url, **SECRETIVE)).code == "secret_forbidden"


async def test_a_redirect_elsewhere_gets_no_credentials_that_the_plan_wrote_out(web):
    with web_server() as other:
        other.pages["/"] = Page("there")
        web.pages["/"] = Page(status=302, headers={"location": other.url})
        headers = {"Authorization": "Basic dTpw", "Cookie": "a=b", "X-Other": "1"}
        assert (await call(web.url, headers=headers)).output["body"] == "there"
    assert {"authorization", "cookie"} & set(other.asked[0].headers) == set()
    assert other.asked[0].headers["x-other"] == "1"


async def test_a_secret_with_a_line_end_within_is_refused_and_not_quoted(web, monkeypatch):
    monkeypatch.setenv("STARLINGS_SECRET_API", f"{KEY}\r\nX-Evil: 1")
    error = await said(web.url, **SECRETIVE)
    assert error.code == "secret_unusable"
    assert leaks(error.model_dump_json()) == []
    monkeypatch.setenv("STARLINGS_SECRET_API", "short")
    assert (await said(web.url, **SECRETIVE)).code == "secret_unusable"


async def test_secrets_come_from_files_too(web, monkeypatch, tmp_path):
    monkeypatch.delenv("STARLINGS_SECRET_API")
    error = await said(web.url, **SECRETIVE)
    assert error.code == "secret_unknown"
    assert "STARLINGS_SECRET_API" in error.message
    (tmp_path / "API").write_text(f"{KEY}\n")
    monkeypatch.setenv("STARLINGS_SECRETS_FOLDER", str(tmp_path))
    web.pages["/"] = Page()
    assert (await call(web.url, **SECRETIVE)).error is None
    assert web.asked[0].headers["x-key"] == KEY


async def test_a_plan_can_undo_a_call_by_another_call(web):
    web.pages["/things/7"] = Page(status=204)
    args = {
        "url": f"{web.url}/things/{{id}}",
        "method": "DELETE",
        "path": {"id": "{{steps.s.output.body.id}}"},
        "also_ok": [404],
    }
    output = {"status": 201, "body": {"id": 7}}
    done = await execute_compensation(
        agent,
        CompensationReady(
            run_id="r",
            step_id="s",
            attempt=1,
            number=1,
            agent="http",
            tool="request",
            args=args,
            context=[{"step_id": "s", "agent": "http", "output": output, "summary": ""}],
        ),
    )
    assert done.error is None
    assert (web.asked[0].method, web.asked[0].path) == ("DELETE", "/things/7")
    assert web.asked[0].headers["idempotency-key"].startswith("r/s/compensation/")
