"""How Sphinx builds the site: `make docs` writes build/site. Sources are the Markdown files of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

from dpib.__about__ import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "dpib"
copyright = "the dpib authors, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "registry"]
exclude_patterns = ["_ext"]
nitpicky = False  # signatures name types of torch and pydantic, which are documented elsewhere

myst_heading_anchors = 4
myst_enable_extensions = ["linkify"]
myst_linkify_fuzzy_links = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"exclude-members": "model_config, model_fields, model_computed_fields, model_post_init"}
napoleon_numpy_docstring = False
napoleon_use_ivar = True

smartquotes = False  # they would turn the two hyphens of an option into a dash
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = f"dpib {release}"
html_copy_source = False
html_show_sourcelink = False
linkcheck_timeout = 20
linkcheck_ignore = [r"http://(127\.0\.0\.1|localhost)"]
