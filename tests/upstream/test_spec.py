from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from app.upstream.spec import ModelSpec, Timeouts, UpstreamSpec
from app.upstream.spec_guards import BreakerSpec, ConcurrencySpec

BASE = {"base_url": "https://api.example.com/v1"}


def upstream(**fields: Any) -> UpstreamSpec:
    return TypeAdapter(UpstreamSpec).validate_json(orjson.dumps({**BASE, **fields}), strict=True)


def model(**fields: Any) -> ModelSpec:
    data = orjson.dumps({"upstream": "up", "model": "m", **fields})
    return TypeAdapter(ModelSpec).validate_json(data, strict=True)


@pytest.mark.parametrize(
    ("url", "is_told"),
    [("127.0.0.1:11434", True), ("localhost:11434/v1", True), ("ftp://a.example", False)],
)
def test_an_address_without_its_scheme_is_told_so(url: str, *, is_told: bool) -> None:
    with pytest.raises(ValidationError, match="expected an address") as refusal:
        upstream(base_url=url)
    assert ("http:// or https:// is missing" in str(refusal.value)) is is_told


def test_an_address_is_enough() -> None:
    spec = upstream(base_url="https://api.example.com/v1/")
    assert spec.base_url == "https://api.example.com/v1"
    assert spec.timeouts == Timeouts(connect=10, first_token=120, idle=60)
    assert spec.transport == "aiohttp"


@pytest.mark.parametrize(
    "url",
    [
        "api.example.com",
        "ftp://api.example.com",
        "https://",
        "https://user:pass@api.example.com",
        "https://@api.example.com",
        "https://api.example.com/v1?key=x",
        "https://api.example.com/v1?",
        "https://api.example.com/v1#x",
        "https://api.example.com/v1\r\nx: y",
        "https://api.example.com/a b",
        "https://api.example.com:99999/v1",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        upstream(base_url=url)


def test_exactly_one_kind_of_server_is_named() -> None:
    assert upstream(base_url=None, llama_cpp={}).llama_cpp is not None
    with pytest.raises(ValidationError, match="exactly one of base_url and llama_cpp"):
        upstream(llama_cpp={})
    with pytest.raises(ValidationError, match="exactly one of base_url and llama_cpp"):
        upstream(base_url=None)


@pytest.mark.parametrize(
    "headers",
    [
        {"x": "a\r\nb: c"},
        {"x": "a\nb"},
        {"x": "a\x00"},
        {"x": "ü"},
        {"x": " a"},
        {"x\r\ny": "a"},
        {"x y": "a"},
        {"": "a"},
        {"x:": "a"},
        {"Content-Length": "3"},
        {"Transfer-Encoding": "chunked"},
        {"X-MoA-Hops": "0"},
    ],
)
def test_headers_that_break_a_request_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        upstream(headers=headers)
    with pytest.raises(ValidationError):
        model(headers=headers)


def test_a_key_with_a_line_break_is_refused_without_being_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        upstream(api_key="sk-secret\r\nx: y")
    assert "sk-secret" not in str(caught.value)


def test_the_auth_header_is_not_written_twice() -> None:
    with pytest.raises(ValidationError, match="must not repeat"):
        upstream(api_key="k", headers={"Authorization": "Bearer other"})
    assert upstream(headers={"Authorization": "Bearer other"}).headers


@pytest.mark.parametrize("field", ["model", "messages", "stream"])
def test_fields_the_gateway_writes_are_not_to_be_changed(field: str) -> None:
    for change in ({"drop": [field]}, {"rename": {field: "x"}}, {"rename": {"x": field}}):
        with pytest.raises(ValidationError, match="gateway writes"):
            upstream(**change)
    with pytest.raises(ValidationError, match="gateway writes"):
        upstream(extra_body={field: 1})


def test_an_upstream_tries_again_and_breaks_the_circuit_unless_told_otherwise() -> None:
    spec = upstream()
    assert (spec.retries, spec.breaker) == (2, BreakerSpec())
    assert (spec.concurrency, spec.hedge) == ("off", "off")


def test_what_a_model_says_of_its_guards_goes_before_its_upstream() -> None:
    above = upstream(breaker={"failures": 3, "rest": "9s"}, concurrency={"limit": 8, "queue": 1})
    spec = model(breaker={"failures": 7}, concurrency=2).over(above)
    assert spec.breaker == BreakerSpec(failures=7, rest=9.0)
    assert spec.concurrency == ConcurrencySpec(limit=2, queue=1)
    assert model(breaker="off", concurrency="off").over(above).breaker == "off"
    assert model().over(above).concurrency == ConcurrencySpec(limit=8, queue=1)


@pytest.mark.parametrize("setting", ["retries", "breaker", "hedge", "concurrency"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "always", [], {"unknown": 1}])
@pytest.mark.parametrize("build", [upstream, model])
def test_a_guard_that_is_none_is_refused(
    build: Callable[..., UpstreamSpec | ModelSpec], setting: str, value: object
) -> None:
    with pytest.raises(ValidationError):
        build(**{setting: value})


def test_nobody_tries_more_than_five_times_again() -> None:
    assert upstream(retries=5).retries == 5
    with pytest.raises(ValidationError):
        upstream(retries=6)


@pytest.mark.parametrize("proxy", ["proxy:3128", "socks5://proxy", "http://"])
def test_a_proxy_is_an_http_address(proxy: str) -> None:
    with pytest.raises(ValidationError):
        upstream(proxy=proxy)


@pytest.mark.parametrize("timeouts", [{"idle": 0}, {"connect": -1}, {"total": 5}])
def test_timeouts_are_positive_and_known(timeouts: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        upstream(timeouts=timeouts)
    with pytest.raises(ValidationError):
        model(timeouts=timeouts)


def test_secrets_are_not_printed() -> None:
    spec = upstream(
        api_key="k-e-y",
        headers={"x": "s-e-c-r-e-t"},
        proxy="http://user:pass-word@proxy:3128",
    )
    for secret in ("k-e-y", "s-e-c-r-e-t", "pass-word"):
        assert secret not in repr(spec)


def test_a_price_is_exact_and_never_negative() -> None:
    price = model(price={"input": 0.9, "output": 0.1, "cached_input": 0}).price
    assert price is not None
    assert (price.input, price.output, price.cached_input) == (Decimal("0.9"), Decimal("0.1"), 0)
    for bad in ({"input": -1, "output": 1}, {"input": 1}, {"input": 1, "output": "NaN"}):
        with pytest.raises(ValidationError):
            model(price=bad)


def test_a_model_overrides_its_upstream_field_by_field() -> None:
    over = model(
        headers={"X-B": "2"},
        query={"b": "2"},
        extra_body={"b": 2},
        drop=["b"],
        rename={"b": "B"},
        timeouts={"idle": "5s"},
        vision=False,
    )
    spec = over.over(
        upstream(
            headers={"x-a": "1", "x-b": "1"},
            query={"a": "1", "b": "1"},
            extra_body={"a": 1, "b": 1},
            drop=["a"],
            rename={"a": "A"},
            timeouts={"connect": 1},
            tools=False,
        )
    )
    assert spec.headers == {"x-a": "1", "x-b": "2"}
    assert spec.query == {"a": "1", "b": "2"}
    assert spec.extra_body == {"a": 1, "b": 2}
    assert spec.drop == ("a", "b")
    assert spec.rename == {"a": "A", "b": "B"}
    assert spec.timeouts == Timeouts(connect=1, idle=5)
    assert (spec.vision, spec.audio, spec.tools) == (False, True, False)


@pytest.mark.parametrize("build", [upstream, model])
def test_headers_that_differ_by_case_only_are_refused(
    build: Callable[..., UpstreamSpec | ModelSpec],
) -> None:
    with pytest.raises(ValidationError, match="x-a is there twice") as refusal:
        build(headers={"X-A": "s-e-c-r-e-t", "x-a": "b"})
    assert "s-e-c-r-e-t" not in str(refusal.value)
