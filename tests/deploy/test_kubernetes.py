"""The Kubernetes manifests: what Kubernetes' own schemas say, what is promised, what must agree."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from app.serve import GRACE_SECONDS
from app.settings import PREFIX, Settings, read_settings
from index import rebuild
from tests.app.conftest import ROOT

kubernetes_validate = pytest.importorskip("kubernetes_validate")
yaml = pytest.importorskip("yaml")

DOCUMENTS = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/artkin.yaml").read_text()))
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def the(kind: str) -> dict[str, Any]:
    (found,) = (document for document in DOCUMENTS if document["kind"] == kind)
    return found


DEPLOYMENT, CRON_JOB = the("Deployment"), the("CronJob")
SERVE = DEPLOYMENT["spec"]["template"]
REBUILD = CRON_JOB["spec"]["jobTemplate"]["spec"]["template"]
PODS = pytest.mark.parametrize("pod", [SERVE, REBUILD], ids=["serve", "rebuild"])


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["spec"]["containers"]
    return found


def mounts(pod: dict[str, Any]) -> dict[str, bool]:
    """Whether each path is mounted read only."""
    return {m["mountPath"]: m.get("readOnly", False) for m in container(pod)["volumeMounts"]}


@pytest.mark.parametrize("version", ["1.25", kubernetes_validate.latest_version()])
@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda d: f"{d['kind']}-{d['metadata']['name']}"
)
def test_they_follow_kubernetes_schemas(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    wrong = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.25", strict=True)


@PODS
def test_pods_keep_to_the_restricted_standard(pod: dict[str, Any]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, and a bit more."""
    (uid,) = set(re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.M))
    of_pod = pod["spec"]["securityContext"]
    assert of_pod["runAsNonRoot"] is True
    assert {of_pod[f"{who}"] for who in ("runAsUser", "runAsGroup", "fsGroup")} == {int(uid)}
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(pod["spec"])
    assert not any("hostPath" in volume for volume in pod["spec"]["volumes"])
    assert "memory" in container(pod)["resources"]["limits"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > GRACE_SECONDS
    assert mounts(pod)["/tmp"] is False


@PODS
def test_volumes_are_declared_and_all_used(pod: dict[str, Any]) -> None:
    declared = {volume["name"] for volume in pod["spec"]["volumes"]}
    assert declared == {mount["name"] for mount in container(pod)["volumeMounts"]}
    claims = {d["metadata"]["name"] for d in DOCUMENTS if d["kind"] == "PersistentVolumeClaim"}
    claims |= {"artkin-collection"}  # the operator's own
    used = (volume.get("persistentVolumeClaim") for volume in pod["spec"]["volumes"])
    assert {claim["claimName"] for claim in used if claim} <= claims


def test_the_service_only_reads_releases_and_keys_and_the_job_only_the_collection() -> None:
    assert mounts(SERVE) == {"/data": True, "/state": False, "/run/secrets": True, "/tmp": False}
    assert mounts(REBUILD) == {
        "/data": False,
        "/state": False,
        "/collection": True,
        "/tmp": False,
    }
    assert not any("subPath" in mount for mount in container(SERVE)["volumeMounts"])
    assert "Secret" not in {document["kind"] for document in DOCUMENTS}


def test_variables_are_settings_with_values_that_they_take(monkeypatch) -> None:
    given = {one["name"]: one["value"] for one in container(SERVE)["env"]}
    commented = re.findall(
        rf"# - name: ({PREFIX}\w+)\n +#   value: (.+)",
        (ROOT / "deploy/kubernetes/artkin.yaml").read_text(),
    )
    assert len(commented) == 2
    given |= {name: value.strip('"') for name, value in commented}
    assert {name.removeprefix(PREFIX).lower() for name in given} <= set(Settings.model_fields)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert read_settings({}).per_minute == 60


def test_service_and_rebuild_have_the_same_paths() -> None:
    env = {one["name"]: one["value"] for one in container(SERVE)["env"]}
    assert env["ARTKIN_ADMIN_KEY_FILE"].startswith("/run/secrets/")
    parser = argparse.ArgumentParser()
    rebuild.add_arguments(parser)
    command, *arguments = container(REBUILD)["args"]
    options = parser.parse_args(arguments)
    assert command == "rebuild"
    assert [str(path) for path in options.collection] == ["/collection"]
    assert str(options.model) == env["ARTKIN_MODEL"]
    assert str(options.releases) == env["ARTKIN_RELEASES"]
    assert str(options.state) == env["ARTKIN_STATE"]
    for path in (options.model, options.releases, options.state):
        assert f"/{path.parts[1]}" in mounts(SERVE)
        assert f"/{path.parts[1]}" in mounts(REBUILD)


def test_probes_ask_the_port_that_the_service_listens_on() -> None:
    serve = container(SERVE)
    (port,) = serve["ports"]
    assert f"EXPOSE {port['containerPort']}" in DOCKERFILE
    assert port["containerPort"] == Settings().port
    paths = {
        kind: serve[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")
    }
    assert {kind: found["path"] for kind, found in paths.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert {found["port"] for found in paths.values()} == {port["name"]}
    assert [one["targetPort"] for one in the("Service")["spec"]["ports"]] == [port["name"]]


def test_labels_select_the_service_and_only_it() -> None:
    selector = the("Service")["spec"]["selector"]
    assert selector == DEPLOYMENT["spec"]["selector"]["matchLabels"] == SERVE["metadata"]["labels"]
    assert selector != REBUILD["metadata"]["labels"]
    policy = the("NetworkPolicy")["spec"]
    for pod in (SERVE, REBUILD):
        assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert "egress" not in policy  # none at all, since the policy is for Egress too
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"port": "http"}]]
    (affinity,) = REBUILD["spec"]["affinity"]["podAffinity"].popitem()[1]
    assert affinity["labelSelector"]["matchLabels"] == selector


def test_one_writer_at_a_time_and_a_refused_rebuild_is_not_tried_again() -> None:
    assert (DEPLOYMENT["spec"]["replicas"], DEPLOYMENT["spec"]["strategy"]["type"]) == (
        1,
        "Recreate",
    )
    assert CRON_JOB["spec"]["concurrencyPolicy"] == "Forbid"
    assert CRON_JOB["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert REBUILD["spec"]["restartPolicy"] == "Never"


@PODS
def test_variables_of_service_links_are_kept_away(pod: dict[str, Any]) -> None:
    """Kubernetes makes them of a Service's name, and the service refuses them."""
    name = the("Service")["metadata"]["name"].upper()
    links = {f"{name}_SERVICE_HOST": "10.0.0.1", f"{name}_PORT": "tcp://10.0.0.1:8000"}
    refused = subprocess.run(
        [sys.executable, "-m", "artkin", "serve"],
        cwd=ROOT,
        env={**os.environ, **links},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (refused.returncode, "ARTKIN_SERVICE_HOST" in refused.stderr) == (2, True)
    assert pod["spec"]["enableServiceLinks"] is False
