import importlib
import subprocess
import sys

import pytest

from dpib import config
from dpib.synthesizer import Synthesizer

NAMES = (
    "dp_feta",
    "dp_gan",
    "dp_kernel",
    "dp_ldm",
    "dp_ldm_sd",
    "dp_lora",
    "dp_means",
    "dp_merf",
    "dp_ntk",
    "dpdm",
    "gs_wgan",
    "pdp_diffusion",
    "pe",
    "privimage",
    "real",
    "uniform",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_module_imports_no_torch(name):
    code = f"import sys, dpib_plugins.{name} as m; m.dpib_synthesizers(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_card_names_a_synthesizer_with_valid_presets(name):
    (method,) = importlib.import_module(f"dpib_plugins.{name}").dpib_synthesizers()
    assert method.card.name == name.replace("_", "-")
    module_name, class_name = method.implementation.split(":")
    module = importlib.import_module(module_name)
    implementation = getattr(module, class_name)
    assert issubclass(implementation, Synthesizer)
    assert all(word in module.__doc__ for word in ("Idea:", "Paper:", "Released:", "Public:", "Deviations:"))
    assert all(field.description for field in implementation.Config.model_fields.values())
    if method.presets:
        _, tables = config._read_presets(method, set(implementation.Config.model_fields))
        assert implementation.Config.from_plain(tables.get("default", {})) == implementation.Config()


def test_only_the_ceiling_is_unprotected_and_references_are_marked():
    cards = {name: importlib.import_module(f"dpib_plugins.{name}").CARD for name in NAMES}
    assert [name for name, card in cards.items() if not card.private] == ["real"]
    assert [name for name, card in cards.items() if card.reference] == ["dp_means", "real", "uniform"]
