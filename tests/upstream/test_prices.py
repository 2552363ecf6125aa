from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app.protocol.usage import Usage
from app.record import Price
from app.upstream.prices import TieredPrice, listed_price, price_of, snapshot_name
from app.upstream.spec import ModelSpec, UpstreamSpec

OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com/v1"
GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai"
TOGETHER = "https://api.together.xyz/v1"
OPENROUTER = "https://openrouter.ai/api/v1"
MISTRAL = "https://api.mistral.ai/v1"
MOONSHOT = "https://api.moonshot.ai/v1"


def usd(*values: str | None) -> Price:
    first, second, third = (None if value is None else Decimal(value) for value in values)
    assert first is not None
    assert second is not None
    return Price(first, second, third)


def priced(upstream: dict[str, Any], **model: Any) -> tuple[Price | None, str]:
    spec = ModelSpec.model_validate({"upstream": "up", "model": "gpt-4o", **model})
    found = price_of(spec.entries()[0], UpstreamSpec.model_validate(upstream))
    return found.price, found.source


@pytest.mark.parametrize(
    ("url", "model", "price"),
    [
        (OPENAI, "gpt-4o", usd("2.5", "10", "1.25")),
        (OPENAI, "gpt-4o-2024-08-06", usd("2.5", "10", "1.25")),
        (OPENAI, "gpt-4o-2024-05-13", usd("5", "15", None)),
        (OPENAI, "text-embedding-3-small", usd("0.02", "0", None)),
        (ANTHROPIC, "claude-3-5-haiku-20241022", usd("0.8", "4", "0.08")),
        (ANTHROPIC, "claude-opus-4-5", usd("5", "25", "0.5")),
        (TOGETHER, "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo", usd("0.18", "0.18", None)),
        (OPENROUTER, "openai/gpt-4.1", usd("2", "8", "0.5")),
        (MISTRAL, "mistral-large-latest", usd("2", "6", None)),
        (MOONSHOT, "kimi-k2-0905-preview", usd("0.6", "2.5", "0.15")),
    ],
)
def test_a_known_model_at_its_vendors_address_has_its_list_price(
    url: str, model: str, price: Price
) -> None:
    assert listed_price(url, model) == price


@pytest.mark.parametrize(
    "url",
    [
        "https://llm.example.com/v1",
        "https://api.openai.com.evil.example/v1",
        "https://evil.example/api.openai.com/v1",
        "https://evil.example/x.googleapis.com",
        "https://api.moonshot.evil.example/v1",
        "https://api.openai.com:8443/v1",
        "http://api.openai.com/v1",
        "http://localhost:8000/v1",
    ],
)
@pytest.mark.parametrize("model", ["gpt-4o", "gemini-2.5-pro", "kimi-k2-0905-preview"])
def test_an_address_that_is_not_the_vendors_has_no_price(url: str, model: str) -> None:
    assert listed_price(url, model) is None


@pytest.mark.parametrize(
    ("url", "model"),
    [
        (OPENAI, "gpt-4o-mine"),
        (ANTHROPIC, "claude-opus-4-5-turbo"),
        (GEMINI, "gemini-2.5-pro-preview-05-06"),
        ("https://mine.openai.azure.com/openai/v1", "gpt-4o"),
    ],
)
def test_a_name_that_only_begins_like_a_known_one_has_no_price(url: str, model: str) -> None:
    assert listed_price(url, model) is None


def test_a_price_that_also_counts_requests_is_not_known() -> None:
    assert listed_price("https://api.perplexity.ai", "sonar") is None


def test_what_is_set_aside_is_of_the_dearest_tier_and_what_is_booked_of_the_prompts() -> None:
    price = listed_price(GEMINI, "gemini-2.5-pro")
    assert isinstance(price, TieredPrice)
    assert (price.input, price.output, price.cached_input) == (
        Decimal("2.5"),
        Decimal(15),
        Decimal("0.25"),
    )
    assert price.of(Usage(200_000, 1_000)) == Decimal("0.26")
    assert price.of(Usage(200_001, 1_000)) == Decimal("0.5150025")


def test_a_tier_beyond_the_models_context_is_left_out() -> None:
    price = listed_price(GEMINI, "gemini-2.5-pro", context=200_000)
    assert price == usd("1.25", "10", "0.125")


def test_a_price_with_hours_counts_as_in_the_dearest_hour() -> None:
    """In the snapshot DeepSeek was cheaper between 16:30 and 00:30 UTC, once."""
    hours = (datetime(2025, 5, 1, hour, tzinfo=UTC) for hour in (12, 20))
    day, night = (
        listed_price("https://api.deepseek.com/v1", "deepseek-chat", today=hour) for hour in hours
    )
    assert day is not None
    assert day == night


def test_the_configured_price_wins() -> None:
    price = {"input": Decimal(1), "output": Decimal(2)}
    assert priced({"base_url": OPENAI}, price=price) == (Price(Decimal(1), Decimal(2)), "config")


def test_without_one_the_snapshot_says_so() -> None:
    assert priced({"base_url": OPENAI}) == (usd("2.5", "10", "1.25"), "snapshot")
    assert snapshot_name().startswith("genai-prices 0.")


def test_an_embedded_model_costs_nothing() -> None:
    assert priced({"llama_cpp": {"model": "m.gguf"}}) == (Price(Decimal(0), Decimal(0)), "embedded")


def test_what_nobody_knows_stays_unknown() -> None:
    assert priced({"base_url": "https://llm.example.com/v1"}) == (None, "unknown")


def test_every_price_is_an_exact_decimal() -> None:
    from genai_prices.data import providers  # noqa: PLC0415 - as the code does: heavy

    found = [listed_price(OPENROUTER, each.id) for p in providers for each in p.models]
    known = [price for price in found if price is not None]
    assert len(known) > 100
    for price in known:
        kinds = (price.input, price.output, price.cached_input)
        assert all(kind is None or isinstance(kind, Decimal) for kind in kinds)


def test_the_snapshot_is_not_imported_for_local_models() -> None:
    code = (
        "import sys\n"
        "from app.upstream.prices import listed_price\n"
        "listed_price('http://ollama:11434/v1', 'gpt-4o')\n"
        "sys.exit('genai_prices' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
