"""The pages agree with the program: the table of settings is made from FitConfig, and links lead somewhere.

``python tests/unit/test_documentation.py`` writes the table anew.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from bayesflex.config import FitConfig
from bayesflex.settings import flag_of, setting_of

ROOT = Path(__file__).resolve().parents[2]
CLI_PAGE = ROOT / "docs" / "cli.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
TABLE = re.compile(r"(?<=<!-- settings: begin -->\n).*?(?=<!-- settings: end -->)", re.DOTALL)


def shown(default: object) -> str:
    if default is MISSING:
        return "must be given"
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return f"{default[0]}-{default[-1]}"
    return str(default)


def settings_table() -> str:
    lines = ["| flag | meaning | default |", "| --- | --- | --- |"]
    for item in fields(FitConfig):
        setting = setting_of(item)
        choices = f" One of {', '.join(setting.choices)}." if setting.choices else ""
        lines.append(f"| `{flag_of(item.name)}` | {setting.help}{choices} | {shown(item.default)} |")
    return "\n".join(lines) + "\n"


def test_the_table_of_settings_is_the_program_s():
    found = TABLE.search(CLI_PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found.group() == settings_table(), "run python tests/unit/test_documentation.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    prose = CODE.sub("", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose)
    assert not [link for link in links if not (page.parent / link).exists()]


def anchors(page: Path) -> set[str]:
    """What headings are called in links: letters, digits and hyphens, in lower case."""
    headings = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower())) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_lead_to_one(page):
    prose = CODE.sub("", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)#:]*)#([^)]*)\)", prose)
    assert not [(file, name) for file, name in links if name not in anchors(page.parent / file if file else page)]


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"^  - (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))


if __name__ == "__main__":
    text = CLI_PAGE.read_text(encoding="utf-8")
    CLI_PAGE.write_text(TABLE.sub(lambda _: settings_table(), text), encoding="utf-8")
