"""The family of a species, and the LoRA that draws it: a table that people edit.

A species' family follows from its genus, the first word of its scientific name, so that the table needs no line for
each of eleven thousand birds. A genus that no family lists has none, and a LoRA that is not in the model's folder takes
no part: both are no fault of the caller, who named a bird and no LoRA, and a picture without it is still one of that
bird. The answer and the label say so (`without_lora`), so that nobody takes one for the other.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bowerbird.contracts import FileVersion, LoraUse

PACKAGED = Path(__file__).with_name("families.toml")
SETTING = "BOWERBIRD_SPECIES_FAMILIES"

Genus = Annotated[str, Field(pattern=r"^[A-Z][a-z]{1,39}$")]
FamilyName = Annotated[str, Field(pattern=r"^[A-Z][a-z]{3,39}$")]


class Family(BaseModel):
    """One family: which genera are in it, and its LoRA, if one was taught."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    genera: tuple[Genus, ...] = Field(min_length=1)
    lora: LoraUse | None = None


class Families(BaseModel):
    """One version of the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: FileVersion
    families: Mapping[FamilyName, Family]

    @model_validator(mode="after")
    def _each_genus_once(self) -> Self:
        listed = Counter(genus for family in self.families.values() for genus in family.genera)
        if twice := [genus for genus, times in listed.items() if times > 1]:
            raise ValueError(f"{twice[0]} is listed more than once")
        return self

    @cached_property
    def by_genus(self) -> dict[Genus, FamilyName]:
        """Which family each genus is of."""
        return {genus: name for name, family in self.families.items() for genus in family.genera}

    def of(self, scientific_name: str) -> tuple[FamilyName | None, LoraUse | None]:
        """The family of a species and its LoRA."""
        name = self.by_genus.get(scientific_name.partition(" ")[0])
        return (None, None) if name is None else (name, self.families[name].lora)


def read_families(file: Path | None) -> Families:
    """The table of a file, or the packaged one; raises SystemExit naming what is wrong with it."""
    path = file or PACKAGED
    try:
        raw = path.read_bytes()
        table = tomllib.loads(raw.decode("utf-8"))
        version = {"version": table.pop("version", None), "digest": f"sha256:{hashlib.sha256(raw).hexdigest()}"}
        return Families.model_validate({"version": version, "families": table})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SystemExit(f"{SETTING}: {path} cannot be read: {error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"][1:])
        raise SystemExit(f"{SETTING}: {path}: {where or 'families'}: {first['msg']}.") from error
