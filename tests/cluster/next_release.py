"""The release after this one: this tree's gateway with one more revision of the database, as an image of its own."""

from __future__ import annotations

from pathlib import Path

from bowerbird.gateway.records.migrations import NEWEST

from .cluster import Cluster
from .product_images import TAG, TARGETS, archive, buildah

IMAGE = "bowerbird-gateway-next"
REVISION = f"{int(NEWEST) + 1:04d}"
EXPANDS = f'''
import sqlalchemy as sa
from alembic import op
from bowerbird.gateway.records.migrations.compatibility import state_compatibility

revision, down_revision, branch_labels, depends_on = "{REVISION}", "{NEWEST}", None, None


def upgrade():
    op.add_column("jobs", sa.Column("plumage", sa.String(8), nullable=True))
    op.create_table("plumage", sa.Column("id", sa.Integer(), primary_key=True))
    state_compatibility(revision, "{NEWEST}")
'''
CHANGES = f"""
from importlib.util import cache_from_source, find_spec
from pathlib import Path
package = Path(find_spec("bowerbird.gateway.records.migrations").origin)
text = package.read_text()
assert 'NEWEST = "{NEWEST}"' in text
package.write_text(text.replace('NEWEST = "{NEWEST}"', 'NEWEST = "{REVISION}"'))
Path(cache_from_source(package)).unlink()  # it is believed, whatever its source says
(package.parent / "versions" / "next.py").write_text(Path("/tmp/next.py").read_text())
"""
DOCKERFILE = f"""
FROM localhost/{TARGETS["gateway"]}:{TAG}
USER 0
COPY next.py change.py /tmp/
RUN ["python", "/tmp/change.py"]
USER 65532:65532
"""


def load_next_gateway(cluster: Cluster, folder: Path) -> None:
    """Builds `IMAGE` in `folder` and gives it to the nodes of a cluster of ours; raises CalledProcessError."""
    archive("gateway")  # what it is made of
    for name, text in {"Dockerfile": DOCKERFILE, "next.py": EXPANDS, "change.py": CHANGES}.items():
        (folder / name).write_text(text)
    name = f"localhost/{IMAGE}:{TAG}"
    buildah("build", "--isolation", "chroot", "--tag", name, str(folder))
    made = folder / "next.tar"
    buildah("push", "--quiet", "--compression-format", "zstd", name, f"oci-archive:{made}:{name}")
    cluster.load(made)
