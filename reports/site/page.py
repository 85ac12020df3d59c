"""The published page as one HTML file: no network, all content escaped."""

from reports.options import Options
from reports.page import cards, document
from reports.reading import answer
from reports.reading.results import Results
from reports.site.chapters import Chapter

TEMPLATE = "results.html.j2"


def render(
    results: Results, written: list[Chapter], sources: dict[str, str], options: Options
) -> str:
    """Return the page of all chapters.

    sources: the LaTeX of every table, by stem.
    """
    html: str = document.environment().get_template(TEMPLATE).render(
        css=document.stylesheet(),
        js=document.script(),
        chapters=[
            {
                "key": chapter.key,
                "title": chapter.title,
                "sentences": chapter.sentences,
                "command": chapter.command,
                "figures": [document.figure(figure) for figure in chapter.figures],
                "tables": [document.table(one, sources[one.stem]) for one in chapter.tables],
            }
            for chapter in written
        ],
        summary=cards.summary(results),
        meaningless=answer.meaningless(results),
        limits=cards.limits(results),
        warnings=results.warnings,
        cards=[*cards.datasets(results), *cards.machines(results), *cards.sources(results)],
        command=options.command,
        checksum=results.checksum,
    )
    return html
