"""What `bowerbird doctor --cluster` looks at: a release of the chart, as its API server tells of it.

It asks through `kubectl`, with whatever KUBECONFIG and context the person at the keyboard has, and only reads. A pod
that does not start says why in one of six places (scheduling, image, configuration, the last words of its container,
a volume, a Secret that is not there); here they are one sentence each, the cause before what follows from it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from shutil import which
from typing import Any

from bowerbird.embedded.finding import Finding, fail, ok, warn

Object = Mapping[str, Any]
Read = Callable[[str], Sequence[Object]]
"""Kind in the plural, as kubectl has it -> every such object, of the namespace where they have one."""

ANSWER_SECONDS = 20
LABEL = "app.kubernetes.io/name"
HOOK = "helm.sh/hook"
PAUSED = "autoscaling.keda.sh/paused"
SPOKEN = {
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "ErrImageNeverPull": "its image is not on the node and `image.pullPolicy` is Never",
    "InvalidImageName": "its image's name is no name",
    "CreateContainerConfigError": "its container cannot be made",
    "CrashLoopBackOff": "its container ends again and again",
}
"""Why a container waits, in words."""
ENDED = "its container has ended"
"""Of one that is started again, or is about to be: it waits only after that has failed, too."""


class ClusterUnreadable(Exception):
    """kubectl is not here, or the API server did not answer it; the message says which."""


def examine_cluster(namespace: str, read: Read) -> Iterator[Finding]:
    """One finding for each Secret, claim, accelerator, device class, backup, hook and service of a namespace."""
    try:
        yield from _examine(namespace, read)
    except ClusterUnreadable as error:
        yield fail("cluster", str(error), "Check KUBECONFIG and `kubectl get pods`.")


def _examine(namespace: str, read: Read) -> Iterator[Finding]:
    deployments, jobs = _own(read("deployments")), _own(read("jobs"))
    hooks = [each for each in jobs if HOOK in each["metadata"].get("annotations", ())]
    if not deployments and not hooks:
        advice = "Type `helm install`, or name its namespace: `--cluster NAMESPACE`."
        yield fail("cluster", f"No release of the chart is in the namespace {namespace}.", advice)
        return
    backups = _own(read("cronjobs"))
    specs = [_pod_of(each) for each in (*deployments, *hooks, *(each["spec"]["jobTemplate"] for each in backups))]
    yield from _secrets(specs, read("secrets"))
    yield from _claims(specs, read("persistentvolumeclaims"))
    yield from _accelerators(specs, read("nodes"))
    if templates := sorted({name for spec in specs for name in _claim_templates(spec)}):
        yield from _devices(templates, read)
    yield from map(_backup, backups)
    if asleep := [stage for deployment in deployments for stage in _asleep(deployment)]:
        yield from _scaling(asleep, read)
    pods = read("pods")
    for hook in hooks:
        yield _hook(hook, _made_by(hook, pods))
    for deployment in deployments:
        yield _service(deployment, pods)


def kubectl(namespace: str) -> Read:
    """Reads a namespace through the program `kubectl`."""

    def read(kind: str) -> Sequence[Object]:
        program = which("kubectl")
        if program is None:
            raise ClusterUnreadable("kubectl is not installed.")
        command = [program, "--namespace", namespace, "get", kind, "--output", "json"]
        try:
            done = subprocess.run(  # noqa: S603 - a program of the path, and arguments of ours
                command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True
            )
        except subprocess.CalledProcessError as error:
            raise ClusterUnreadable(f"kubectl cannot read {kind}: {error.stderr.strip().splitlines()[-1]}") from error
        except subprocess.TimeoutExpired as error:
            raise ClusterUnreadable(f"The API server did not answer within {ANSWER_SECONDS} seconds.") from error
        items: Sequence[Object] = json.loads(done.stdout)["items"]
        return items

    return read


def _secrets(specs: Sequence[Object], secrets: Sequence[Object]) -> Iterator[Finding]:
    """Whether every Secret that is referred to is there, with the key that is read."""
    present = {each["metadata"]["name"]: set(each.get("data") or ()) for each in secrets}
    wanted = {pair for spec in specs for pair in _referred(spec)}
    for name, key in sorted(wanted):
        if name not in present:
            advice = f"Make it: `kubectl create secret generic {name} --from-literal={key or 'KEY'}=…`."
            yield fail("secret", f"{name} is not there.", advice)
        elif key and key not in present[name]:
            has = ", ".join(sorted(present[name])) or "nothing"
            yield fail("secret", f"{name} has no key {key}; it has {has}.", "Add it, or name another in the values.")
        else:
            yield ok("secret", f"{name}{f': {key}' if key else ''}")


def _referred(pod: Object) -> Iterator[tuple[str, str]]:
    """Name and key (or none) of each Secret that a pod needs to start."""
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        for variable in container.get("env", ()):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], reference["key"]
        for source in container.get("envFrom", ()):
            if "secretRef" in source:
                yield source["secretRef"]["name"], ""
    for volume in pod.get("volumes", ()):
        yield from _mounted(volume)


def _mounted(volume: Object) -> Iterator[tuple[str, str]]:
    """Name and key (or none) of each Secret that a volume is made of."""
    if "secret" in volume:
        for item in volume["secret"].get("items") or [{"key": ""}]:
            yield volume["secret"]["secretName"], item["key"]
    for source in volume.get("projected", {}).get("sources", ()):
        for item in source.get("secret", {}).get("items", ()):
            yield source["secret"]["name"], item["key"]


def _claims(specs: Sequence[Object], claims: Sequence[Object]) -> Iterator[Finding]:
    phases = {each["metadata"]["name"]: each["status"].get("phase", "Pending") for each in claims}
    volumes = [volume for spec in specs for volume in spec.get("volumes", ())]
    for name in sorted({each["persistentVolumeClaim"]["claimName"] for each in volumes if _is_claim(each)}):
        phase = phases.get(name)
        if phase == "Bound":
            yield ok("volume claim", name)
        elif phase is None:
            yield fail("volume claim", f"{name} is not there.", "Make it, or leave the value empty.")
        else:
            advice = "Is there a storage class that makes volumes? `kubectl get storageclass`; `storage.className`."
            yield fail("volume claim", f"{name} is {phase.lower()}: it has no volume.", advice)


def _is_claim(volume: Object) -> bool:
    return "persistentVolumeClaim" in volume


def _accelerators(specs: Sequence[Object], nodes: Sequence[Object]) -> Iterator[Finding]:
    """Whether some node offers what is asked for: without a device plugin a GPU is nothing that a node has."""
    wanted: dict[str, int] = {}
    for spec in specs:
        for container in spec["containers"]:
            for resource, count in container.get("resources", {}).get("limits", {}).items():
                if "/" in resource:
                    wanted[resource] = max(wanted.get(resource, 0), int(count))
    for resource, count in sorted(wanted.items()):
        largest = max((int(each["status"]["allocatable"].get(resource, 0)) for each in nodes), default=0)
        if largest >= count:
            yield ok("accelerator", f"{resource}: a node offers {largest}, {count} are asked for at once")
        elif largest:
            fact = f"{resource}: {count} are asked for at once, and no node has more than {largest}."
            yield fail("accelerator", fact, "Ask for less: `accelerator.count`.")
        else:
            advice = "Is there such a node, and does its device plugin run? `kubectl describe nodes`."
            yield fail("accelerator", f"No node offers {resource}.", advice)


def _claim_templates(spec: Object) -> Iterator[str]:
    for claim in spec.get("resourceClaims", ()):
        if name := claim.get("resourceClaimTemplateName"):
            yield name


def _devices(templates: Sequence[str], read: Read) -> Iterator[Finding]:
    """Whether the device classes that are asked for are there (Dynamic Resource Allocation), and drivers with devices.

    Which device a request takes is decided by expressions in class and request, which the scheduler knows to read.
    """
    known = {each["metadata"]["name"]: each for each in read("resourceclaimtemplates")}
    classes = {each["metadata"]["name"] for each in read("deviceclasses")}
    devices = sum(len(each["spec"].get("devices", ())) for each in read("resourceslices"))
    for name in templates:
        if name not in known:
            yield fail("devices", f"The ResourceClaimTemplate {name} is not there.", "Make it, or name another.")
            continue
        for asked in known[name]["spec"]["spec"]["devices"]["requests"]:
            wanted = asked.get("exactly", asked).get("deviceClassName", "")
            if wanted not in classes:
                has = ", ".join(sorted(classes)) or "none"
                fact = f"{name} asks for the device class {wanted}, which is not there; there are: {has}."
                yield fail("devices", fact, "Install the driver that brings it, or name another class.")
            elif not devices:
                advice = "Does the class's driver run on the nodes? `kubectl get resourceslices`."
                yield fail("devices", f"{wanted}: no driver offers any device.", advice)
            else:
                yield ok("devices", f"{wanted}: its class is there, and drivers offer devices ({devices} of all kinds)")


def _backup(cron_job: Object) -> Finding:
    """Whether the last backup that was due is there."""
    status, advice = cron_job.get("status", {}), "`kubectl get jobs` names the last ones, `kubectl logs` says why."
    due, done = status.get("lastScheduleTime", ""), status.get("lastSuccessfulTime", "")  # RFC 3339, UTC: in order
    if cron_job["spec"].get("suspend"):
        return warn("backup", "It is suspended: nothing is backed up.", "Set `suspend` of the CronJob to false.")
    if not due:
        return ok("backup", f"none was due yet ({cron_job['spec']['schedule']})")
    if done < due and not status.get("active"):
        return fail("backup", f"The one of {due} did not succeed; the last that did: {done or 'none'}.", advice)
    return ok("backup", f"the last that succeeded: {done or 'none yet'}")


def _asleep(deployment: Object) -> Sequence[str]:
    """Services that the gateway, if this is it, expects to have no pod while nobody asks."""
    environment = [each for container in _pod_of(deployment)["containers"] for each in container.get("env", ())]
    listed = next((each.get("value") for each in environment if each["name"] == "BOWERBIRD_STAGES_ASLEEP"), None)
    names: Sequence[str] = json.loads(listed or "[]")
    return names


def _scaling(services: Sequence[str], read: Read) -> Iterator[Finding]:
    """Whether KEDA counts the pods of each service that sleeps."""
    try:
        known = {each["metadata"]["name"]: each for each in read("scaledobjects")}
    except ClusterUnreadable as error:
        yield fail(
            "KEDA", f"Who sleeps is woken by KEDA, and it is not here: {error}", "Install KEDA: https://keda.sh."
        )
        return
    for name in services:
        advice = f"`kubectl describe scaledobject {name}`."
        scaled = known.get(name)
        if scaled is None:
            yield fail("KEDA", f"{name} has no ScaledObject: nothing wakes it.", "Type `helm upgrade`.")
        elif any(PAUSED in each for each in scaled["metadata"].get("annotations", ())):
            yield fail("KEDA", f"{name} is paused: nothing wakes it.", f"Take the annotation away: {advice}")
        elif reason := _unmet(scaled, "Ready"):
            yield fail("KEDA", f"{name} is not scaled: {reason}", advice)
        elif not scaled.get("status", {}).get("conditions"):
            yield warn("KEDA", f"{name} has a ScaledObject that KEDA has not looked at.", "Does KEDA's operator run?")
        else:
            yield ok("KEDA", f"{name} has pods when somebody asks")


def _unmet(thing: Object, condition: str) -> str:
    """Why a condition of an object does not hold; nothing where it does, or is not known yet."""
    for each in thing.get("status", {}).get("conditions", ()):
        if each["type"] == condition and each["status"] == "False":
            return str(each.get("message") or each.get("reason") or "it does not say why")
    return ""


def _hook(job: Object, pods: Sequence[Object]) -> Finding:
    """Whether a Job did what Helm waits for before it installs or upgrades anything; Helm takes away those that did."""
    name, conditions = job["metadata"]["name"], job.get("status", {}).get("conditions", ())
    held = {each["type"]: each.get("message", "") for each in conditions if each["status"] == "True"}
    if "Complete" in held:
        return ok(name, "done before anything was installed or upgraded")
    latest = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)
    reason = next(filter(None, map(_why_in_vain, latest)), "") or held.get("Failed", "").rstrip(".")
    if "Failed" not in held and not reason:
        return ok(name, "it has not ended yet; Helm waits for it")
    advice = f"Mend that, and type `helm upgrade --install`; `kubectl describe job {name}` says more."
    return fail(name, f"Helm installs and upgrades nothing before this Job has done its work: {reason}.", advice)


def _why_in_vain(pod: Object) -> str:
    """Why a Job's pod did not do its work; empty where nothing says so."""
    status = pod["status"]
    if status.get("phase") != "Failed":
        return _why_not(pod)
    for container in status.get("containerStatuses", ()):
        ended = container["state"].get("terminated", {})
        if ended.get("exitCode"):
            return _last_words(ended) or str(ended.get("reason", ENDED))
    return str(status.get("message", "")).rstrip(". ")


def _service(deployment: Object, pods: Sequence[Object]) -> Finding:
    name = deployment["metadata"]["name"]
    wanted, ready = deployment["spec"].get("replicas", 1), deployment["status"].get("readyReplicas", 0)
    if wanted == 0:
        return ok(name, "asleep: it has no pod")
    own = _made_by(deployment, pods)
    reason = next(filter(None, map(_why_not, own)), "")
    fact, advice = f"{ready} of {wanted} pods are ready", f"`kubectl describe deployment {name}` says more."
    if ready < wanted:
        return fail(name, f"{fact}: {reason or _evicted(own) or 'they are starting'}.", advice)
    if reason:
        return fail(name, f"{fact}, and one that is to follow does not start: {reason}.", advice)
    return ok(name, fact)


def _why_not(pod: Object) -> str:
    """Why a pod is not ready; empty where nothing says so."""
    status = pod["status"]
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no node can take it ({condition.get('message', 'no reason given').rstrip('.')})"
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        waiting = container["state"].get("waiting", {})
        ended = container["state"].get("terminated") or container.get("lastState", {}).get("terminated", {})
        failed = bool(ended.get("exitCode")) and not container.get("ready", False) and status.get("phase") != "Failed"
        if said := SPOKEN.get(waiting.get("reason", "")) or (ENDED if failed else ""):
            words = _last_words(ended) or (waiting.get("message") or ended.get("reason", "")).rstrip(".")
            return f"{said} ({words})" if words else said
    return ""


def _last_words(ended: Object) -> str:
    """The last line that a container wrote, without its full stop; empty where it wrote none."""
    lines = ended.get("message", "").strip().splitlines()
    return str(lines[-1]).rstrip(".") if lines else ""


def _evicted(pods: Sequence[Object]) -> str:
    """Why a pod was taken from its node, which Kubernetes keeps beside its successor; empty where none was."""
    told = [each["status"].get("message", "") for each in pods if each["status"].get("reason") == "Evicted"]
    return f"one was evicted ({told[-1].rstrip('. ')})" if told else ""


def _pod_of(maker: Object) -> Object:
    """What a Deployment or a Job makes pods by."""
    pod: Object = maker["spec"]["template"]["spec"]
    return pod


def _made_by(maker: Object, pods: Sequence[Object]) -> Sequence[Object]:
    """Its pods that are not about to go."""
    selector = maker["spec"]["selector"]["matchLabels"].items()
    return [each for each in pods if selector <= _labels(each).items() and "deletionTimestamp" not in each["metadata"]]


def _own(objects: Sequence[Object]) -> Sequence[Object]:
    """Those that the chart made."""
    return [each for each in objects if _labels(each).get(LABEL) == "bowerbird"]


def _labels(each: Object) -> Mapping[str, str]:
    labels: Mapping[str, str] = each["metadata"].get("labels", {})
    return labels
