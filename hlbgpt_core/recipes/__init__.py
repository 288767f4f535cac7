"""The recipes: one file each. protocol.py says what a recipe is and how to add one."""

from collections.abc import Mapping
from types import MappingProxyType

from hlbgpt_core.errors import SettingsError
from hlbgpt_core.recipes.protocol import Recipe
from hlbgpt_core.recipes.v030 import Recipe030
from hlbgpt_core.recipes.v041 import Recipe041

# Every recipe by the name that the setting `recipe` takes.
RECIPE_CLASSES: Mapping[str, type[Recipe]] = MappingProxyType(
    {
        "0.4.1": Recipe041,
        "0.3.0": Recipe030,
    }
)


def get_recipe(name: str) -> type[Recipe]:
    """The recipe called `name`. Raises SettingsError for one that is not known."""
    if name not in RECIPE_CLASSES:
        raise SettingsError(f"there is no recipe '{name}'", f"Use one of: {', '.join(RECIPE_CLASSES)}.")
    return RECIPE_CLASSES[name]
