"""The manifests in docs/hosts: each fits its published schema, and says what a job of several hosts needs.

The schemas of all kinds (Service, Job, JobSet, TrainJob and its runtime) are those that Kubeflow Trainer publishes as
Python classes. They know neither the rules that only a cluster's webhooks check, nor what is sensible: that is below.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml
from kubeflow_trainer_api import models

from ddpbench.errors import DataError, NumericalError, Preempted, UserError
from ddpbench.hosts import joining, place
from ddpbench.study import lead
from tests.conftest import PROJECT
from tests.test_site import launch

Manifest: TypeAlias = dict[str, Any]
FILES = sorted((PROJECT / "docs/hosts").glob("*.yaml"))
KINDS = {
    "Service": models.IoK8sApiCoreV1Service,
    "Job": models.IoK8sApiBatchV1Job,
    "JobSet": models.JobsetV1alpha2JobSet,
    "TrainingRuntime": models.TrainerV1alpha1TrainingRuntime,
    "TrainJob": models.TrainerV1alpha1TrainJob,
}
SAVE_S = lead.SAVE_S + lead.GOODBYE_S  # in which hosts have saved and ended after a signal
AGAIN, POINTLESS = [Preempted.exit_code], [UserError.exit_code, DataError.exit_code, NumericalError.exit_code]


def read(path: Path) -> dict[str, Manifest]:
    """Return the manifests of a file, by their kinds."""
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(path.read_text())}


def unlike_its_schema(manifest: Manifest) -> str:
    """Return how a manifest differs from its published schema; "" where it fits. A field that is not there is lost."""
    try:
        known = KINDS[manifest["kind"]].from_dict(copy.deepcopy(manifest)).to_dict()
    except ValueError as problem:  # pydantic's errors are such
        return str(problem)
    return "" if known == manifest else f"only this is known: {json.dumps(known)}"


def job_set(path: Path) -> Manifest:
    """Return the specification of the JobSet that a file leads to; an empty one where there is none."""
    manifests = read(path)
    if "TrainingRuntime" in manifests:
        found: Manifest = manifests["TrainingRuntime"]["spec"]["template"]["spec"]
        return found
    return manifests.get("JobSet", {"spec": {}})["spec"]


def jobs(path: Path) -> Iterator[Manifest]:
    """Yield the specification of every Job that a file leads to."""
    if job := read(path).get("Job"):
        yield job["spec"]
    yield from (each["template"]["spec"] for each in job_set(path).get("replicatedJobs", ()))


def containers(path: Path) -> Iterator[Manifest]:
    """Yield what says what a host runs: containers, and the trainer of a TrainJob."""
    for job in jobs(path):
        yield from job["template"]["spec"]["containers"]
    if trained := read(path).get("TrainJob"):
        yield trained["spec"]["trainer"]


def variables(path: Path) -> dict[str, Manifest]:
    return {each["name"]: each for container in containers(path) for each in container.get("env", ())}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_manifest_fits_its_published_schema(path: Path) -> None:
    for manifest in read(path).values():
        assert unlike_its_schema(manifest) == ""


@pytest.mark.parametrize(
    ("name", "kind", "edit"),
    [
        ("job.yaml", "Job", lambda spec: spec.update(completionMode="indexed")),
        ("job.yaml", "Job", lambda spec: spec.update(completion=2)),
        ("job.yaml", "Service", lambda spec: spec.update(publishNotReadyAddresses="yes")),
        ("jobset.yaml", "JobSet", lambda spec: spec["failurePolicy"].update(restarts=3)),
        ("trainjob.yaml", "TrainJob", lambda spec: spec["trainer"].update(numNodes="2")),
        ("trainjob.yaml", "TrainJob", lambda spec: spec.update(podTemplateOverrides=[])),
        ("trainjob.yaml", "TrainingRuntime", lambda spec: spec["mlPolicy"].update(pytorch={})),
    ],
)
def test_a_wrong_manifest_is_found(name: str, kind: str, edit: Callable[[Manifest], None]) -> None:
    manifest = read(PROJECT / "docs/hosts" / name)[kind]
    edit(manifest["spec"])

    assert unlike_its_schema(manifest) != ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_host_is_a_pod_with_a_number_and_time_to_save(path: Path) -> None:
    found = list(jobs(path))

    assert len(found) == 1
    for job in found:
        pod = job["template"]["spec"]
        assert job["completionMode"] == "Indexed"
        assert job.get("completions") == job.get("parallelism")
        assert pod["terminationGracePeriodSeconds"] > SAVE_S
        assert pod["restartPolicy"] == "Never", "a policy for failures needs it"
        assert {claim["name"] for claim in pod["volumes"]} >= {"results"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_again_is_started_again_and_what_is_pointless_is_not(path: Path) -> None:
    for job in jobs(path):
        names = {container["name"] for container in job["template"]["spec"]["containers"]}
        rules = job["podFailurePolicy"]["rules"]
        codes = {rule["action"]: rule["onExitCodes"] for rule in rules if "onExitCodes" in rule}

        assert {rule["containerName"] for rule in codes.values()} == names
        assert {rule["operator"] for rule in codes.values()} == {"In"}
        assert {action: rule["values"] for action, rule in codes.items()} == {"Ignore": AGAIN, "FailJob": POINTLESS}
        assert [rule["action"] for rule in rules if "onPodConditions" in rule] == ["Ignore"]
    assert "EXIT_AGAIN" not in variables(path), "the code that the policy lists is the one that is used"


@pytest.mark.parametrize("name", ["jobset.yaml", "trainjob.yaml"])
def test_all_hosts_are_started_again_together_but_not_where_that_is_pointless(name: str) -> None:
    """The published classes have the names of actions in their words only; reasons are those of a Job."""
    spec = job_set(PROJECT / "docs/hosts" / name)
    (rule,) = spec["failurePolicy"]["rules"]
    action = models.JobsetV1alpha2FailurePolicyRule.model_fields["action"].description or ""

    assert rule["action"] == "FailJobSet"
    assert rule["action"] in re.findall(r"\b(?:Fail|Restart)Job\w*", action)
    assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert spec["failurePolicy"]["maxRestarts"] > 0
    assert [each["template"]["spec"]["backoffLimit"] for each in spec["replicatedJobs"]] == [0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_hosts_find_host_0_by_a_name_that_is_there_before_it_is_ready(path: Path) -> None:
    manifests = read(path)
    network, address = job_set(path).get("network", {}), None
    if "Job" in manifests:
        service, job = (manifests[kind]["metadata"]["name"] for kind in ("Service", "Job"))
        network = manifests["Service"]["spec"]
        assert network["clusterIP"] == "None"
        assert network["selector"] == {"job-name": job}
        assert manifests["Job"]["spec"]["template"]["spec"]["subdomain"] == service
        address = f"{job}-0.{service}"
    elif "JobSet" in manifests:
        name, (job,) = manifests["JobSet"]["metadata"]["name"], job_set(path)["replicatedJobs"]
        assert network["enableDNSHostnames"] is True
        address = f"{name}-{job['name']}-0-0.{name}"

    assert network["publishNotReadyAddresses"] is True
    assert variables(path).get("MASTER_ADDR", {}).get("value") == address


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_pod_has_its_place_and_the_secret_of_the_job(path: Path) -> None:
    """`place.take` reads what a pod finds in its environment, as the scheduler would set it for the second pod."""
    given, manifests = variables(path), read(path)
    found = {name: each["value"] for name, each in given.items() if "value" in each}
    found["JOB_COMPLETION_INDEX"] = "1"
    if "TrainJob" in manifests:
        assert not [name for name in given if name.startswith("PET_")], "Trainer refuses jobs that set them"
        name, count = manifests["TrainJob"]["metadata"]["name"], manifests["TrainJob"]["spec"]["trainer"]["numNodes"]
        assert manifests["TrainJob"]["spec"]["runtimeRef"]["name"] == manifests["TrainingRuntime"]["metadata"]["name"]
        found |= {"PET_NNODES": str(count), "PET_NODE_RANK": "1", "PET_NPROC_PER_NODE": "2"}
        found |= {"PET_MASTER_ADDR": f"{name}-node-0-0.{name}", "PET_MASTER_PORT": "29500"}
    here, rest = place.take(["run", "--ranks", "2"], found)

    assert here is not None
    assert (here.index, here.count) == (1, 2)
    assert here.address.endswith("0.ddpbench")
    assert rest == ["run", "--ranks", "2"]
    (word,) = [each["name"] for each in given.values() if "valueFrom" in each]
    assert word == joining.SECRET
    assert {*given[word]["valueFrom"]} == {"secretKeyRef"}, "no secret stands in a manifest"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_a_pod_runs_is_known_and_goes_on_where_it_stopped(path: Path) -> None:
    (words,) = [container["args"] for container in containers(path) if "args" in container]
    launch(list(words))

    assert "--resume" in words
    assert (PROJECT / "docs/container/Dockerfile").read_text().endswith('ENTRYPOINT ["bash", "launch.sh"]\n')
    assert f"kubectl apply -f {path.relative_to(PROJECT)}\n" in path.read_text()
