"""The prompt of a species' picture, built from a template file with Jinja2.

The template is data of whoever runs this, and runs in Jinja's immutable sandbox: it reads what it is given and changes
nothing. What a caller says never is a template: names are values, and values are not read again. They are letters and
little else (`contracts.CommonName`), the rest is words of closed lists, so that nothing in them can end a sentence and
begin an instruction; and what comes out passes the safety policy like any prompt.
(https://jinja.palletsprojects.com/en/stable/sandbox/)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bowerbird.contracts import MAX_SCIENTIFIC_NAME_CHARACTERS, FileVersion
from bowerbird.errors import RequestInvalid
from bowerbird.gateway.species.words import Circumstances, Names, every_circumstance

PACKAGED = Path(__file__).with_name("image_prompt.jinja")
SETTING = "BOWERBIRD_SPECIES_PROMPT"
MAX_BUILT_CHARACTERS = 400
"""Of a built prompt: some 75 tokens, which is what CLIP's text encoders read."""

_VERSION = re.compile(r"\{#-?\s*version:\s*([1-9][0-9]{0,8})\s*-?#\}")
_LONGEST = Names(
    common=" ".join(["Abcdefghi"] * 6),
    scientific="A" + "b" * 39 + " " + "c" * (MAX_SCIENTIFIC_NAME_CHARACTERS - 41),
)
_USUAL = Names(common="American robin", scientific="Turdus migratorius")
_FAILURES = (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError)
"""What a template can raise when it is rendered: Jinja's errors, and those of the expressions in it."""


class NoPrompt(Exception):
    """The template makes no prompt of this; the message says why, without what was asked."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """One version of the file."""

    version: FileVersion
    template: Template

    def prompt(self, name: Names, family: str | None, said: Circumstances) -> str:
        """One line of at most MAX_BUILT_CHARACTERS; raises RequestInvalid where the template makes none of this."""
        try:
            return self._built(name, family, said)
        except NoPrompt as error:
            raise RequestInvalid(f"common_name: no prompt can be made of this: {error}.", param="common_name") from None

    def try_all(self, families: Sequence[str | None]) -> None:
        """Raises NoPrompt unless everything that can be asked for becomes a prompt, with the longest names too."""
        for family in families:
            for said in every_circumstance():
                for name in (_LONGEST, _USUAL):
                    self._built(name, family, said)

    def _built(self, name: Names, family: str | None, said: Circumstances) -> str:
        words = {key: None if word is None else word.value for key, word in said._asdict().items()}
        try:
            text = self.template.render(
                common_name=name.common, scientific_name=name.scientific, family=family, **words
            )
        except _FAILURES as error:
            raise NoPrompt(f"the template failed ({type(error).__name__})") from error
        prompt = " ".join(text.split())
        if not prompt:
            raise NoPrompt("it is empty")
        if len(prompt) > MAX_BUILT_CHARACTERS:
            raise NoPrompt(f"it has {len(prompt)} characters, more than {MAX_BUILT_CHARACTERS}")
        return prompt


def read_template(file: Path | None, families: Sequence[str]) -> PromptTemplate:
    """The template of a file, or the packaged one; raises SystemExit naming what is wrong with it."""
    path = file or PACKAGED
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"{SETTING}: {path} cannot be read: {error}.") from error
    stated = _VERSION.match(text)
    if stated is None:
        raise SystemExit(f"{SETTING}: {path} does not begin with its version, {{# version: 1 #}} say.")
    version = FileVersion(version=int(stated[1]), digest=f"sha256:{hashlib.sha256(raw).hexdigest()}")
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    try:
        template = PromptTemplate(version, environment.from_string(text))
        template.try_all([None, *families])
    except (TemplateError, NoPrompt) as error:
        raise SystemExit(f"{SETTING}: {path}: {error}.") from error
    return template
