r"""LaTeX tables in booktabs style that compile as they are and can be pasted into a paper.

Each file holds one `table` where it fits a column of a paper, else one `table*`; the preamble needs
booktabs and graphicx, and siunitx for the siunitx form. A table that is wider than its place even
so is scaled down, never set over the margin.
"""

from collections.abc import Iterable
from itertools import groupby

from reports.tables.model import Item, Row, Table

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
    '"': r"\textquotedbl{}", "×": r"$\times$", "–": "--", "−": "$-$", "’": "'",
}  # fmt: skip
ARROWS = {"up": r" $\uparrow$", "down": r" $\downarrow$", "": ""}
LAST_LATIN = 0xFF
COLUMN = 3.25  # inches of a column of a paper
CHARACTER, SPACE = 0.062, 0.112  # inches of a letter and between columns, at this size


def escape(text: str) -> str:
    r"""Return text that LaTeX prints literally.

    >>> escape("my_algo & 5%")
    'my\\_algo \\& 5\\%'
    """
    return "".join(_character(one) for one in text)


def _character(one: str) -> str:
    if one in SPECIAL:
        return SPECIAL[one].replace(r"\textquotedbl{}", "''")
    if ord(one) > LAST_LATIN or not one.isprintable():
        return f"U+{ord(one):04X}"
    return one


def table(content: Table, provenance: str, siunitx: bool = False) -> str:
    """Return the LaTeX of a table; the first lines are comments on where it comes from."""
    comments = [f"% {line}" for line in provenance.splitlines()]
    packages = "booktabs, graphicx, siunitx" if siunitx else "booktabs, graphicx"
    blocks = [_tabular(content, block, siunitx) for block in content.blocks()]
    notes = [
        rf"\textsuperscript{{{letter}}}\,{escape(text)}." for letter, text in content.notes.items()
    ]
    notes += [rf"{escape(label)}: {escape(meaning)}." for label, meaning in content.key.items()]
    place = "table" if _inches(content, siunitx) <= COLUMN else "table*"
    lines = [
        *comments,
        f"% Preamble: \\usepackage{{{packages.replace(' ', '')}}}",
        rf"\begin{{{place}}}[tp]",
        r"  \centering\footnotesize",
        rf"  \caption{{{escape(content.caption)}}}",
        rf"  \label{{tab:{content.stem.replace('_', '-')}}}",
        *(r"  \par\smallskip" + "\n" + block for block in blocks),
        *([r"  \par\smallskip", r"  {\scriptsize " + " ".join(notes) + r"\par}"] if notes else []),
        rf"\end{{{place}}}",
    ]
    return "\n".join(lines) + "\n"


def _inches(content: Table, siunitx: bool) -> float:
    """Return about how wide the widest part of a table is, at the size of footnotes."""
    first = max(len(row.head) for row in [*content.rows, Row(content.corner, [])])
    widths = []
    for block in content.blocks():
        columns = [max(_signs(content, at), len(content.columns[at].head) + 2) for at in block]
        widths.append(CHARACTER * (first + sum(columns)) + (SPACE + siunitx * SPACE) * len(columns))
    return max(widths)


def _signs(content: Table, at: int) -> int:
    """Return the characters of the longest item of a column."""
    pairs = [row.items[at].number() for row in content.rows]
    return max((len(value) + (len(half) + 3 if half else 0) for value, half in pairs), default=0)


def _tabular(content: Table, block: range, siunitx: bool) -> str:
    """Return one tabular, set in a box that shrinks to the text width where it must."""
    kind = _siunitx_columns(content, block) if siunitx else "r" * len(block)
    lines = [
        r"  \setbox0=\hbox{\setlength{\tabcolsep}{4pt}%",
        rf"  \begin{{tabular}}{{@{{}}l{kind}@{{}}}}",
        r"    \toprule",
        *_heads(content, block, siunitx),
        r"    \midrule",
        *_body(content, block, siunitx),
        r"    \bottomrule",
        r"  \end{tabular}}%",
        r"  \ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\box0}\else\leavevmode\box0\fi",
    ]
    return "\n".join(lines)


def _heads(content: Table, block: range, siunitx: bool) -> Iterable[str]:
    columns = [content.columns[at] for at in block]
    span = 2 if siunitx else 1
    if any(column.group for column in columns):
        cells, rules, start = [""], [], 0
        for group, members in groupby(columns, key=lambda column: column.group):
            stop = start + len(list(members))
            cells.append(rf"\multicolumn{{{span * (stop - start)}}}{{c}}{{{escape(group)}}}")
            rules.append(rf"\cmidrule(lr){{{span * start + 2}-{span * stop + 1}}}")
            start = stop
        yield "    " + " & ".join(cells) + r" \\"
        yield "    " + " ".join(rules)
    heads = [escape(column.head) + ARROWS[column.better] for column in columns]
    if siunitx:
        heads = [rf"\multicolumn{{2}}{{c}}{{{head}}}" for head in heads]
    corner = escape(content.corner) + ARROWS[content.better]
    yield "    " + " & ".join([corner, *heads]) + r" \\"


def _body(content: Table, block: range, siunitx: bool) -> Iterable[str]:
    group, width = "", 1 + len(block) * (2 if siunitx else 1)
    for at, row in enumerate(content.rows):
        if row.group != group:
            if at:
                yield r"    \addlinespace"
            if row.group:
                head = rf"\emph{{{escape(row.group)}}}"
                yield rf"    \multicolumn{{{width}}}{{@{{}}l}}{{{head}}} \\"
            group = row.group
        if row.rule:
            yield r"    \midrule"
        yield "    " + _line(row, block, siunitx)


def _line(row: Row, block: range, siunitx: bool) -> str:
    write = _siunitx_item if siunitx else _item
    return " & ".join([escape(row.head), *(write(row.items[at]) for at in block)]) + r" \\"


def _mark(item: Item) -> str:
    return rf"\textsuperscript{{{item.mark}}}" if item.mark else ""


def _item(item: Item) -> str:
    """Return an item in plain math: $52.1 \\pm 2.0$."""
    value, half = item.number()
    if item.value is None:
        return escape(value) + _mark(item)
    body = rf"{value} \pm {half}" if half else value
    return (rf"$\mathbf{{{body}}}$" if item.bold else f"${body}$") + _mark(item)


def _siunitx_item(item: Item) -> str:
    """Return an item for an S column and the column of its plus-minus right of it."""
    value, half = item.number()
    if item.value is None:
        return rf"\multicolumn{{2}}{{r}}{{{escape(value)}{_mark(item)}}}"
    body = rf"{{}}\pm {half}" if half else ""
    math = rf"$\mathbf{{{body}}}$" if item.bold else f"${body}$"
    return (r"\bfseries " if item.bold else "") + f"{value} & {math if half else ''}{_mark(item)}"


def _siunitx_columns(content: Table, block: range) -> str:
    """Return an S column aligned at the decimal point, and one beside it, per value column."""
    kinds = []
    for at in block:
        items = [row.items[at] for row in content.rows if row.items[at].value is not None]
        whole = max(
            (len(one.number()[0].lstrip("-").partition(".")[0]) for one in items), default=1
        )
        sign = "-" if any(one.number()[0].startswith("-") for one in items) else ""
        digits = max((one.digits for one in items), default=1)
        kinds.append(
            "S[detect-weight=true,detect-inline-weight=math,"
            f"table-format={sign}{whole}.{digits}]@{{}}l"
        )
    return "".join(kinds)
