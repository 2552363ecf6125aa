"""The manifests for Kubernetes, as far as they can be read without a cluster."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import __version__
from app.config import load_config
from app.config.settings import Settings, variable

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
MANIFESTS = sorted(FOLDER.glob("*.yaml"))
CUTTING_OFF = 9
PROVIDER = re.compile(r"(OPENAI|TOGETHER|OPENROUTER|ANTHROPIC|GEMINI|OLLAMA|VLLM)_[A-Z_]+")
OBJECTS = {
    (each["kind"], each["metadata"]["name"]): each
    for file in MANIFESTS
    if file.name != "kustomization.yaml"
    for each in yaml.safe_load_all(file.read_text())
}
PODS = {
    kind: OBJECTS[kind, name]["spec"]["template"]["spec"]
    for kind, name in OBJECTS
    if kind in {"Deployment", "Job"}
}


def container(kind: str) -> dict[str, Any]:
    (only,) = PODS[kind]["containers"]
    return dict(only)


def test_every_variable_is_one_that_the_gateway_reads() -> None:
    known = {variable(name) for name in Settings.model_fields}
    given = {
        *(entry["name"] for entry in container("Deployment")["env"]),
        *OBJECTS["Secret", "moa-gateway"]["stringData"],
    }
    assert {name for name in given - known if not PROVIDER.fullmatch(name)} == set()


def test_values_that_are_set_are_accepted() -> None:
    fixed = {entry["name"]: entry["value"] for entry in container("Deployment")["env"]}
    settings = Settings.read(fixed)
    assert settings.require_keys
    assert settings.on_store_failure == "closed"


def test_the_kustomization_lists_every_manifest_but_the_example() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    others = {file.name for file in MANIFESTS} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(listed["resources"]) == others
    (image,) = listed["images"]
    assert (image["name"], image["newTag"]) == ("moa-gateway", __version__)


def test_the_example_of_a_secret_holds_none() -> None:
    assert set(OBJECTS["Secret", "moa-gateway"]["stringData"].values()) == {""}


def test_the_served_configuration_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(OBJECTS["ConfigMap", "moa-gateway"]["data"]["gateway.yaml"])
    assert load_config(file, {"OPENAI_API_KEY": "planted"}).config.graphs


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_a_pod_has_no_more_rights_than_it_needs(kind: str) -> None:
    pod, only = PODS[kind], container(kind)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert only["resources"]["requests"]
    assert only["resources"]["limits"]["memory"]


def test_the_pods_user_is_the_images() -> None:
    (user,) = re.findall(r"^USER (\d+):", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {pod["securityContext"]["runAsUser"] for pod in PODS.values()} == {int(user)}


def test_probes_and_ports_are_the_gateways() -> None:
    gateway = container("Deployment")
    probed = {name: gateway[name]["httpGet"]["path"] for name in gateway if name.endswith("Probe")}
    assert probed == {
        "startupProbe": "/health/live",
        "livenessProbe": "/health/live",
        "readinessProbe": "/health/ready",
    }
    default = Settings.model_fields["port"].default
    assert gateway["ports"] == [{"name": "http", "containerPort": default}]
    policy = OBJECTS["NetworkPolicy", "moa-gateway"]["spec"]
    assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": default}]


def test_a_pod_is_given_the_time_to_drain() -> None:
    fixed = {entry["name"]: entry["value"] for entry in container("Deployment")["env"]}
    before = int(container("Deployment")["lifecycle"]["preStop"]["exec"]["command"][1])
    needed = before + int(fixed["MOA_DRAIN_TIMEOUT"]) + CUTTING_OFF
    assert PODS["Deployment"]["terminationGracePeriodSeconds"] > needed


def test_selectors_find_the_server_and_not_the_migration() -> None:
    server = OBJECTS["Deployment", "moa-gateway"]["spec"]
    labels = server["template"]["metadata"]["labels"]
    assert server["selector"]["matchLabels"] == labels
    assert OBJECTS["Service", "moa-gateway"]["spec"]["selector"] == labels
    budget = OBJECTS["PodDisruptionBudget", "moa-gateway"]["spec"]
    assert budget["selector"]["matchLabels"] == labels
    migrate = OBJECTS["Job", "moa-gateway-migrate"]["spec"]["template"]["metadata"]["labels"]
    assert migrate != labels
    assert container("Job")["args"] == ["db", "upgrade"]


def test_there_are_two_pods_at_least_and_one_while_nodes_are_emptied() -> None:
    assert OBJECTS["Deployment", "moa-gateway"]["spec"]["replicas"] == 2
    assert OBJECTS["HorizontalPodAutoscaler", "moa-gateway"]["spec"]["minReplicas"] == 2
    assert OBJECTS["PodDisruptionBudget", "moa-gateway"]["spec"]["minAvailable"] == 1


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kustomize_puts_it_together() -> None:
    done = subprocess.run(  # noqa: S603 - our own folder
        ["kubectl", "kustomize", str(FOLDER)],  # noqa: S607 - wherever it is installed
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    made = list(yaml.safe_load_all(done.stdout))
    assert {(each["kind"], each["metadata"]["name"]) for each in made} == set(OBJECTS) - {
        ("Secret", "moa-gateway")
    }
    images = set(re.findall(r"image: (.+)", done.stdout))
    assert images == {f"moa-gateway:{__version__}"}
