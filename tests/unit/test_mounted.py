"""What is made of mounted files is made anew when they change, whole, and outlives what cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from bowerbird.mounted import CredentialsUnusable, Followed
from tests.mounted import MountedSecret


@pytest.fixture
def secret(tmp_path: Path) -> MountedSecret:
    secret = MountedSecret(tmp_path / "secret")
    secret.write(name="one", key="one")
    return secret


class Pair:
    """Reads two files; between them, what `then` has is written."""

    def __init__(self, secret: MountedSecret) -> None:
        self._secret = secret
        self.then: list[str] = []
        self.reads = 0

    def __call__(self) -> tuple[str, str]:
        self.reads += 1
        name = (self._secret.folder / "name").read_text()
        if self.then:
            text = self.then.pop()
            self._secret.write(name=text, key=text)
        if name == "bad":
            raise CredentialsUnusable("name is bad.")
        return name, (self._secret.folder / "key").read_text()


def test_files_are_read_when_they_changed_and_only_then(secret: MountedSecret) -> None:
    pair = Pair(secret)
    followed = Followed(pair, secret.folder)
    assert [followed.now() for _ in range(3)] == [("one", "one")] * 3
    assert pair.reads == 1
    secret.write(name="two", key="two")
    assert followed.now() == ("two", "two")
    assert pair.reads == 2


def test_a_folder_and_its_files_by_name_are_followed_alike(secret: MountedSecret) -> None:
    followed = Followed(Pair(secret), secret.folder / "name", secret.folder / "key")
    secret.write(name="two", key="two", other="file")
    assert followed.now() == ("two", "two")


def test_what_is_replaced_while_it_is_read_is_read_again(secret: MountedSecret) -> None:
    pair = Pair(secret)
    followed = Followed(pair, secret.folder)
    secret.write(name="two", key="two")
    pair.then = ["three"]
    assert followed.now() == ("three", "three")


def test_what_was_half_of_another_at_the_start_is_read_again(secret: MountedSecret) -> None:
    pair = Pair(secret)
    pair.then = ["two"]
    assert Followed(pair, secret.folder).now() == ("two", "two")


@pytest.mark.parametrize("files", [{"name": "bad", "key": "two"}, {"key": "two"}, {}])
def test_what_cannot_be_used_is_told_once_and_changes_nothing(
    secret: MountedSecret, files: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    followed = Followed(Pair(secret), secret.folder)
    secret.write(**files)
    assert [followed.now() for _ in range(3)] == [("one", "one")] * 3
    assert [each.message for each in caplog.records] == ["new credentials cannot be used; those before go on"]
    secret.write(name="three", key="three")
    assert followed.now() == ("three", "three")


def test_what_cannot_be_used_yet_is_tried_again_unchanged(
    secret: MountedSecret, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = [False]

    def read() -> str:
        if early[0]:
            raise CredentialsUnusable("It is not valid yet.")
        return (secret.folder / "name").read_text()

    followed = Followed(read, secret.folder)
    secret.write(name="two")
    early[0] = True
    monkeypatch.setattr("bowerbird.mounted.AGAIN_SECONDS", 0.0)
    assert followed.now() == "one"
    early[0] = False
    assert followed.now() == "two"


def test_what_cannot_be_used_at_the_start_is_told_to_who_begins(secret: MountedSecret) -> None:
    secret.write(name="bad", key="one")
    with pytest.raises(CredentialsUnusable, match="name is bad"):
        Followed(Pair(secret), secret.folder)
