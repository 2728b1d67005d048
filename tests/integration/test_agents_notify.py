"""The agent `notify` against real webhooks and a real mail server on loopback."""

from __future__ import annotations

import json
import socket
import ssl

import pytest
from support.certificates import Authority
from support.mail_server import mail_server
from support.web_server import Page, web_server

from starlings.agents.compensate import execute_compensation
from starlings.agents.execute import execute
from starlings.messages import CompensationReady, StepReady
from starlings_agents.notify import agent

TOKEN = "/services/T000/B000/s3cr3ttoken0123"
PASSWORD = "correct-horse+battery"


@pytest.fixture
def web(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # away from anybody's .env
    with web_server() as served:
        served.pages[TOKEN] = Page("ok")
        monkeypatch.setenv("STARLINGS_NOTIFY_SLACK", json.dumps({"ops": served.url + TOKEN}))
        monkeypatch.setenv("STARLINGS_NOTIFY_WEBHOOKS", json.dumps({"billing": served.url + TOKEN}))
        yield served


@pytest.fixture
async def mail(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    async with mail_server() as running:
        monkeypatch.setenv("STARLINGS_NOTIFY_SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("STARLINGS_NOTIFY_SMTP_PORT", str(running.port))
        monkeypatch.setenv("STARLINGS_NOTIFY_SMTP_TLS", "off")
        monkeypatch.setenv("STARLINGS_NOTIFY_MAIL_FROM", "birds@example.org")
        monkeypatch.setenv("STARLINGS_NOTIFY_MAIL_TO", "ann@example.com, @example.net")
        yield running


async def call(tool, *, attempt=1, **args):
    step = StepReady(run_id="r", step_id="s", attempt=attempt, agent="notify", tool=tool, args=args)
    return await execute(agent, step)


async def undo(done):
    """Do what a step has recorded as its compensation."""
    recorded = done.compensation
    result = {"step_id": "s", "agent": "notify", "output": done.output, "summary": ""}
    ready = CompensationReady(
        run_id="r",
        step_id="s",
        attempt=1,
        number=1,
        agent=recorded.agent,
        tool=recorded.tool,
        args=recorded.args,
        context=[result],
    )
    return await execute_compensation(agent, ready)


def posted(web):
    return [json.loads(request.body) for request in web.asked]


# -- webhooks --------------------------------------------------------------------------------------


async def test_a_message_is_posted_to_slack_as_plain_text(web):
    done = await call("slack", text="Done & <!channel> <https://evil.example|click>")
    assert done.error is None
    assert done.output["channel"] == "ops"
    assert posted(web) == [
        {"text": "Done &amp; &lt;!channel&gt; &lt;https://evil.example|click&gt;"}
    ]
    await call("slack", text="*Done*, <!here>", channel="ops", formatted=True)
    assert posted(web)[1] == {"text": "*Done*, <!here>"}
    await call("slack", text="x" * 50_000)
    assert len(posted(web)[2]["text"]) == 30_000


async def test_a_webhook_gets_json_and_a_key_that_tells_repeats(web):
    for attempt, payload in ((1, {"paid": 7}), (2, {"paid": 7}), (2, {"paid": 8})):
        done = await call("webhook", payload=payload, attempt=attempt)
        assert done.error is None
    assert posted(web) == [{"paid": 7}, {"paid": 7}, {"paid": 8}]
    first, again, other = (request.headers["idempotency-key"] for request in web.asked)
    assert first == again != other


@pytest.mark.parametrize("tool", ["slack", "webhook"])
async def test_only_channels_of_the_settings_can_be_written_to(web, monkeypatch, tool):
    text = {"text": "x"} if tool == "slack" else {"payload": 1}
    error = (await call(tool, channel="https://evil.example/", **text)).error
    assert (error.code, error.retryable) == ("unknown_channel", False)
    setting = "STARLINGS_NOTIFY_SLACK" if tool == "slack" else "STARLINGS_NOTIFY_WEBHOOKS"
    monkeypatch.setenv(setting, '{"a": "http://a/", "b": "http://b/"}')
    error = (await call(tool, **text)).error
    assert f"name a channel of {setting}; there are a, b" in error.message
    monkeypatch.delenv(setting)
    assert "there is none" in (await call(tool, **text)).error.message


@pytest.mark.parametrize("value", ["nonsense", '["x"]', '{"ops": "hooks.slack.example/s3cr3t"}'])
async def test_a_wrong_setting_is_named_and_not_quoted(web, monkeypatch, value):
    monkeypatch.setenv("STARLINGS_NOTIFY_SLACK", value)
    done = await call("slack", text="x")
    assert done.error.code == "config"
    assert "STARLINGS_NOTIFY_SLACK is wrong" in done.error.message
    assert value not in done.model_dump_json()


@pytest.mark.parametrize(
    ("page", "code", "retryable"),
    [
        (Page("invalid_payload", status=400), "message_refused", False),
        (Page("no_service", status=404), "message_refused", False),
        (Page("slow down", status=429, headers={"Retry-After": "30"}), "message_not_taken", True),
        (Page("rollup_error", status=500), "message_not_taken", True),
        (Page(status=302, headers={"location": "/elsewhere"}), "message_refused", False),
        (Page(f"cannot post to {TOKEN}", status=403), "message_refused", False),
        (Page(hangs=True), "fetch_timeout", True),
    ],
)
async def test_what_a_webhook_says_decides_and_its_address_stays_secret(
    web, monkeypatch, page, code, retryable
):
    if page.hangs:
        monkeypatch.setenv("STARLINGS_NOTIFY_TIMEOUT_S", "0.2")
    web.pages[TOKEN] = page
    done = await call("slack", text="x")
    assert (done.error.code, done.error.retryable) == (code, retryable)
    assert done.error.retry_after_s == (30 if page.status == 429 else None)
    assert "the webhook ops" in done.error.message
    assert "s3cr3ttoken" not in done.model_dump_json()


async def test_a_webhook_that_is_away_may_come_back(web, monkeypatch):
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}{TOKEN}"
        monkeypatch.setenv("STARLINGS_NOTIFY_SLACK", json.dumps({"ops": url}))
        done = await call("slack", text="x")
    assert (done.error.code, done.error.retryable) == ("unreachable", True)
    assert "s3cr3ttoken" not in done.model_dump_json()


async def test_what_was_posted_is_followed_up_where_the_run_is_undone(web):
    assert (await call("slack", text="Booked")).compensation is None
    assert (await call("webhook", payload=1)).compensation is None
    done = await call("slack", text="Booked", follow_up="Not booked after all")
    assert (await undo(done)).error is None
    done = await call("webhook", payload={"booked": True}, follow_up={"booked": False})
    assert (await undo(done)).error is None
    assert posted(web)[3:] == [
        {"text": "Not booked after all"},
        {"booked": True},
        {"booked": False},
    ]


# -- mail ------------------------------------------------------------------------------------------


async def test_a_mail_arrives_with_text_html_and_who_wrote_it(mail):
    done = await call(
        "email",
        to=["ann@example.com", "Bob@Example.NET"],
        subject="Ümlaut\r\nBcc: evil@example.com",
        text="Grüße\n",
        html="<p>Grüße</p>",
    )
    assert done.error is None
    (taken,) = mail.mails
    assert taken["From"] == "birds@example.org"
    assert taken["To"] == "ann@example.com, Bob@Example.NET"
    assert taken["Subject"] == "Ümlaut Bcc: evil@example.com"
    assert (taken["Bcc"], taken["Auto-Submitted"]) == (None, "auto-generated")
    assert taken.get_body(("plain",)).get_content().split() == ["Grüße"]
    assert taken.get_body(("html",)).get_content().split() == ["<p>Grüße</p>"]
    assert done.output == {
        "message_id": taken["Message-ID"],
        "to": ["ann@example.com", "Bob@Example.NET"],
        "refused": [],
    }


async def test_a_repeat_is_the_same_mail_and_another_mail_is_not(mail):
    for attempt, subject in ((1, "a"), (2, "a"), (2, "b")):
        done = await call(
            "email", to=["ann@example.com"], subject=subject, text="x", attempt=attempt
        )
        assert done.error is None
    first, again, other = (taken["Message-ID"] for taken in mail.mails)
    assert first == again != other
    assert first.endswith("@example.org>")


async def test_a_mail_is_followed_up_where_the_run_is_undone(mail):
    args = {"to": ["ann@example.com"], "subject": "Trip", "text": "Booked"}
    assert (await call("email", **args)).compensation is None
    done = await call("email", follow_up="Not booked after all", **args)
    assert (await undo(done)).error is None
    sent, follow_up = mail.mails[1:]
    assert follow_up["In-Reply-To"] == follow_up["References"] == sent["Message-ID"]
    assert follow_up["Message-ID"] != sent["Message-ID"]
    assert follow_up["Subject"] == "Re: Trip"
    assert follow_up.get_content().strip() == "Not booked after all"


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("eve@example.com", "recipient_forbidden"),
        ("ann@sub.example.net", "recipient_forbidden"),
        ("ann@example.com@evil.example", "arguments_invalid"),
        ("ann@example.com,eve@evil.example", "arguments_invalid"),
        ("Ann <ann@example.com>", "arguments_invalid"),
        ("ann@example.com\nBcc: eve@evil.example", "arguments_invalid"),
    ],
)
async def test_nobody_gets_mail_who_is_not_listed(mail, to, code):
    done = await call("email", to=["ann@example.com", to], subject="x", text="x")
    assert (done.error.code, done.error.retryable) == (code, False)
    assert mail.mails == []


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        ("550 no such mailbox", "mail_refused", False),
        ("451 greylisted, come back", "mail_not_taken", True),
    ],
)
async def test_what_the_mail_server_says_decides_whether_to_try_again(
    mail, answer, code, retryable
):
    args = {"to": ["ann@example.com"], "subject": "x", "text": "x"}
    mail.to_mail = answer
    error = (await call("email", **args)).error
    assert (error.code, error.retryable) == (code, retryable)
    assert answer.partition(" ")[2] in error.message
    mail.to_recipients = {"ann@example.com": answer}
    error = (await call("email", **args)).error
    assert (error.code, error.retryable) == (code, retryable)


async def test_a_mail_that_some_do_not_get_says_who(mail):
    mail.to_recipients = {"bob@example.net": "550 no such mailbox"}
    done = await call("email", to=["ann@example.com", "bob@example.net"], subject="x", text="x")
    assert (done.output["to"], done.output["refused"]) == (["ann@example.com"], ["bob@example.net"])


async def test_a_login_goes_over_tls_alone_and_stays_secret(mail, monkeypatch, tmp_path):
    authority = Authority(tmp_path / "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("mail"))
    args = {"to": ["ann@example.com"], "subject": "x", "text": "x"}
    async with mail_server(context=context, password=PASSWORD) as secured:
        monkeypatch.setenv("STARLINGS_NOTIFY_SMTP_PORT", str(secured.port))
        monkeypatch.setenv("STARLINGS_NOTIFY_SMTP_TLS", "starttls")
        monkeypatch.setenv("STARLINGS_NOTIFY_SMTP_USER", "birds")
        monkeypatch.setenv("STARLINGS_NOTIFY_SMTP_PASSWORD", PASSWORD)
        done = await call("email", **args)
        assert (done.error.code, secured.logins) == ("smtp_untrusted", [])
        monkeypatch.setenv("STARLINGS_NOTIFY_SMTP_CA_FILE", str(authority.cafile))
        assert (await call("email", **args)).error is None
        assert (secured.logins[-1], secured.encrypted) == (("birds", PASSWORD), [True])
        monkeypatch.setenv("STARLINGS_NOTIFY_SMTP_PASSWORD", f"not-{PASSWORD}")
        done = await call("email", **args)
        assert (done.error.code, done.error.retryable) == ("smtp_unauthorized", False)
        assert PASSWORD not in done.model_dump_json()
    monkeypatch.setenv("STARLINGS_NOTIFY_SMTP_PORT", str(mail.port))
    done = await call("email", **args)  # that server speaks no TLS
    assert (done.error.code, mail.logins) == ("smtp_untrusted", [])


async def test_a_mail_server_that_is_away_may_come_back(mail, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("STARLINGS_NOTIFY_SMTP_PORT", str(taken.getsockname()[1]))
        done = await call("email", to=["ann@example.com"], subject="x", text="x")
    assert (done.error.code, done.error.retryable) == ("smtp_unavailable", True)


async def test_a_mail_server_that_says_nothing_is_given_up(mail, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("STARLINGS_NOTIFY_SMTP_PORT", str(silent.getsockname()[1]))
        monkeypatch.setenv("STARLINGS_NOTIFY_TIMEOUT_S", "0.2")
        done = await call("email", to=["ann@example.com"], subject="x", text="x")
    assert (done.error.code, done.error.retryable) == ("smtp_unavailable", True)


async def test_mail_without_a_server_says_what_to_set(mail, monkeypatch):
    monkeypatch.delenv("STARLINGS_NOTIFY_SMTP_HOST")
    done = await call("email", to=["ann@example.com"], subject="x", text="x")
    assert done.error.code == "config"
    assert "STARLINGS_NOTIFY_SMTP_HOST" in done.error.message
