"""Tests of the pages: one file each, and images and plots that show what they claim."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluate.document import ReportSection, Table
from pipeline.evaluate.pages.pictures import data_uri
from pipeline.evaluate.trial.arm_specs import STANDARD
from pipeline.evaluate.trial.gallery import choose_examples, difference, signed_map
from pipeline.evaluate.trial.page import summary_page
from tests.evaluate.trial.conftest import Done
from tests.evaluate.trial.pages import Page


def decoded(source: str) -> np.ndarray:
    head, _, data = source.partition("base64,")
    assert head in ("data:image/png;", "data:image/webp;")
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
        return np.array(image.convert("RGB"))


@pytest.mark.parametrize("name", ["trial.html", "summary.html"])
def test_page_needs_no_other_file_and_closes_what_it_opens(done: Done, name: str) -> None:
    page = Page(done.run.folder / name)
    assert not page.open
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        for attribute, value in attributes.items():
            if attribute in ("src", "href", "srcset", "xlink:href", "data", "poster"):
                assert value is not None and value.startswith(("data:image/", "#"))
    text = (done.run.folder / name).read_text("utf-8")
    assert not re.search(r"url\(|@import", text)
    assert not re.findall(r"https?://", text)


def test_pictures_of_the_page_are_the_kept_images_in_order(done: Done) -> None:
    results = done.results
    examples = choose_examples(results, "perfect", "oracle", 8)
    shown = [*examples.gains, *examples.losses, *examples.random]
    expected = [one.image for sample in shown for one in results.shown(sample).values()]
    page = Page(done.run.folder / "trial.html")
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    pictures = [decoded(source) for source in sources if source]
    assert len(pictures) > len(expected) > 0
    for found, image in zip(pictures, expected, strict=False):
        np.testing.assert_array_equal(found, image)


def test_examples_are_the_extremes_of_the_judging_reward(done: Done) -> None:
    results = done.results
    gain = results.column("perfect", "oracle") - results.column(STANDARD, "oracle")
    scene = results.column("perfect", "scene") - results.column(STANDARD, "scene")
    found = choose_examples(results, "perfect", "oracle", 3)
    ranked = sorted(range(len(gain)), key=lambda sample: (gain[sample], scene[sample]))
    assert found.gains == [sample for sample in ranked[::-1][:3] if gain[sample] > 0]
    assert found.losses == [sample for sample in ranked[:3] if gain[sample] < 0]
    assert found.gains and len(set(found.random)) == 3


def test_example_of_a_network_that_does_nothing_is_neither_gain_nor_loss(done: Done) -> None:
    found = choose_examples(done.results, "unchanged", "oracle", 3)
    assert found.gains == found.losses == [] and len(found.random) == 3


def test_page_and_summary_contain_the_figures_that_were_found(done: Done) -> None:
    found = done.trial.comparison("perfect", "oracle")
    assert found is not None
    figure = f"{found.gain.gain.value:+.3f}".replace("-", "−")
    text = " ".join(Page(done.run.folder / "trial.html").texts)
    summary = (done.run.folder / "summary.md").read_text("utf-8")
    for content in (text, summary, " ".join(Page(done.run.folder / "summary.html").texts)):
        assert figure in content and "guidance 5.5" in content and "12 pairs" in content
    assert "it was not checked that they are held out" in summary
    closes = "It closes 100.0% [100.0%, 100.0%] of the gap"
    assert (closes in summary) == (found.gap_closed is not None)


def test_text_is_escaped() -> None:
    text = '<b> & "x"'
    page = summary_page([ReportSection(text, [text, Table([text], [[text]])])])
    assert "<b>" not in page and page.count("&lt;b&gt; &amp; &#34;x&#34;") == 7


def test_page_draws_every_comparison(done: Done) -> None:
    trial = done.trial
    page = Page(done.run.folder / "trial.html")
    circles = [attributes for tag, attributes in page.tags if tag == "circle"]
    drawn = [*trial.methods(), *trial.controlled(), *trial.comparisons]
    drawn += [duel for network in trial.networks for duel in trial.alternatives(network)]
    assert len(circles) == len(drawn)


def test_large_pictures_are_shown_smaller_and_small_ones_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (512, 1024, 3), dtype=np.uint8)
    large, small = (decoded(data_uri(image)) for image in (pixels, pixels[:9, :9]))
    assert large.shape == (128, 256, 3)
    np.testing.assert_array_equal(small, pixels[:9, :9])


def test_maps_are_red_above_zero_blue_below_and_white_at_it() -> None:
    colours = signed_map(np.array([[2.0, 0.0, -2.0]], dtype=np.float32), 2.0)
    assert colours.tolist() == [[[178, 24, 43], [255, 255, 255], [33, 102, 172]]]
    black, white = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    assert difference(black, white).tolist() == difference(white, black).tolist() == [[[255] * 3]]
