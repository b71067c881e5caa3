"""Settings: `BOWERBIRD_*` environment variables, read once at start, typed and frozen.

Each process calls `Settings()` once, in its entry (`cli.py`, a service's `__init__`, `gateway.main`), and hands the
value on; nothing else reads the environment. OpenTelemetry's own variables stay OpenTelemetry's (`OTEL_*`).

Credentials may be files instead: `BOWERBIRD_SECRETS` names a folder whose files are called as the variables are, in
small or capital letters (`bowerbird_admin_keys`), as Kubernetes mounts a Secret. A variable goes before its file. The
gateway reads keys from there again when they change (`gateway/credentials.py`), and the user and password of its
database (`gateway/records/login.py`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, IPvAnyNetwork
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

PACKAGED_MODELS = Path(__file__).parent / "models"
SECRETS_VARIABLE = "BOWERBIRD_SECRETS"


class ServiceAccount(BaseModel):
    """Whom the tokens of a ServiceAccount stand for: somebody of a tenant that administrators made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    role: Literal["tenant", "reviewer", "operator", "admin"] = "tenant"


class DemandSchedule(BaseModel):
    """Pods of a service that are wanted at certain hours, whatever the work."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    cron: str = Field(max_length=200)
    """Five fields, as Debian's cron reads them: when it begins."""
    timezone: str = Field(default="UTC", max_length=64)
    """Of the IANA database, whose hours these are: `Europe/Berlin`."""
    seconds: int = Field(ge=60, le=7 * 86_400)
    """How long it holds each time."""
    pods: int = Field(default=1, ge=1, le=1000)


class FromEnvironment(BaseSettings):
    """What the environment says, and the files of `BOWERBIRD_SECRETS`."""

    model_config = SettingsConfigDict(
        env_prefix="BOWERBIRD_", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the files of `BOWERBIRD_SECRETS`; nothing is read from `.env`."""
        folder = secrets_folder()
        files = () if folder is None else (SecretsSettingsSource(settings_cls, secrets_dir=folder),)
        return (init_settings, env_settings, *files)


class Settings(FromEnvironment):
    """Every setting of every process, with its unit and the reason for its default."""

    home: Annotated[Path, AfterValidator(Path.absolute)] = Path(".bowerbird")
    """State that outlives a process: certificate, logs, caches. Relative to where `make up` was typed."""

    host: str = "127.0.0.1"
    """Address the gateway binds. Anything but loopback needs `api_keys`."""

    port: int = Field(default=8000, ge=0, le=65535)
    """Port of the gateway; 0 picks a free one."""

    listen_fd: int | None = Field(default=None, ge=0)
    """An open socket that the gateway inherits and serves instead of binding one: who restarts it keeps the socket, and
    connections wait in it meanwhile."""

    api_keys: frozenset[str] = Field(default=frozenset(), repr=False)
    """Bearer keys that are accepted, as a JSON list. Empty: loopback only, any key is the tenant `local`."""

    admin_keys: frozenset[Annotated[str, Field(min_length=20)]] = Field(default=frozenset(), repr=False)
    """Bearer keys of administrators, as a JSON list: with one of them the first tenants and keys are made. At least 20
    characters: nothing stands between who guesses one and everything."""

    tiers: Path | None = None
    """TOML of what each tier may take; None: `gateway/identity/tiers.toml`."""

    limits_alone_part: float = Field(default=0.25, gt=0, le=1)
    """The part of each limit that a gateway grants by itself while the database is away: four keep to the limit."""

    service_accounts: dict[str, ServiceAccount] = {}
    """`namespace:name`, or `namespace:*`, of Kubernetes' ServiceAccounts -> whom their tokens stand for, as JSON."""

    service_account_audience: str = Field(default="bowerbird", min_length=1)
    """The audience that such a token must be bound to: one made for another service opens nothing here."""

    kubernetes_url: str = "https://kubernetes.default.svc"
    kubernetes_token: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    kubernetes_ca: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
    """The API server that reviews tokens, the gateway's own token (needs `system:auth-delegator`), and its CA."""

    safety_url: str = "http://127.0.0.1:8001"
    text_to_image_url: str = "http://127.0.0.1:8002"
    animation_url: str = "http://127.0.0.1:8003"
    curation_url: str = "http://127.0.0.1:8004"
    """Where the gateway finds the stages. `text_to_image_url` may be several with commas between them: requests go to
    the least loaded."""

    kubernetes_namespace: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """The namespace of this release. Set: the endpoints of each stage are the pods of the Service that its URL names,
    and they come and go (`gateway/discovery`). None: the URLs are all that there is."""

    stages_asleep: frozenset[Literal["safety", "text-to-image", "animation", "curation"]] = frozenset()
    """Stages that have no pod while nobody needs them and are woken by demand, as a JSON list. Needs
    `kubernetes_namespace`."""

    wake_seconds: float = Field(default=300.0, gt=0, le=3600)
    """How long a request waits for stages that sleep: a large image is pulled and a large model read within minutes."""

    node_seconds: float = Field(default=600.0, ge=0, le=3600)
    """How long it waits beside that while no node has room for a pod: clouds take minutes to provide a GPU."""

    scaler_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of KEDA's external-push scaler (gRPC), at `host`; 0 picks a free one. None: KEDA is told nothing."""

    scaler_certificate: Path | None = None
    scaler_key: Path | None = None
    scaler_client_ca: Path | None = None
    """PEM certificate and key of that port, and the CA of those who may ask there; all three, or none (plain HTTP/2).
    They may be replaced under the same CA without a restart."""

    demand_floors: dict[str, Annotated[int, Field(ge=0, le=1000)]] = {}
    """Service -> pods that are wanted whatever the work, as JSON: `{"safety": 1}` keeps one awake."""

    demand_schedules: tuple[DemandSchedule, ...] = ()
    """The same at certain hours, as a JSON list: `[{"service": "text-to-image", "cron": "0 7 * * 1-5", "timezone":
    "Europe/Berlin", "seconds": 36000, "pods": 1}]`."""

    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    tls_name: str | None = Field(default=None, pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
    """PEM certificate and key that this process shows the others of its release, the CA that signed theirs, and the DNS
    name that all of them are made out to; all four, or none (no TLS between them). Model services then answer only who
    shows one, and the gateway's URLs of them begin with `https://`. Leaves may be renewed without a restart."""

    replica_port: int | None = Field(default=None, ge=0, le=65535)
    """Port at `host` where other gateways reach this one by TLS, and nobody else does; `replica_url` names it. None:
    they come to the port that everybody does."""

    model: Path = PACKAGED_MODELS / "fledgling"
    """The bundle that text-to-image draws with; the one that comes with it by default."""

    motion_model: Path | None = None
    """The bundle that animation draws clips with; None: `models/fledgling-motion` where that comes along. Without a
    motion denoiser animation answers 501."""

    animation_niceness: int = Field(default=0, ge=0, le=19)
    """How far animation lets other processes of its machine go first, as nice(1); `bowerbird up` gives it 5, so that a
    still beside a clip is not much later."""

    judge: Path = PACKAGED_MODELS / "fledgling-judge"
    """The bundle that curation judges with."""

    judge_species: Path | None = None
    """TOML of the species that this judge tells apart; None: `curation/species.toml`, what fledgling-judge knows."""

    safety_policy: Path | None = None
    """A policy file instead of the packaged one."""

    certificate: Path | None = None
    """PEM chain (leaf first) that curation signs with; None makes a development certificate in `home`."""

    certificate_key: Path | None = None
    """PEM private key that belongs to `certificate`."""

    trust_anchors: Path | None = None
    """PEM roots whose manifests count as `trusted`; None trusts the development root only."""

    drain_seconds: float = Field(default=8.0, gt=0, le=7200)
    """What a request may still take after SIGTERM: one picture on two slow cores. In a cluster as long as the longest
    wait and the longest request together, and less than the pod's `terminationGracePeriodSeconds`."""

    request_timeout_seconds: float = Field(default=120.0, gt=0, le=3600)
    """How long a request may take to compute when the caller names no deadline: twenty pictures on two slow cores."""

    queue_timeout_seconds: float = Field(default=120.0, gt=0, le=3600)
    """How long a request may wait for a slot before that, also for a model that starts; a large one takes minutes."""

    requests_at_once: int = Field(default=4096, ge=1)
    """Requests that are answered at once, streams among them, whatever they wait for; others are told to come back.
    Each takes some tens of KiB, and a stage that hangs holds those that ask it until their time is over."""

    queue_requests: int = Field(default=1024, ge=1)
    """Requests that may wait in all: each has a connection and a task, together some tens of KiB."""

    queue_units: float = Field(default=200_000.0, gt=0)
    """Compute units that may wait in all (one is a row of a step): 5 000 guided pictures of 20 steps."""

    queue_bytes: int = Field(default=80 * 1024 * 1024, ge=1)
    """Memory that requests may take in all while they wait: `queue_requests` of the longest prompts. Requests that
    bring pictures meet this bound before the other. Jobs and lines of batches meet none of the three: as many of them
    wait as gateways take in hand at a time."""

    queue_tenant_part: float = Field(default=0.25, gt=0, le=1)
    """The part of each of these that one tenant may have: who floods the gateway fills that part and no more."""

    replica_url: str | None = None
    """Where the other gateways on the same PostgreSQL reach this one, `http://10.1.2.3:8000` say: they keep one queue
    together. None: the address that it binds, if that is not every address; a gateway that cannot be reached queues for
    itself. Without `database_url` it is alone."""

    tenant_weights: dict[str, Annotated[float, Field(ge=0.01, le=100)]] = {}
    """Tenant -> its share of the model, as JSON; 1 for those that are not named. Tenants are named as in the log."""

    tenant_caches: dict[str, Literal["auto", "any"]] = {}
    """Tenant -> what its requests mean that have neither `seed` nor `cache`, as JSON: a new picture (`auto`, as for
    those that are not named), or `any` that was drawn for it by the same recipe, which costs nothing."""

    database_url: str | None = None
    """`postgresql://user:password@host/name`, which several gateways may share; None is a SQLite file in `home`. From a
    file, user and password may be replaced without a restart."""

    pictures_url: str | None = None
    """Where the pictures of jobs lie: `s3://bucket/path` (with AWS_* for endpoint and credentials) or `file:///path`;
    None is a folder in `home`."""

    pictures_secrets: Path | None = None
    """A folder whose files are called as AWS's variables are, and go before them (`AWS_ACCESS_KEY_ID`), as Kubernetes
    mounts a Secret: the bucket's credentials, which may be replaced without a restart."""

    backup_url: str | None = None
    """Where backups go and come from: `s3://bucket/path` or `file:///path`. A bucket is reached with the same AWS_* as
    the pictures', or, where they are set, with BACKUP_AWS_*: what is to survive an account lies in another one."""

    backup_secrets: Path | None = None
    """The same as `pictures_secrets` for the bucket of the backups, and before them."""

    backup_keep: int = Field(default=14, ge=1, le=1000)
    """Backups that are kept, the newest; with one a day, for how many days a mistake can be taken back."""

    job_lifetime_seconds: float = Field(default=86_400.0, gt=0, le=30 * 86_400)
    """A job that is not finished by then never will be: nobody waits for a picture longer than a day."""

    job_retention_seconds: float = Field(default=86_400.0, ge=86_400.0, le=365 * 86_400)
    """How long a finished job and its pictures are kept; not below the day for which an `Idempotency-Key` names it."""

    job_backlog: int = Field(default=10_000, ge=1)
    """Jobs of one tenant that may wait: rows in a database, not memory."""

    tenant_file_bytes: int = Field(default=20 * 1024**3, ge=1)
    """What the files of one tenant may take, uploads and what batches made of them: a batch of 50 000 small pictures
    makes 8 GB. Pictures that clips begin with count as well, as long as their clips are kept. An upload, a new batch or
    such a clip beyond it is refused; what was accepted is finished."""

    tenant_batches: int = Field(default=100, ge=1)
    """Batches of one tenant that may be under way."""

    webhook_keys: tuple[str, ...] = ()
    """Base64 of 32 bytes each, as a JSON list: seal the signing secrets of webhooks in the database; the first seals,
    all open. Needed with `database_url`: all gateways need the same. Without: a file in `home`."""

    webhook_networks: tuple[IPvAnyNetwork, ...] = ()
    """Networks that webhooks may be sent to besides public addresses, as a JSON list: `["10.0.0.0/8"]`. Whoever may
    name an endpoint reaches every service in them."""

    webhook_plain_http: bool = False
    """Whether endpoints may have `http://` URLs: what is told is signed, but anybody on the way reads it."""

    result_bytes: int = Field(default=2 * 1024**3, ge=0)
    """Pictures kept in all to answer later requests: some twenty thousand of 256 x 256. 0 keeps none."""

    result_ttl_seconds: float = Field(default=30 * 86_400, ge=1)
    """How long such a picture is kept at most."""

    species_prompt: Path | None = None
    """Jinja template that a species' names become a prompt by; None: `gateway/species/image_prompt.jinja`."""

    species_families: Path | None = None
    """TOML of families of species, their genera and LoRAs; None: `gateway/species/families.toml`."""

    stage_poll_seconds: float = Field(default=1.0, gt=0, le=60)
    """How often the gateway looks whether a stage is ready: a person at `make up` waits for it."""

    spool_bytes: int = Field(default=32 * 1024 * 1024, ge=0)
    """Candidate frames of one request kept in the gateway's memory; what exceeds it goes to a temporary file."""

    max_request_pixels: int = Field(default=20 * 1024 * 1024, ge=1)
    """Bound of n x candidates x width x height of one request: twenty frames of 1024 x 1024."""

    max_clip_pixels: int = Field(default=30 * 1024 * 1024, ge=1)
    """Bound of candidates x frames x width x height of one clip: five seconds of 24 frames of 512 x 512."""

    slots: int = Field(default=0, ge=0, le=1024)
    """Requests a model service admits at once, 429 beyond; 0: twice the largest batch that pays on this machine."""

    backend: Literal["cpu", "openvino", "cuda", "tensorrt"] = "cpu"
    """What runs the graphs. One that is not here stops the start; no other is taken instead."""

    fixed_batch: bool = False
    """Every denoiser call with the same number of rows, dead ones included: on a 16-bit backend the only way to the
    same picture bit for bit whoever shares the batch (without it, to 35 dB PSNR); costs throughput at low load. A
    setting and no field of a request, because a batch has one shape: whoever asked would make those beside it pay. To
    offer both, serve the bundle twice."""

    threads: int = Field(default=0, ge=0, le=256)
    """Threads that compute, in all; 0 means as many as there are cores."""

    memory_bytes: int = Field(default=0, ge=0)
    """What a bundle may take (on a GPU: of its memory); 0 takes what the machine, or the container, has free."""

    cache: Annotated[Path | None, AfterValidator(lambda path: path and path.absolute())] = None
    """Where graphs prepared for this runtime and this machine are kept; None is `home`/cache. Safe to delete."""

    loras: Annotated[Path | None, AfterValidator(lambda path: path and path.absolute())] = None
    """Folder of LoRA files (`<id>.safetensors`), mounted read-only; looked at again whenever one is named."""

    lora_slots: int = Field(default=8, ge=1, le=64)
    """LoRAs kept ready on the device; the least recently used makes room."""


def secrets_folder() -> Path | None:
    """Where credentials lie as files; raises SystemExit for a folder that is not there: a Secret was not mounted."""
    named = os.environ.get(SECRETS_VARIABLE)
    if not named:
        return None
    if not Path(named).is_dir():
        raise SystemExit(f"{SECRETS_VARIABLE}: {named} is no folder. Mount the Secret there, or unset the variable.")
    return Path(named)
