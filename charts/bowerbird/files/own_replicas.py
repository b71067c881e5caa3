"""Takes `replicas` of Deployments that have no pods away from Helm: python own_replicas.py NAMESPACE NAME …

Run by a hook of the chart, in the gateway's image, between the two times that Helm applies such a Deployment: first
with 0 pods, then without a count. A field that nobody but Helm had set would fall back to its default then, which is
one pod without demand; a second owner keeps it. Whoever changes the count later (KEDA, a person) becomes the owner.
https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
OWNER = "bowerbird"
ANSWER_SECONDS = 20


def main(namespace: str, names: list[str]) -> None:
    """Raises URLError, with the API server's answer, where it refuses."""
    server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    headers = {
        "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
        "Content-Type": "application/apply-patch+yaml",
    }
    for name in names:
        url = f"{server}/apis/apps/v1/namespaces/{namespace}/deployments/{name}?fieldManager={OWNER}"
        # Not by the subresource `scale`: there 0 is as good as nothing, and nobody can own it.
        mine = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"replicas": 0},
        }
        asked = urllib.request.Request(url, json.dumps(mine).encode(), headers, method="PATCH")  # noqa: S310 - https
        with urllib.request.urlopen(asked, timeout=ANSWER_SECONDS, context=trusted):  # noqa: S310 - https
            print(f"{name}: its count is not Helm's")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
