"""An API of custom metrics that says what a test tells it: what a HorizontalPodAutoscaler asks that goes by a metric.

On a company's cluster it is Prometheus' adapter; here it is one number, aggregated into the API server as an APIService
whose endpoint is this machine's end of the bridge (https://github.com/kubernetes/metrics, custom.metrics.k8s.io).
"""

from __future__ import annotations

import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .certificates import Authority
from .cluster import Cluster
from .network import HOST_ADDRESS

GROUP, VERSION = "custom.metrics.k8s.io", "v1beta2"
NAME = "custom-metrics"
NAMESPACE = "kube-system"
HOST = f"{NAME}.{NAMESPACE}.svc"
METRIC = "requests_waiting"


class MetricsApi(ThreadingHTTPServer):
    """Answers that `METRIC` of whatever Service is asked about is `value`."""

    daemon_threads = True
    value = 0

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__((HOST_ADDRESS, 0), _Asked)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)


@contextmanager
def metrics_api(cluster: Cluster, folder: Path) -> Iterator[MetricsApi]:
    """One that the API server passes questions on to while the block runs; its certificate is written to `folder`."""
    authority = Authority(folder, "metrics-ca")
    served = MetricsApi(*authority.issue(folder / NAME, HOST, hosts=[HOST]))
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    manifest = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": _objects(served.server_port, authority.certificate_file)}
    )
    try:
        cluster.kubectl("apply", "-f", "-", manifest=manifest)
        path = '{.status.conditions[?(@.type=="Available")].status}'
        asked = ("get", "apiservice", f"{VERSION}.{GROUP}", "--output", f"jsonpath={path}")
        cluster.until(lambda: cluster.kubectl(*asked) == "True", "an API of metrics that is available")
        yield served
    finally:
        cluster.kubectl("delete", "-f", "-", manifest=manifest)
        served.shutdown()
        thread.join()
        served.server_close()


class _Asked(BaseHTTPRequestHandler):
    """One connection of the API server."""

    server: MetricsApi
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """What there is, and how much of it."""
        path = self.path.partition("?")[0]
        if path == f"/apis/{GROUP}/{VERSION}":
            self._say(200, _resources())
        elif path.endswith(f"/{METRIC}"):
            _, _, _, _, _, namespace, _, service, _ = path.split("/")
            self._say(200, _values(namespace, service, self.server.value))
        else:
            self._say(404, {"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 404})

    def log_message(self, format: str, *_: object) -> None:
        """Nothing: pytest's output is about tests."""

    def _say(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _resources() -> dict[str, Any]:
    named = {"name": f"services/{METRIC}", "singularName": "", "namespaced": True, "kind": "MetricValueList"}
    return {
        "apiVersion": "v1",
        "kind": "APIResourceList",
        "groupVersion": f"{GROUP}/{VERSION}",
        "resources": [{**named, "verbs": ["get"]}],
    }


def _values(namespace: str, service: str, value: int) -> dict[str, Any]:
    described = {"apiVersion": "v1", "kind": "Service", "namespace": namespace, "name": service}
    timestamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {
        "describedObject": described,
        "metric": {"name": METRIC},
        "timestamp": timestamp,
        "value": str(value),
    }
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "MetricValueList", "metadata": {}, "items": [found]}


def _objects(port: int, ca: Path) -> list[dict[str, Any]]:
    """The API, the Service that it is asked by, and where that leads; HPAs' controller may read all of its metrics."""
    named = {"name": NAME, "namespace": NAMESPACE}
    slice_labels = {"kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": "tests"}
    account = {"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": NAMESPACE}
    rights = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": f"hpa-{NAME}"}}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": named,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**named, "labels": slice_labels},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            "endpoints": [{"addresses": [HOST_ADDRESS], "conditions": {"ready": True}}],
        },
        {
            **rights,
            "kind": "ClusterRole",
            "rules": [{"apiGroups": [GROUP], "resources": ["*"], "verbs": ["get", "list"]}],
        },
        {
            **rights,
            "kind": "ClusterRoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"hpa-{NAME}"},
            "subjects": [account],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{GROUP}"},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"name": NAME, "namespace": NAMESPACE, "port": 443},
                "caBundle": b64encode(ca.read_bytes()).decode(),
            },
        },
    ]
