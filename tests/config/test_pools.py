from pathlib import Path

import pytest

from app.upstream.spec import PriceSpec
from app.upstream.spec_guards import BreakerSpec, ConcurrencySpec, HedgeSpec

DOCUMENT = Path(__file__).parents[2] / "docs/configuration.md"
UPSTREAMS = "upstreams: {a: {base_url: https://a.example}, b: {base_url: https://b.example}}\n"
GRAPHS = "\ngraphs: {g: {layers: [{proposers: [m]}], aggregator: m}}\naliases: {other: n}\n"
BOTH = "deployments: [{upstream: a, model: x}, {upstream: b, model: x}]"
ONE = "upstream: a, model: x"


def test_a_pool_with_everything_loads(folder):
    loaded = folder.load(
        f"""
        {UPSTREAMS}
        models:
          n: {{{ONE}, concurrency: 4, retries: 0}}
          m:
            deployments:
              - {{upstream: a, model: x, weight: 2, concurrency: {{limit: 8, queue: 0}}}}
              - {{upstream: b, model: y, breaker: off}}
            hedge: {{quantile: 0.9}}
            breaker: {{failures: 3, rest: 2s}}
            fallback: [n]
            deadline: 1m
            sticky: false
        """.replace("\n        ", "\n")
    )
    spec = loaded.config.models["m"]
    first, second = spec.entries()
    assert (first.weight, first.breaker.failures, first.concurrency.limit) == (2.0, 3, 8)
    assert (second.model, second.breaker) == ("y", "off")
    assert (spec.fallback, spec.deadline, spec.sticky) == (("n",), 60.0, False)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        (
            "deployments: [{upstream: a, model: x}, {upstream: bb, model: x}]",
            'deployments[1].upstream: found "bb", which is no upstream; did you mean "b"? ',
        ),
        ("deployments: []", "deployments: found an empty list, expected a list that is not empty"),
        ("deployments: {a: x}", "deployments: found a mapping, expected a list that is not empty"),
        ("deployments: [a]", "deployments[0]: found text, expected a mapping"),
        ("deployments: [{upstream: a}]", "deployments[0].model: is missing, expected text"),
        (
            "deployments: [{upstream: a, model: x, wieght: 2}]",
            'deployments[0].wieght: unknown field; did you mean "weight"? accepted: ',
        ),
        (
            "deployments: [{upstream: a, model: x, weight: 0}]",
            "deployments[0].weight: found 0, expected a number > 0",
        ),
        (
            "deployments: [{upstream: a, model: x}, {upstream: a, model: x}]",
            "deployments: [1] is the same as [0]; give [0] more weight",
        ),
        (f"{ONE}, {BOTH}", "expected either both of `upstream` and `model`, or `deployments`"),
        ("upstream: a", "expected either both of `upstream` and `model`, or `deployments`"),
        (f"{ONE}, retries: 6", "retries: found 6, expected a number ≤ 5"),
        (f"{ONE}, deadline: soon", 'deadline: found "soon", expected seconds or a duration'),
        (f"{ONE}, breaker: on", 'breaker: found "on", expected "off" or a mapping'),
        (f"{ONE}, breaker: false", 'breaker: found false, expected "off" or a mapping'),
        (f"{ONE}, breaker: {{rest: 0s}}", "breaker.rest: found "),
        (
            f"{ONE}, breaker: {{failure: 1}}",
            'breaker.failure: unknown field; did you mean "failures"? accepted: ',
        ),
        (
            f"{ONE}, concurrency: many",
            'concurrency: found "many", expected "off" or an integer ≥ 1 or a mapping',
        ),
        (f"{ONE}, concurrency: 0", "concurrency: found 0, expected a number ≥ 1"),
        (f"{ONE}, concurrency: {{limit: 0}}", "concurrency.limit: found 0, expected a number ≥ 1"),
        (f"{ONE}, concurrency: {{}}", "concurrency.limit: is missing, expected an integer ≥ 1"),
        (
            f"{BOTH}, hedge: sometimes",
            'hedge: found "sometimes", expected one of "off", "on" or a mapping',
        ),
        (
            f"{ONE}, hedge: on",
            (
                'hedge: found "on", but the pool has one deployment and no second to ask; '
                'expected "off", or two `deployments` at least'
            ),
        ),
        (
            "deployments: [{upstream: a, model: x}], hedge: {least: 1s}",
            "hedge: found a mapping, but the pool has one deployment",
        ),
        (f"{ONE}, fallback: n", 'fallback: found "n", expected a list'),
        (
            f"{ONE}, fallback: [n, m]",
            'fallback[1]: found "m", which is the pool itself; accepted: n',
        ),
        (
            f"{ONE}, fallback: [g]",
            (
                'fallback[0]: found "g", which is a graph; a pool falls back to other pools; '
                "accepted: n"
            ),
        ),
        (
            f"{ONE}, fallback: [other]",
            'fallback[0]: found "other", which is an alias; name its target; accepted: n',
        ),
        (f"{ONE}, fallback: [o]", 'fallback[0]: found "o", which is no model; accepted: n'),
        (
            f"{ONE}, fallback: [n, n]",
            'fallback[1]: found "n", which is in the list already; did you mean "n"? accepted: n',
        ),
    ],
)
def test_a_pool_that_cannot_be_is_refused_where_it_is_wrong(refusal, pool, message):
    text = f"{UPSTREAMS}models:\n  n: {{upstream: a, model: n}}\n  m: {{{pool}}}{GRAPHS}"
    told = refusal(text)
    assert told.startswith("main.yaml:4: models.m")
    assert message in told
    assert "\n" not in told


def test_one_wrong_field_is_one_problem(refusal):
    told = refusal(f"{UPSTREAMS}models: {{m: {{{ONE}, concurrency: {{limit: no, patience: 1s}}}}}}")
    assert told == ('main.yaml:2: models.m.concurrency.limit: found "no", expected an integer ≥ 1')


def test_the_key_of_a_deployment_is_never_shown(refusal):
    told = refusal(
        f"{UPSTREAMS}models: {{m: {{deployments: [{{upstream: a, model: x, api_key: 12345}}]}}}}"
    )
    assert "models.m.deployments[0].api_key: found a number" in told
    assert "12345" not in told


def test_pools_may_fall_back_to_each_other(folder):
    loaded = folder.load(
        f"""{UPSTREAMS}models:
  a: {{{ONE}, fallback: [b, c]}}
  b: {{{ONE}, fallback: [a]}}
  c: {{{ONE}, fallback: [b]}}
"""
    )
    models = loaded.config.models
    assert {name: models[name].fallback for name in "abc"} == {
        "a": ("b", "c"),
        "b": ("a",),
        "c": ("b",),
    }


def test_pools_may_share_a_fallback(folder):
    text = f"{UPSTREAMS}models:\n  end: {{{ONE}}}\n"
    text += "".join(f"  m{n}: {{{ONE}, fallback: [m{n - 1}, end]}}\n" for n in range(1, 9))
    loaded = folder.load(text + f"  m0: {{{ONE}, fallback: [end]}}\n")
    assert loaded.config.models["m8"].fallback == ("m7", "end")


def test_the_pools_of_the_documentation_are_as_it_says(folder):
    _, _, section = DOCUMENT.read_text("utf-8").partition("\n## Pools\n")
    example = section.split("```yaml\n")[1].split("```")[0]
    keys = dict.fromkeys(("OPENAI_API_KEY", "AZURE_API_KEY", "OTHER_OPENAI_KEY"), "k")
    config = folder.load(example, keys).config
    gpt, small = config.models["gpt"], config.models["small"]
    first, second, third = gpt.entries()
    assert (first.weight, second.weight, third.weight) == (2, 1, 1)
    cheap, dear = ({"input": "1.5", "output": "8"}, {"input": "2", "output": "9"})
    assert first.price == second.price == PriceSpec.model_validate(cheap)
    assert third.price == PriceSpec.model_validate(dear)
    breaker = BreakerSpec(failures=3, rest=2.0)
    assert [entry.over(config.upstreams[entry.upstream]).breaker for entry in gpt.entries()] == [
        breaker
    ] * 3
    assert gpt.hedge_over(config.upstreams) == HedgeSpec()
    assert (gpt.retries_over(config.upstreams), gpt.deadline, gpt.sticky) == (3, 90, True)
    settings = small.entries()[0].over(config.upstreams["ours"])
    assert settings.concurrency == ConcurrencySpec(limit=8, queue=40, patience=5.0)
    assert (settings.breaker, small.retries_over(config.upstreams)) == ("off", 0)
    left = folder.load(example, keys | {"AZURE_API_KEY": ""}).config.models["gpt"]
    assert len(left.entries()) == 2
