"""Sphinx's settings of the documentation site; `build.py` beside it prepares the pages."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

project = "om2p-bench"
author = "The om2p-bench developers"
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
root_doc = "README"
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a page of evidence may begin with a lower heading
autodoc_typehints = "signature"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = "om2p-bench"
html_show_sphinx = False
