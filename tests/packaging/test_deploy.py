"""A team's gateway in Compose, as far as it can be read without a container engine."""

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config.settings import Settings, variable

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana/dashboards/moa-gateway.json"
GRAPH_DEADLINE, CUTTING_OFF = 300, 9
PINNED = re.compile(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-\w+)?")
PROVIDER = re.compile(r"(OPENAI|TOGETHER|OPENROUTER|ANTHROPIC|GEMINI|OLLAMA|VLLM)_[A-Z_]+")


def loaded(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


COMPOSE: dict[str, Any] = loaded("docker-compose.yml")
TEAM = {name: each for name, each in COMPOSE["services"].items() if "profiles" in each}


def seconds(text: str) -> int:
    assert text.endswith("s")
    return int(text[:-1])


def metric_names() -> set[str]:
    """The names as scraped, from the first arguments of app/telemetry/metrics.py."""
    suffixes = {
        "_counter": ("_total",),
        "_histogram": ("_bucket", "_count", "_sum"),
        "Gauge": ("",),
    }
    names = set()
    for call in ast.walk(ast.parse((ROOT / "app/telemetry/metrics.py").read_text())):
        if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant):
            function = (
                call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
            )
            names |= {f"{call.args[0].value!s}{end}" for end in suffixes.get(function, ())}
    return names


def queries() -> dict[str, str]:
    """Every PromQL expression: panels by their titles, alerts by their names."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    rules = loaded("deploy/prometheus/alerts.yml")["groups"][0]["rules"]
    return {
        **{f"{p['title']}/{t['refId']}": t["expr"] for p in panels for t in p["targets"]},
        **{rule["alert"]: rule["expr"] for rule in rules},
    }


# -- Compose --------------------------------------------------------------------------------------


def test_without_a_profile_the_gateway_starts_and_nothing_else() -> None:
    assert set(COMPOSE["services"]) - set(TEAM) == {"gateway"}
    assert {tuple(each["profiles"]) for each in TEAM.values()} == {("team",)}


def test_a_team_has_two_replicas_behind_a_balancer_and_what_they_share() -> None:
    assert set(TEAM) == {
        "balancer", "replica", "migrate", "postgres", "redis", "prometheus", "grafana"
    }  # fmt: skip
    assert TEAM["replica"]["deploy"]["replicas"] == "${TEAM_REPLICAS:-2}"
    assert TEAM["migrate"]["command"] == ["db", "upgrade"]
    after = TEAM["replica"]["depends_on"]["migrate"]["condition"]
    assert after == "service_completed_successfully"


def test_the_replicas_ask_for_keys_and_use_the_stores() -> None:
    environment = TEAM["replica"]["environment"]
    assert environment["MOA_REQUIRE_KEYS"] == "true"
    assert environment["DATABASE_URL"].startswith("postgresql+asyncpg://moa:")
    assert environment["REDIS_URL"].startswith("redis://:")
    assert "MOA_API_KEYS" not in environment


@pytest.mark.parametrize("name", TEAM)
def test_a_container_has_no_more_rights_than_it_needs(name: str) -> None:
    service = TEAM[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


@pytest.mark.parametrize("name", sorted(set(TEAM) - {"replica", "migrate"}))
def test_a_container_of_others_is_pinned_and_says_whether_it_is_well(name: str) -> None:
    assert PINNED.fullmatch(TEAM[name]["image"])
    assert TEAM[name]["healthcheck"]["test"]


def test_only_the_balancer_and_grafana_are_published_and_on_loopback() -> None:
    published = {name: each["ports"] for name, each in TEAM.items() if "ports" in each}
    assert published == {
        "balancer": ["${TEAM_PUBLISH:-127.0.0.1:8080}:8080"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_stores_are_reached_by_the_replicas_alone() -> None:
    assert COMPOSE["networks"]["stores"] == {"internal": True}
    inside = {name for name, each in TEAM.items() if "stores" in each["networks"]}
    assert inside == {"replica", "migrate", "postgres", "redis"}
    assert TEAM["postgres"]["networks"] == TEAM["redis"]["networks"] == ["stores"]


def test_no_secret_has_a_value_or_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    secret = re.compile(r"(?<!\$)\$\{(\w*(?:PASSWORD|PEPPER|KEYS?))([^}]*)\}")
    found = secret.findall(text)
    assert {name for name, _ in found} == {
        "MOA_API_KEYS", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD"
    }  # fmt: skip
    assert all(rest == ":-" or rest.startswith(":?") for _, rest in found)
    passed = TEAM["replica"]["environment"]
    assert all(passed[name] is None for name in passed if re.search(r"PEPPER|_KEY$", name))


@pytest.mark.parametrize(
    ("service", "variable_name"), [("redis", "REDIS_PASSWORD"), ("grafana", "GRAFANA_PASSWORD")]
)
def test_a_service_that_would_take_an_empty_secret_is_kept_from_it(
    service: str, variable_name: str
) -> None:
    entry, command = TEAM[service]["entrypoint"], TEAM[service]["command"]
    script = command[0].replace("$$", "$").replace("exec ", "echo ")
    done = subprocess.run(  # noqa: S603 - the file's own guard
        [*entry, script], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True,
        check=False, timeout=10,
    )  # fmt: skip
    assert f"set {variable_name}" in done.stderr
    assert "run.sh" not in done.stdout


def test_the_redis_script_hands_over_the_password_by_standard_input() -> None:
    entry, command = TEAM["redis"]["entrypoint"], TEAM["redis"]["command"]
    script = command[0].replace("$$", "$").replace("exec redis-server -", "cat")
    done = subprocess.run(  # noqa: S603 - the file's own command
        [*entry, script], env={"PATH": os.environ["PATH"], "REDIS_PASSWORD": "planted"},
        capture_output=True, text=True, check=True, timeout=10,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "requirepass planted", "maxmemory 384mb", "maxmemory-policy volatile-lru",
        'save ""', "appendonly no",
    ]  # fmt: skip


def test_every_variable_the_team_reads_is_in_its_example_without_a_secret() -> None:
    lines = (DEPLOY / "team.env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert used - {"TEAM_PUBLISH"} <= set(example)
    assert {name for name, value in example.items() if value} == {
        "TEAM_REPLICAS", "MOA_ON_STORE_FAILURE", "MOA_UNKNOWN_PRICE"
    }  # fmt: skip


def test_every_file_that_is_mounted_is_there_but_for_the_key() -> None:
    mounts = [mount for each in COMPOSE["services"].values() for mount in each.get("volumes", ())]
    folders = {mount.split(":")[0] for mount in mounts if mount.startswith("./")}
    assert folders
    assert all((ROOT / folder).is_dir() for folder in folders)
    assert all(mount.endswith(":ro") for mount in mounts if mount.startswith("./"))
    key = COMPOSE["secrets"]["metrics_key"]["file"]
    assert (ROOT / key).parent.joinpath(".gitignore").read_text().startswith("*\n")


def test_a_stop_waits_longer_than_the_drain() -> None:
    drain = Settings.model_fields["drain_timeout"].default
    assert seconds(TEAM["replica"]["stop_grace_period"]) > drain + CUTTING_OFF


def test_every_variable_is_one_that_the_gateway_reads() -> None:
    known = {variable(name) for name in Settings.model_fields}
    given = {*COMPOSE["services"]["gateway"]["environment"], *TEAM["replica"]["environment"]}
    assert {name for name in given - known if not PROVIDER.fullmatch(name)} == set()


# -- the balancer ---------------------------------------------------------------------------------


def haproxy() -> str:
    text = (DEPLOY / "haproxy/haproxy.cfg").read_text()
    return re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", ["client", "server"])
def test_the_balancer_is_more_patient_than_a_graph(name: str) -> None:
    (patience,) = re.findall(rf"timeout {name} +(\S+)", haproxy())
    assert seconds(patience) > GRAPH_DEADLINE


def test_the_balancer_may_open_as_many_files_as_its_connections_need() -> None:
    (connections,) = re.findall(r"^\s*maxconn (\d+)", haproxy(), re.MULTILINE)
    assert TEAM["balancer"]["ulimits"]["nofile"] > 2 * int(connections) + 100


def test_the_balancer_tries_again_only_what_was_never_asked() -> None:
    assert re.findall(r"retry-on (.+)", haproxy()) == ["conn-failure"]


@pytest.mark.parametrize(
    "line",
    [
        "balance leastconn",
        "option abortonclose",
        "option http-no-delay",
        "http-check send meth GET uri /health/ready ver HTTP/1.1 hdr host gateway",
        "http-request deny deny_status 404 if { path /metrics }",
    ],
)
def test_the_balancer_has_what_event_streams_and_replicas_need(line: str) -> None:
    assert re.search(rf"^\s*{re.escape(line)}$", haproxy(), re.MULTILINE)


def test_the_balancer_knows_as_many_replicas_as_the_name_of_the_service() -> None:
    assert re.search(r"server-template replica- \d+ replica:8000 resolvers compose", haproxy())
    assert "observe layer4" in haproxy()


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")
def test_the_balancer_accepts_its_file() -> None:
    command = ["haproxy", "-c", "-f", str(DEPLOY / "haproxy/haproxy.cfg")]
    subprocess.run(command, check=True, timeout=30)  # noqa: S603 - our own file


# -- Prometheus and Grafana -----------------------------------------------------------------------


def test_prometheus_asks_every_replica_with_a_key_from_a_file() -> None:
    (job,) = loaded("deploy/prometheus/prometheus.yml")["scrape_configs"]
    assert job["authorization"] == {
        "type": "Bearer", "credentials_file": "/run/secrets/metrics_key"
    }  # fmt: skip
    assert job["dns_sd_configs"][0]["names"] == ["replica"]
    assert job["dns_sd_configs"][0]["port"] == Settings.model_fields["port"].default
    assert TEAM["prometheus"]["secrets"] == ["metrics_key"]


@pytest.mark.parametrize("name", queries())
def test_a_query_names_metrics_that_there_are(name: str) -> None:
    named = set(re.findall(r"\bmoa_\w+", queries()[name]))
    assert named or name.startswith(("Replicas", "MoaGatewayDown"))
    assert named <= metric_names()


def test_the_dashboard_shows_every_metric() -> None:
    shown = " ".join(queries().values())
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in metric_names()}
    assert {name for name in families if name not in shown} == set()


def test_the_dashboard_is_given_to_grafana_with_its_source() -> None:
    (source,) = loaded("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    (folder,) = loaded("deploy/grafana/provisioning/dashboards/moa.yml")["providers"]
    board = json.loads(DASHBOARD.read_text())
    assert {each["datasource"]["uid"] for each in board["panels"]} == {source["uid"]}
    mounts = TEAM["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{folder['options']['path']}:ro" in mounts
    assert len({each["id"] for each in board["panels"]}) == len(board["panels"])
