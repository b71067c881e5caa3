"""The files that pictures of species are asked for with, read and tried at start."""

from __future__ import annotations

from dataclasses import dataclass

from bowerbird.gateway.species.families import Families, read_families
from bowerbird.gateway.species.template import PromptTemplate, read_template
from bowerbird.settings import Settings


@dataclass(frozen=True, slots=True)
class SpeciesFiles:
    """What turns a species into a request."""

    template: PromptTemplate
    families: Families


def open_species(settings: Settings) -> SpeciesFiles:
    """Both files of these settings; raises SystemExit naming the setting, the file and what is wrong."""
    families = read_families(settings.species_families)
    return SpeciesFiles(read_template(settings.species_prompt, list(families.families)), families)
