"""The agent `weather`: current weather and forecasts from a server that speaks wttr.in's JSON.

The server is asked once per call, without an account: `<base>/<place>?format=j1`. What may work
later (no connection, timeout, 429, 5xx) is a `TransientError`, for the step's retries; everything
else is a `StepFailed` that says what to do.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

import httpx
from pydantic import AliasPath, BaseModel, BeforeValidator, Field, ValidationError
from pydantic_settings import SettingsConfigDict

from starlings import Agent, Result, StepFailed, TransientError
from starlings.service.settings import load_settings
from starlings_agents.own_settings import OwnSettings

agent = Agent("weather", description="Current weather and forecasts of places, worldwide")

_BODY_LIMIT_BYTES = 2 * 1024 * 1024
_SAID_LIMIT = 100

Place = Annotated[str, Field(min_length=1, max_length=200, pattern=r"[^\s.]")]


class WeatherSettings(OwnSettings):
    """Where the weather comes from."""

    model_config = SettingsConfigDict(env_prefix="STARLINGS_WEATHER_")

    url: str = Field(
        default="https://wttr.in",
        pattern=r"^https?://[^\s/]+",
        description="server that answers `<url>/<place>?format=j1` as wttr.in does",
    )
    timeout_s: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="limit of one question, in seconds"
    )


@dataclass(frozen=True)
class Current:
    """The weather now."""

    place: str
    description: str
    temperature_c: float
    feels_like_c: float
    humidity_percent: float
    wind_km_h: float


@dataclass(frozen=True)
class Day:
    """The weather of one day."""

    date: str
    description: str
    low_c: float
    high_c: float


@dataclass(frozen=True)
class Forecast:
    """The weather of some days, today's first."""

    place: str
    days: list[Day]


@agent.tool(idempotent=True)
async def current_weather(place: Place) -> Result:
    """Gets the current weather of a place: temperature, humidity, wind, description.

    Args:
        place: a town, an airport code or coordinates, such as "Lisbon" or "38.7,-9.1".
    """
    report = await _ask(place)
    now = report.current[0]
    weather = Current(
        place=report.name(place),
        description=now.description.strip(),
        temperature_c=now.temperature_c,
        feels_like_c=now.feels_like_c,
        humidity_percent=now.humidity_percent,
        wind_km_h=now.wind_km_h,
    )
    summary = (
        f"{weather.place}: {weather.description}, {weather.temperature_c:g} °C (feels like "
        f"{weather.feels_like_c:g} °C), humidity {weather.humidity_percent:g} %, "
        f"wind {weather.wind_km_h:g} km/h"
    )
    return Result(output=weather, summary=summary)


@agent.tool(idempotent=True)
async def forecast(place: Place, days: Annotated[int, Field(ge=1, le=3)] = 3) -> Result:
    """Gets the forecast of a place, today first.

    Args:
        place: a town, an airport code or coordinates, such as "Lisbon" or "38.7,-9.1".
        days: how many days.
    """
    report = await _ask(place)
    listed = [Day(d.date, d.noon(), d.low_c, d.high_c) for d in report.days[:days]]
    place = report.name(place)
    summary = "; ".join(
        f"{d.date}: {d.description}, {d.low_c:g} to {d.high_c:g} °C" for d in listed
    )
    return Result(output=Forecast(place, listed), summary=f"{place}: {summary}")


# -- the server's JSON (wttr.in, format=j1): numbers are text, and texts are lists of objects ------


def _text(value: Any) -> Any:
    if isinstance(value, list):
        value = value[0] if value else {}
    return value.get("value", "") if isinstance(value, dict) else value


_Text = Annotated[str, BeforeValidator(_text)]


class _Now(BaseModel):
    temperature_c: float = Field(alias="temp_C")
    feels_like_c: float = Field(alias="FeelsLikeC")
    humidity_percent: float = Field(alias="humidity")
    wind_km_h: float = Field(alias="windspeedKmph")
    description: _Text = Field(default="", alias="weatherDesc")


class _Hour(BaseModel):
    description: _Text = Field(default="", alias="weatherDesc")


class _Day(BaseModel):
    date: str
    low_c: float = Field(alias="mintempC")
    high_c: float = Field(alias="maxtempC")
    hours: list[_Hour] = Field(default_factory=list, alias="hourly")

    def noon(self) -> str:
        return self.hours[len(self.hours) // 2].description.strip() if self.hours else ""


class _Report(BaseModel):
    current: list[_Now] = Field(alias="current_condition", min_length=1)
    days: list[_Day] = Field(alias="weather", min_length=1)
    area: _Text = Field(default="", validation_alias=AliasPath("nearest_area", 0, "areaName"))
    country: _Text = Field(default="", validation_alias=AliasPath("nearest_area", 0, "country"))

    def name(self, asked: str) -> str:
        return ", ".join(part for part in (self.area, self.country) if part) or asked


# -- asking it -------------------------------------------------------------------------------------


async def _ask(place: str) -> _Report:
    settings = load_settings(WeatherSettings)
    url = f"{settings.url.rstrip('/')}/{quote(place.strip(), safe='')}"
    try:
        async with asyncio.timeout(settings.timeout_s):
            response, body = await _get(url)
    except TimeoutError:
        raise TransientError(
            f"no answer from the weather server {settings.url} within {settings.timeout_s:g} s; "
            "STARLINGS_WEATHER_TIMEOUT_S sets the limit",
            code="weather_timeout",
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TransientError(
            f"cannot reach the weather server {settings.url}: {error or type(error).__name__}; "
            "check the network and STARLINGS_WEATHER_URL",
            code="weather_unavailable",
        ) from None
    _check_status(response, place, settings.url)
    return _read(body, place, settings.url)


async def _get(url: str) -> tuple[httpx.Response, bytes]:
    """Ask for a report; of an endless body only the beginning is read."""
    async with (
        httpx.AsyncClient(timeout=None, follow_redirects=True) as client,  # noqa: S113 - the caller's
        client.stream("GET", url, params={"format": "j1"}) as response,
    ):
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _BODY_LIMIT_BYTES:
                break
    return response, bytes(body[: _BODY_LIMIT_BYTES + 1])


def _check_status(response: httpx.Response, place: str, server: str) -> None:
    if response.is_success:
        return
    said = f"the weather server {server} answered HTTP {response.status_code}"
    if response.status_code == httpx.codes.NOT_FOUND:
        raise _unknown(place, server)
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
        wait = response.headers.get("retry-after", "")
        raise TransientError(
            f"{said}; it may work later",
            code="weather_unavailable",
            retry_after_s=float(wait) if wait.isascii() and wait.isdecimal() else None,
        )
    raise StepFailed(f"{said}; check STARLINGS_WEATHER_URL", code="weather_refused")


def _read(body: bytes, place: str, server: str) -> _Report:
    try:
        return _Report.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    if body.lstrip().lower().startswith(b"unknown location"):
        raise _unknown(place, server)
    where = ".".join(str(part) for part in first["loc"])
    begins = " ".join(body[:_SAID_LIMIT].decode(errors="replace").split())
    raise TransientError(  # such servers send apologies in prose, with HTTP 200, when overloaded
        f"the weather server {server} answered with no weather report "
        f"({where + ': ' if where else ''}{first['msg']}); it begins with {begins!r}; if it stays "
        "so, check STARLINGS_WEATHER_URL",
        code="weather_bad_response",
    )


def _unknown(place: str, server: str) -> StepFailed:
    return StepFailed(
        f"the weather server {server} does not know the place {place!r}; name a larger town, or "
        "give coordinates",
        code="place_unknown",
    )
