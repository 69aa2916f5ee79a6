"""Tests of the pages in a real Chromium: nothing acts, nothing overflows, everyone can use them."""

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from markdown_it import MarkdownIt
from playwright.sync_api import Browser, Page, expect

from pipeline.publish.export import specify_export
from pipeline.publish.export.card import card
from pipeline.storage.open import open_store
from pipeline.workflows.report import report_plan
from tests.evaluate.pages.chromium import opened
from tests.evaluate.pages.conftest import HostilePages
from tests.evaluate.pages.hostile import PROMPTS, SCRIPT
from tests.sealed import manifest_of

PAGES = ("sealed", "running", "trial", "summary")

# What hostile text would add to the document: new elements, handlers, and links.
ADDED = """() => [...document.querySelectorAll(
    "script, iframe, object, embed, link, base, form, a, img, svg, style, textarea, title")]
  .filter((each) => each.matches("iframe, object, embed, link, base, textarea")
    || [...each.attributes].some((one) => one.name.startsWith("on"))
    || each.matches("a:not([href^='#'])")
    || each.matches("img:not([src^='data:image/'])")
    || each.matches("form:not(#filter)"))
  .map((each) => each.outerHTML.slice(0, 200))"""

CONTRAST = """() => {
  const style = getComputedStyle(document.documentElement);
  const luminance = (name) => {
    const colour = style.getPropertyValue(name).trim();
    const parts = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ratio = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const texts = ["--ink", "--faint", "--good", "--bad"];
  const lines = ["--s0", "--s1", "--s2", "--s3", "--s4", "--none", "--axis"];
  return {
    text: Math.min(...texts.flatMap((t) => ["--surface", "--panel"].map((s) => ratio(t, s)))),
    line: Math.min(...lines.map((line) => ratio(line, "--surface"))),
  };
}"""


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    found: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return found


@pytest.mark.parametrize("name", PAGES)
def test_hostile_text_of_a_page_does_nothing(
    browser: Browser, hostile: HostilePages, name: str
) -> None:
    with opened(browser, hostile.pages[name]) as found:
        page = found.page
        page.mouse.move(200, 300)
        assert page.evaluate("window.pwned === undefined")
        assert page.evaluate(ADDED) == []
        scripts = page.locator("script").count()
        assert scripts == (name in ("sealed", "running")), "the filter alone"
        assert page.locator("style").count() == page.locator("head > title").count() == 1
        assert page.locator("body > *:not(header, main, script)").count() == 0
        text = page.locator("body").inner_text()
        assert SCRIPT in text, "hostile text is shown as it is"
        assert not set(text) & set("\x1b\x07\u202e\u2066"), "control characters are visible"
        assert found.tried == []


@pytest.mark.parametrize("name", PAGES)
def test_page_never_scrolls_sideways(browser: Browser, hostile: HostilePages, name: str) -> None:
    with opened(browser, hostile.pages[name]) as found:
        for width in (320, 400, 1600):
            found.page.set_viewport_size({"width": width, "height": 800})
            assert overflow(found.page) == 0, width


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("sealed", 400, "dark"), ("running", 1600, "light"), ("trial", 400, "dark")],
)
def test_page_passes_the_accessibility_checks_of_axe(
    browser: Browser,
    hostile: HostilePages,
    name: str,
    width: int,
    scheme: Literal["light", "dark"],
) -> None:
    with opened(browser, hostile.pages[name], width=width, scheme=scheme) as found:
        violations = Axe().run(found.page).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"][:300]) for each in violations] == []
        images = found.page.locator("img")
        alts = [images.nth(index).get_attribute("alt") for index in range(images.count())]
        assert len(alts) > 5 and all(alts)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(
    browser: Browser, hostile: HostilePages, scheme: Literal["light", "dark"]
) -> None:
    with opened(browser, hostile.pages["summary"], scheme=scheme) as found:
        ratios = found.page.evaluate(CONTRAST)
        assert ratios["text"] >= 4.5 and ratios["line"] >= 3
        dark = "rgb(20, 23, 26)" if scheme == "dark" else "rgb(255, 255, 255)"
        expect(found.page.locator("body")).to_have_css("background-color", dark)


def test_pairs_are_filtered_with_the_keyboard_alone(
    browser: Browser, hostile: HostilePages
) -> None:
    with opened(browser, hostile.pages["sealed"]) as found:
        page = found.page
        pairs, count = page.locator("[data-prompt]:visible"), page.locator("#count")
        total = pairs.count()
        expect(count).to_have_text(f"{total} of {total} pairs are shown")
        page.locator("nav a").last.focus()
        for _ in range(200):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.name === 'words'"):
                break
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", "the focus is visible"
        page.keyboard.type("CIRCLE red")
        shown = pairs.all_inner_texts()
        assert 0 < len(shown) < total and all("a red circle" in text for text in shown)
        expect(count).to_have_text(f"{len(shown)} of {total} pairs are shown")
        # List, category, and the button that resets them.
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("p")
        expect(page.locator("select[name=category]")).to_have_value("plain")
        assert pairs.count() == len(shown)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(count).to_have_text(f"{total} of {total} pairs are shown")
        assert found.tried == []


def test_print_is_light_and_without_controls(browser: Browser, hostile: HostilePages) -> None:
    with opened(browser, hostile.pages["sealed"], scheme="dark") as found:
        found.page.emulate_media(media="print")
        expect(found.page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
        expect(found.page.locator("form")).to_be_hidden()
        expect(found.page.locator("nav")).to_be_hidden()
        assert found.page.locator(".sample").first.is_visible(), "the pairs are printed"


def test_card_and_report_as_html_do_nothing(browser: Browser, hostile: HostilePages) -> None:
    store = open_store(str(hostile.sealed))
    report = report_plan(store, manifest_of(hostile.sealed), None, None).text
    # A renderer that lets HTML through, which no hub does.
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    for text in (card(specify_export(store, "hf")).split("---\n", 2)[2], report):
        file = hostile.sealed.parent / "rendered.html"
        file.write_text(f"<!doctype html><title>t</title>{markdown.render(text)}", "utf-8")
        with opened(browser, file) as found:
            assert found.page.evaluate("window.pwned === undefined")
            assert found.page.evaluate(ADDED) == []
            assert found.page.locator("script").count() == 0
            assert found.tried == []


def test_check_finds_text_that_is_not_escaped(browser: Browser, hostile: HostilePages) -> None:
    """The checks above can fail: the same prompts act on a page that does not escape them."""
    file = hostile.sealed.parent / "unsafe.html"
    file.write_text(f"<!doctype html><title>t</title>{PROMPTS[-1]}{PROMPTS[3]}{SCRIPT}", "utf-8")
    with opened(browser, file) as found:
        assert found.page.evaluate("window.pwned === 1")
        assert found.page.evaluate(ADDED) and found.tried
        assert overflow(found.page) > 0
