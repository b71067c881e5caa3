"""A key's bytes are in the answer that shows it and nowhere else: no log, trace, metric, error, row or file."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bowerbird.gateway.identity.access_key import make_key
from bowerbird.settings import ServiceAccount

from ..conftest import GatewayIn, draw
from .api_server import running_api_server
from .gateways import ADMIN, Administrator, bearer


def test_no_credential_is_anywhere_that_was_written(
    gateway_in: GatewayIn, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    home, cluster_folder = tmp_path / "home", tmp_path / "cluster"
    cluster_folder.mkdir()
    exporter = InMemorySpanExporter()
    said: list[str] = []
    with running_api_server(cluster_folder) as cluster, caplog.at_level(logging.DEBUG):
        accounts = {"birds:painter": ServiceAccount(tenant="birds")}
        token = cluster.vouch("birds:painter")
        with gateway_in(
            home,
            admin_keys=frozenset({ADMIN}),
            service_accounts=accounts,
            kubernetes_url=cluster.url,
            kubernetes_ca=cluster_folder / "ca.crt",
            kubernetes_token=cluster_folder / "token",
        ) as client:
            provider = trace.get_tracer_provider()
            assert isinstance(provider, TracerProvider)
            processor = SimpleSpanProcessor(exporter)
            provider.add_span_processor(processor)
            client.event_hooks["response"].append(
                lambda answer: said.append(answer.read().decode() + repr(answer.headers))
            )
            secrets = use_every_kind_of_credential(client, token)
            said.append(client.get("/metrics").text)
            processor.shutdown()
    written = {
        "answers": "".join(said),
        "logs": repr([vars(record) for record in caplog.records]) + caplog.text,
        "output": "".join(capfd.readouterr()),
        "spans": "".join(span.to_json() for span in exporter.get_finished_spans()),
        "files": "".join(file.read_bytes().decode("latin-1") for file in home.rglob("*") if file.is_file()),
    }
    assert "/v1/models" in written["logs"]
    assert "GET /v1/models" in written["spans"]
    assert "tenant.create" in written["files"]
    for secret in secrets:
        for place, text in written.items():
            shown = 1 if place == "answers" and secret.startswith("bb_") and secret in written["answers"] else 0
            assert text.count(secret) == shown, f"a credential is in the {place}"


def use_every_kind_of_credential(client: httpx2.Client, token: str) -> list[str]:
    """Credentials that were sent, rightly and wrongly, in the right header and in wrong places."""
    admin = Administrator(client)
    admin.tenant(tier="free")
    issued = admin.key()
    revoked, never = admin.key(), make_key().text
    admin.done("DELETE", f"/keys/{admin.id_of(revoked)}")
    for key in (issued, revoked, never, token, ADMIN, "sk-some-other-services-key"):
        client.get("/v1/models", headers=bearer(key))
        client.get("/v1/models", headers={"Authorization": key})
        client.get("/v1/nothing-here", headers=bearer(key))
        draw(client, bearer(key), steps=0)
    for _ in range(30):
        client.get("/v1/models", headers=bearer(issued))
    draw(client, bearer(issued))
    return [issued, revoked, never, token, ADMIN, "sk-some-other-services-key"]
