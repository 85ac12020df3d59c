"""The published page as one HTML file: no network, all content escaped."""

from reports.options import Options
from reports.page import cards, document
from reports.reading import answer
from reports.reading.results import Results
from reports.site.chapters import Chapter

TEMPLATE = "results.html.j2"


def render(results: Results, written: list[Chapter], options: Options) -> str:
    """Return the page of all chapters."""
    html: str = (
        document.environment()
        .get_template(TEMPLATE)
        .render(
            css=document.stylesheet(),
            chapters=[
                {
                    "key": chapter.key,
                    "title": chapter.title,
                    "sentences": chapter.sentences,
                    "command": chapter.command,
                    "tables_first": chapter.tables_first,
                    "figures": [document.shown_figure(figure) for figure in chapter.figures],
                    "tables": [document.shown_table(one, "") for one in chapter.tables],
                }
                for chapter in written
            ],
            summary=cards.summary(results),
            meaningless=answer.meaningless(results),
            limits=cards.limits(results),
            warnings=results.warnings,
            cards=[*cards.datasets(results), *cards.machines(results), *cards.sources(results)],
            command=options.command,
            again=options.again,
            checksum=results.checksum,
        )
    )
    return html
