"""From a question to a message: search, sum up and tell, as one plan in one process."""

from __future__ import annotations

import json

from support.model_server import model_server
from support.search_engine import search_engine
from support.web_server import Page, web_server

from starlings import LocalRun
from starlings.llm import LlmSettings, ModelClient
from starlings_agents.notify import agent as notify
from starlings_agents.web_search import agent as web_search

PLAN = {
    "steps": [
        {"id": "find", "agent": "web_search", "tool": "search", "args": {"query": "starlings"}},
        {
            "id": "read",
            "agent": "web_search",
            "tool": "summarise",
            "args": {"question": "Who leads?", "pages": "{{steps.find.output}}"},
            "depends_on": ["find"],
        },
        {
            "id": "tell",
            "agent": "notify",
            "tool": "slack",
            "args": {
                "text": "{{steps.read.output.summary}} {{steps.read.output.sources[0].url}}",
            },
            "depends_on": ["read"],
        },
    ]
}


async def test_a_plan_searches_reads_and_tells(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # away from anybody's .env
    with search_engine(tmp_path / "engine") as engine, web_server() as web, model_server() as model:
        web.pages["/birds"] = Page("No bird leads the flock.", type="text/plain")
        web.pages["/hook"] = Page("ok")
        engine.found = [("Starlings", f"{web.url}/birds", "about starlings")]
        model.replies("Nobody leads [1].")
        for name, value in {
            "SEARCH_BACKEND": "duckduckgo",
            "SEARCH_PROXY": engine.proxy,
            "SEARCH_CA_FILE": engine.ca_file,
            "FETCH_ALLOW": "127.0.0.1",
            "FETCH_PORTS": str(web.port),
            "NOTIFY_SLACK": json.dumps({"ops": f"{web.url}/hook"}),
        }.items():
            monkeypatch.setenv(f"STARLINGS_{name}", value)
        settings = LlmSettings(openai_base_url=model.base_url, openai_api_key="k")
        async with ModelClient(settings) as client:
            result = await LocalRun(PLAN, agents=[web_search, notify], model=client).run()
        assert [step.error for step in result.steps] == [None, None, None]
        posted = json.loads(web.asked[-1].body)
    assert posted == {"text": f"Nobody leads [1]. {web.url}/birds"}
