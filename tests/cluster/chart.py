"""The chart as files: rendering, the committed renderings of its examples, and its README, which is its values.

python -m tests.cluster chart     writes both anew
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from .binaries import program

CHART = Path(__file__).parents[2] / "charts" / "bowerbird"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
RENDERED = CHART / "examples" / "rendered"
RELEASE, NAMESPACE = "bowerbird", "bowerbird"
KEDA = ("--api-versions", "keda.sh/v1alpha1")
"""What `helm template` takes for a cluster that has KEDA."""
KEYS = ("--set", "credentials.existingSecret=keys")
"""What every release needs."""
HEADER = """# Chart `bowerbird`

Gateway, safety, text-to-image, animation and curation, from one map `services:`. `examples/` has three clusters, and
below `rendered/` what the chart makes of them. Made from `values.yaml` by `python -m tests.cluster chart`.

| value | default | what it is |
|---|---|---|
"""


@cache  # many facts are of one rendering, and Helm takes a tenth of a second for each
def render(values: Path | None = None, *options: str, release: str = RELEASE, namespace: str = NAMESPACE) -> str:
    """The manifests for a file of values; raises CalledProcessError, whose stderr says why not."""
    files = ["--values", str(values), *KEDA] if values else []
    command = [str(program("helm")), "template", release, str(CHART), "--namespace", namespace, *files, *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def objects(manifests: str) -> list[dict[str, Any]]:
    """Every object in a stream of manifests."""
    return [each for each in yaml.safe_load_all(manifests) if each]


def pod_of(rendered: list[Any], service: str) -> dict[str, Any]:
    """What the pods of a service are made by."""
    (pod,) = [
        each["spec"]["template"]["spec"]
        for each in rendered
        if each["kind"] == "Deployment" and each["metadata"]["name"] == service
    ]
    return dict(pod)


def environment(rendered: list[Any], service: str) -> dict[str, str]:
    """What a service's container is told by variables that have a value."""
    (container,) = pod_of(rendered, service)["containers"]
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def mounted(pod: dict[str, Any], container: dict[str, Any], path: str) -> str | None:
    """The Secret whose keys are files there, all of them and renewed by the kubelet; None where that is none."""
    (mount,) = [each for each in container["volumeMounts"] if each["mountPath"] == path]
    (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
    secret = volume.get("secret", {})
    return None if mount.keys() & {"subPath", "subPathExpr"} or "items" in secret else secret.get("secretName")


def refusal(*options: str) -> str:
    """What Helm says against these values; raises AssertionError where it says nothing."""
    try:
        render(None, *options)
    except subprocess.CalledProcessError as error:
        said: str = error.stderr
        return said
    raise AssertionError(f"Helm refuses nothing of {' '.join(options)}")


def write_derived() -> None:
    """Writes what is made of the chart's own files."""
    RENDERED.mkdir(exist_ok=True)
    for example in EXAMPLES:
        (RENDERED / example.name).write_text(render(example), encoding="utf-8")
    (CHART / "README.md").write_text(readme(), encoding="utf-8")


def readme() -> str:
    """A table of every value: its path, its default and the sentences after `# --`."""
    rows = [f"| `{path}` | `{default}` | {text} |" for path, default, text in documented()]
    return HEADER + "\n".join(rows) + "\n"


def documented() -> Iterator[tuple[str, str, str]]:
    """Path, default and description of each value that has a description, in the order of the file."""
    text, parents = "", list[tuple[int, str]]()
    for line in (CHART / "values.yaml").read_text(encoding="utf-8").splitlines():
        bare, indent = line.strip(), len(line) - len(line.lstrip())
        if bare.startswith("# -- "):
            text = bare.removeprefix("# -- ")
        elif bare.startswith("# ") and text:
            text += " " + bare.removeprefix("# ")
        elif bare and not bare.startswith("#"):
            key, _, default = bare.partition(":")
            parents = [*(each for each in parents if each[0] < indent), (indent, key)]
            if text:
                yield ".".join(name for _, name in parents), default.strip() or "…", text
            text = ""


def undocumented() -> list[str]:
    """Paths of values that have no description of their own and no part that has one."""
    described = {path for path, _, _ in documented()}
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return [
        path
        for path in _leaves(values, "")
        if not any(path == each or path.startswith(f"{each}.") for each in described)
    ]


def _leaves(value: object, path: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    else:
        yield path
