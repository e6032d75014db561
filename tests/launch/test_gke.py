"""The JobSet of a run on GKE: parsed, and handed to kubectl."""

import re
import subprocess

import pytest
import yaml

_MAIN = (
  *("--", "--config=c", "--workdir=gs://b/r"),
  "--config.terms={\"a\": '@NAME@ & \\n'}",
)
_IMAGE = "--image=europe-docker.pkg.dev/p/r/hue_jax:1"


def _rendered(stand_ins, *flags):
  done = stand_ins.run("gke.sh", "render", "resnet", _IMAGE, *flags, *_MAIN)
  assert done.returncode == 0, done.stderr
  assert "@HOSTS@" not in done.stdout
  return yaml.safe_load(done.stdout)


@pytest.mark.parametrize(
  ("topology", "accelerator", "hosts", "chips"),
  [
    ("v4:2x2x4", "tpu-v4-podslice", 4, 4),
    ("v5e:1x1", "tpu-v5-lite-podslice", 1, 1),
    ("v5e:2x4", "tpu-v5-lite-podslice", 1, 8),
    ("v5e:4x4", "tpu-v5-lite-podslice", 4, 4),
    ("v5e:16x16", "tpu-v5-lite-podslice", 64, 4),
    ("v5p:2x2x2", "tpu-v5p-slice", 2, 4),
    ("v5p:2x4x4", "tpu-v5p-slice", 8, 4),
    ("v6e:2x2", "tpu-v6e-slice", 1, 4),
  ],
)
def test_a_slice_has_its_hosts_and_chips(
  stand_ins, topology, accelerator, hosts, chips
):
  manifest = _rendered(stand_ins, f"--topology={topology}")
  job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
  assert job["parallelism"] == job["completions"] == hosts
  pod = job["template"]["spec"]
  assert pod["nodeSelector"] == {
    "cloud.google.com/gke-tpu-accelerator": accelerator,
    "cloud.google.com/gke-tpu-topology": topology.partition(":")[2],
  }
  resources = pod["containers"][0]["resources"]
  assert resources["limits"] == resources["requests"] == {"google.com/tpu": chips}


def test_the_manifest_says_what_is_run_and_what_begins_it_anew(stand_ins):
  flags = ("--topology=v5e:4x4", "--spot", "--max-restarts=7")
  manifest = _rendered(stand_ins, *flags, "--namespace=runs", "--service-account=me")
  assert manifest["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
  assert manifest["kind"] == "JobSet"
  assert manifest["metadata"]["name"] == "resnet"
  assert manifest["metadata"]["namespace"] == "runs"
  policy = manifest["spec"]["failurePolicy"]
  assert policy["maxRestarts"] == 7
  assert policy["rules"][0]["onJobFailureReasons"] == ["PodFailurePolicy"]
  job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
  rules = job["podFailurePolicy"]["rules"]
  # 143 is the status of a main.py that was told to stop and has saved, 75 that of one
  # that misses another.
  assert [rule.get("onExitCodes", {}).get("values") for rule in rules] == [
    None,
    [75, 143],
  ]
  pod = job["template"]["spec"]
  assert pod["restartPolicy"] == "Never"  # as a podFailurePolicy wants it
  assert pod["serviceAccountName"] == "me"
  assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
  (container,) = pod["containers"]
  assert container["name"] == rules[1]["onExitCodes"]["containerName"]
  assert container["args"] == list(_MAIN[1:])
  assert container["image"] == _IMAGE.partition("=")[2]
  assert {"name": "HUE_JAX_DISTRIBUTED", "value": "1"} in container["env"]


def _one_of(*accepted):
  return lambda value: value in accepted


def _matching(pattern):
  return lambda value: re.fullmatch(pattern, value) is not None


# What JobSet's and Kubernetes' servers want of the fields that are not tried here: all
# that a field must have, each with what it accepts.
_RULES = {
  "failurePolicy": {
    "name": _matching(r"[A-Za-z]([A-Za-z0-9_,:]{0,126}[A-Za-z0-9_])?"),
    "action": _one_of(
      "FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"
    ),
  },
  "podFailurePolicy": {"action": _one_of("FailJob", "FailIndex", "Ignore", "Count")},
  "onPodConditions": {
    "type": _matching(r"[A-Za-z]+"),
    "status": _one_of("True", "False", "Unknown"),
  },
  "onExitCodes": {
    "operator": _one_of("In", "NotIn"),
    "values": lambda codes: codes == sorted(set(codes)) and 0 not in codes,
  },
}


def test_every_rule_has_what_the_servers_want_of_it(stand_ins):
  spec = _rendered(stand_ins, "--topology=v5e:4x4")["spec"]
  job = spec["replicatedJobs"][0]["template"]["spec"]
  of_pods = job["podFailurePolicy"]["rules"]
  found = {
    "failurePolicy": spec["failurePolicy"]["rules"],
    "podFailurePolicy": of_pods,
    "onPodConditions": [one for of in of_pods for one in of.get("onPodConditions", [])],
    "onExitCodes": [of["onExitCodes"] for of in of_pods if "onExitCodes" in of],
  }
  for kind, rules in found.items():
    assert rules, kind
    for rule in rules:
      for field, accepts in _RULES[kind].items():
        assert accepts(rule[field]), (kind, field, rule[field])


def test_create_applies_what_render_prints(stand_ins):
  arguments = ("resnet", _IMAGE, "--topology=v5e:4x4")
  done = stand_ins.run("gke.sh", "create", *arguments, *_MAIN)
  assert done.returncode == 0, done.stderr
  ((name, _, flags, applied, _),) = stand_ins.calls()
  assert (name, flags) == ("kubectl apply", {"--filename": "-"})
  printed = stand_ins.run("gke.sh", "render", *arguments, *_MAIN).stdout
  assert yaml.safe_load(applied) == yaml.safe_load(printed)
  dry = stand_ins.run("gke.sh", "create", *arguments, "--dry-run", *_MAIN).stdout
  assert yaml.safe_load(dry) == yaml.safe_load(printed)
  assert len(stand_ins.calls()) == 1


def test_logs_status_and_delete_name_the_jobset(stand_ins):
  for command in ("logs", "status", "delete"):
    done = stand_ins.run("gke.sh", command, "resnet", "--namespace=runs")
    assert done.returncode == 0, done.stderr
  calls = stand_ins.calls()
  assert [call[0] for call in calls] == [
    *("kubectl logs", "kubectl get", "kubectl get", "kubectl delete")
  ]
  assert all(call[2]["--namespace"] == "runs" for call in calls)
  assert calls[0][2]["--selector"].startswith("jobset.sigs.k8s.io/jobset-name=resnet,")
  assert calls[0][2]["--tail"] == "-1"  # all of it
  assert calls[3][1] == ["jobset", "resnet"]


def test_a_container_is_built_of_a_commit(stand_ins):
  done = stand_ins.run("gke.sh", "build", _IMAGE)
  assert done.returncode == 0, done.stderr
  build, push = stand_ins.calls()
  assert build[2] == {
    "--file": "launch/Containerfile",
    "--tag": _IMAGE.partition("=")[2],
  }
  assert build[1] == ["-"]
  assert ".ci/" in build[3]  # a tar of the checkout
  assert push[1] == [_IMAGE.partition("=")[2]]


def test_the_template_is_in_the_repository():
  listed = subprocess.run(
    ["git", "check-ignore", "launch/jobset.yaml"], capture_output=True, check=False
  )
  assert listed.returncode != 0
