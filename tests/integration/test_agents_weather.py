"""The agent `weather` against real HTTP servers on this machine, good ones and bad ones."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from starlings.agents.execute import execute
from starlings.messages import StepReady
from starlings_agents.weather import agent

DAYS = [
    {
        "date": f"2030-05-0{n}",
        "mintempC": str(10 + n),
        "maxtempC": str(20 + n),
        "hourly": [{"weatherDesc": [{"value": text}]} for text in ("Fog", "Sunny ", "Clear")],
    }
    for n in (1, 2, 3)
]
REPORT = {
    "current_condition": [
        {
            "temp_C": "21",
            "FeelsLikeC": "19",
            "humidity": "40",
            "windspeedKmph": "12",
            "weatherDesc": [{"value": "Partly cloudy "}],
            "pressure": "1013",
        }
    ],
    "nearest_area": [
        {"areaName": [{"value": "Lisbon"}], "country": [{"value": "Portugal"}], "population": "0"}
    ],
    "weather": DAYS,
}


class Weather:
    """A weather server; `status`, `headers` and `body` are what it says, whatever is asked."""

    def __init__(self):
        self.status, self.headers, self.body = 200, {}, json.dumps(REPORT).encode()
        self.paths = []
        self.hangs = False
        self.endless = False
        self.stopped = threading.Event()


@contextmanager
def serving(weather):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            weather.paths.append(self.path)
            if weather.hangs:
                weather.stopped.wait(60)
                return
            self.send_response(weather.status)
            for name, value in weather.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(weather.body)
                while weather.endless and not weather.stopped.is_set():
                    self.wfile.write(b" " * 65_536)
            except OSError:
                pass  # the agent had enough

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        weather.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def weather(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # away from anybody's .env
    made = Weather()
    with serving(made) as url:
        monkeypatch.setenv("STARLINGS_WEATHER_URL", f"{url}/")
        yield made


async def ask(tool="current_weather", **args):
    args = {"place": "Lisbon", **args}
    step = StepReady(run_id="r", step_id="s", attempt=1, agent="weather", tool=tool, args=args)
    return await execute(agent, step)


async def test_the_current_weather_comes_with_numbers_and_a_sentence(weather):
    done = await ask()
    assert done.error is None
    assert done.output == {
        "place": "Lisbon, Portugal",
        "description": "Partly cloudy",
        "temperature_c": 21.0,
        "feels_like_c": 19.0,
        "humidity_percent": 40.0,
        "wind_km_h": 12.0,
    }
    assert done.summary == (
        "Lisbon, Portugal: Partly cloudy, 21 °C (feels like 19 °C), humidity 40 %, wind 12 km/h"
    )


async def test_a_forecast_has_as_many_days_as_asked_for(weather):
    done = await ask("forecast", days=2)
    assert done.output == {
        "place": "Lisbon, Portugal",
        "days": [
            {"date": "2030-05-01", "description": "Sunny", "low_c": 11.0, "high_c": 21.0},
            {"date": "2030-05-02", "description": "Sunny", "low_c": 12.0, "high_c": 22.0},
        ],
    }
    assert "2030-05-02: Sunny, 12 to 22 °C" in done.summary
    assert len((await ask("forecast")).output["days"]) == 3
    assert (await ask("forecast", days=9)).error.code == "arguments_invalid"


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("São Paulo", "/S%C3%A3o%20Paulo?format=j1"),
        (" 38.7,-9.1 ", "/38.7%2C-9.1?format=j1"),
        ("../admin?x=1#y", "/..%2Fadmin%3Fx%3D1%23y?format=j1"),
    ],
)
async def test_a_place_stays_one_part_of_the_path_whatever_it_says(weather, place, path):
    assert (await ask(place=place)).error is None
    assert weather.paths == [path]


@pytest.mark.parametrize("place", ["", "  ", "x" * 201, ".", ".."])
async def test_a_place_without_a_name_is_refused(weather, place):
    assert (await ask(place=place)).error.code == "arguments_invalid"
    assert weather.paths == []


async def test_a_report_without_a_name_of_the_place_takes_the_one_asked_for(weather):
    weather.body = json.dumps({**REPORT, "nearest_area": []}).encode()
    assert (await ask()).output["place"] == "Lisbon"


@pytest.mark.parametrize(
    ("status", "body", "code", "retryable", "words"),
    [
        (404, b"", "place_unknown", False, "does not know the place 'Lisbon'"),
        (200, b"Unknown location; please try ~1,2", "place_unknown", False, "coordinates"),
        (500, b"", "weather_unavailable", True, "HTTP 500"),
        (403, b"", "weather_refused", False, "check STARLINGS_WEATHER_URL"),
        (302, b"", "weather_refused", False, "HTTP 302"),
        (200, b"Sorry, we are out of queries", "weather_bad_response", True, "'Sorry, we are"),
        (200, b"", "weather_bad_response", True, "begins with ''"),
        (200, b"\xff{", "weather_bad_response", True, "STARLINGS_WEATHER_URL"),
        (200, b"{}", "weather_bad_response", True, "current_condition: Field required"),
        (200, b'{"current_condition": []}', "weather_bad_response", True, "current_condition"),
    ],
)
async def test_what_the_server_answers_instead_of_weather_is_said_plainly(
    weather, status, body, code, retryable, words
):
    weather.status, weather.body = status, body
    done = await ask()
    assert (done.error.code, done.error.retryable) == (code, retryable)
    assert words in done.error.message


async def test_the_servers_wish_to_be_left_alone_for_a_while_is_handed_on(weather):
    weather.status, weather.headers = 429, {"Retry-After": "30"}
    done = await ask()
    assert (done.error.code, done.error.retry_after_s) == ("weather_unavailable", 30)
    weather.headers = {"Retry-After": "soon"}
    assert (await ask()).error.retry_after_s is None


async def test_a_server_that_hangs_is_given_up_after_the_timeout(weather, monkeypatch):
    monkeypatch.setenv("STARLINGS_WEATHER_TIMEOUT_S", "0.05")
    weather.hangs = True
    done = await ask()
    assert (done.error.code, done.error.retryable) == ("weather_timeout", True)
    assert "within 0.05 s; STARLINGS_WEATHER_TIMEOUT_S" in done.error.message


async def test_of_an_endless_body_only_the_beginning_is_read(weather):
    weather.endless, weather.body = True, b"{"
    assert (await ask()).error.code == "weather_bad_response"


async def test_a_server_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("STARLINGS_WEATHER_URL", url)
        done = await ask()
    assert (done.error.code, done.error.retryable) == ("weather_unavailable", True)
    assert url in done.error.message
    assert "STARLINGS_WEATHER_URL" in done.error.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STARLINGS_WEATHER_URL", "wttr.in"),
        ("STARLINGS_WEATHER_URL", "ftp://wttr.in"),
        ("STARLINGS_WEATHER_TIMEOUT_S", "soon"),
        ("STARLINGS_WEATHER_TIMEOUT_S", "0"),
    ],
)
async def test_a_wrong_setting_is_named(monkeypatch, tmp_path, name, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    done = await ask()
    assert done.error.code == "config"
    assert name in done.error.message
