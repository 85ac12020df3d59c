"""Put the results in short into the README: `make results` calls it after the page is written."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHORT = ROOT / "docs" / "results" / "short.txt"  # written by `python -m bench report --site`
BEGIN, END = "<!-- results: written by `make results` -->\n", "<!-- end of the results -->\n"


def renewed(readme: str, short: str) -> str:
    """Return the README with the results in short between its marks; ValueError without marks."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the README has no marks between which the results stand")
    text = short.replace('="figures/', '="docs/results/figures/')
    return f"{before}{BEGIN}\n{text.strip()}\n\n{END}{after}"


def main() -> int:
    """Rewrite the README."""
    path = ROOT / "README.md"
    text = renewed(path.read_text(encoding="utf-8"), SHORT.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
