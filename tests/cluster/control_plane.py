"""The machine `control`: etcd, the API server, the scheduler and the controllers, with the flags that matter here."""

from __future__ import annotations

from pathlib import Path

from .access import write_kubeconfig
from .binaries import program, search_path
from .certificates import Authority, write_key
from .machine import Service
from .network import API_SERVICE_ADDRESS, CONTROL_ADDRESS, SERVICES

ETCD = "http://127.0.0.1:2379"


def services(folder: Path, authority: Authority) -> list[Service]:
    """What the machine runs; certificates and kubeconfigs are written into `folder`."""
    account_key = write_key(folder / "service-accounts.key")
    environment = {"PATH": search_path()}
    return [
        Service("etcd", _etcd(folder), environment),
        Service("kube-apiserver", _api_server(folder, authority, account_key), environment),
        Service("kube-scheduler", _scheduler(folder, authority), environment),
        Service("kube-controller-manager", _controllers(folder, authority, account_key), environment),
    ]


def _etcd(folder: Path) -> list[str]:
    return [
        str(program("etcd")),
        f"--data-dir={folder}/var/lib/etcd",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",  # it outlives the death of its process, which is all that tests inflict
    ]


def _api_server(folder: Path, authority: Authority, account_key: Path) -> list[str]:
    hosts = [CONTROL_ADDRESS, API_SERVICE_ADDRESS, "kubernetes.default.svc", "kubernetes.default", "kubernetes"]
    served, served_key = authority.issue(folder / "apiserver", "kube-apiserver", hosts=hosts)
    kubelet, kubelet_key = authority.issue(folder / "apiserver-kubelet", "kube-apiserver", "system:masters")
    front = Authority(folder, "front-proxy-ca")
    proxy, proxy_key = front.issue(folder / "front-proxy", "front-proxy")
    return [
        str(program("kube-apiserver")),
        f"--etcd-servers={ETCD}",
        # Not loopback: endpoints of the Service `kubernetes` must be reachable from pods.
        f"--advertise-address={CONTROL_ADDRESS}",
        f"--service-cluster-ip-range={SERVICES}",
        f"--client-ca-file={authority.certificate_file}",
        f"--tls-cert-file={served}",
        f"--tls-private-key-file={served_key}",
        f"--kubelet-certificate-authority={authority.certificate_file}",
        f"--kubelet-client-certificate={kubelet}",
        f"--kubelet-client-key={kubelet_key}",
        "--kubelet-preferred-address-types=InternalIP",  # names of nodes are in no DNS
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={account_key}",
        f"--service-account-signing-key-file={account_key}",
        # KEDA's metrics are an aggregated API. No kube-proxy runs here: Services are resolved to pods.
        "--enable-aggregator-routing=true",
        f"--requestheader-client-ca-file={front.certificate_file}",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={proxy}",
        f"--proxy-client-key-file={proxy_key}",
        "--allow-privileged=true",
    ]


def _scheduler(folder: Path, authority: Authority) -> list[str]:
    config = write_kubeconfig(folder / "scheduler.kubeconfig", authority, "system:kube-scheduler")
    return [
        str(program("kube-scheduler")),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--leader-elect=false",
    ]


def _controllers(folder: Path, authority: Authority, account_key: Path) -> list[str]:
    config = write_kubeconfig(folder / "controllers.kubeconfig", authority, "system:kube-controller-manager")
    return [
        str(program("kube-controller-manager")),
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={account_key}",
        f"--root-ca-file={authority.certificate_file}",
        "--controllers=*,-nodeipam,-service-lb-controller,-node-route-controller",
        # A node that is killed is to be noticed within a test's patience.
        "--node-monitor-grace-period=20s",
        # And whoever is counted by a metric is counted more often than the 15 s between two looks.
        "--horizontal-pod-autoscaler-sync-period=5s",
    ]
