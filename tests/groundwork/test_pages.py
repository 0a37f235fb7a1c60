import html.parser
import re
import time

import pytest
from example_page import ACCURACIES, HOSTILE, NAMES, example_page, image

from groundwork.pages import (
    Bar,
    Bars,
    Column,
    Figure,
    Gallery,
    Page,
    Picture,
    Section,
    Table,
    Tile,
    render,
    write,
)

CLASSES, SCORES, MISTAKES = (f"section:nth-of-type({n}) .listing" for n in (2, 2, 3))
CLASSES, SCORES = f"{CLASSES}:nth-of-type(1)", f"{SCORES}:nth-of-type(2)"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    write(example_page(), str(path))
    return path


@pytest.fixture
def opened(browser, path):
    browser.open(path)
    return browser


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_names_are_text_and_nothing_is_loaded(path):
    page = Tags()
    page.feed(path.read_text(encoding="utf-8"))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == tags.count("style") - 1 == tags.count("h1") == 1  # noscript's
    for name in HOSTILE[:9]:
        assert name in page.text
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        address = attributes.get("src") or attributes.get("href") or "#"
        assert address.startswith(("data:", "#"))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 41
    assert all(attributes["alt"] for attributes in images)


def test_a_page_needs_neither_sections_nor_rows(browser, tmp_path):
    empty = [Table(["name", "images"], []), Gallery([]), Bars([])]
    page = Page("Dataset", "empty", "No images", [Section("Nothing", empty)])
    write(page, str(tmp_path / "empty.html"))
    browser.open(tmp_path / "empty.html")
    assert "None." in browser.texts("td")
    assert browser.complaints() == []


def test_thousands_of_classes_stay_cheap():
    rows = [[f"class {number}", number, number / 5000] for number in range(5000)]
    table = Table(["class", Column("images", bar=True), "recall"], rows)
    bars = Bars([Bar(name, [images], "1") for name, images, _ in rows])
    start = time.process_time()
    page = render(Page("Dataset", "d", "h", [Section("Classes", [table, bars])]))
    assert page.count("</tr>") == 5001
    assert time.process_time() - start < 10  # a second, if each value is worked out once


def test_wrong_data_is_refused():
    with pytest.raises(ValueError, match="3 cells in a table of 2 columns"):
        Table(["a", "b"], [["1", "2", "3"]])
    page = Page("Dataset", "d", "One image", [Section("S", [Figure(b"<html>", "no image")])])
    with pytest.raises(ValueError, match="no PNG, JPEG"):
        render(page)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_kinds_of_images_are_told_apart(kind):
    page = Page("k", "s", "h", [Section("S", [Figure(image(kind=kind), "a")])])
    assert f"data:image/{kind.lower()};base64," in render(page)


def column(browser, listing, number):
    return browser.texts(f"{listing} tbody tr > :nth-child({number})")


def click(browser, selector, number=0):
    browser.run(f"document.querySelectorAll({selector!r})[{number}].click()")


def test_a_table_is_sorted_by_numbers_text_and_back(opened):
    by_recall = sorted(zip(ACCURACIES, NAMES, strict=True), key=lambda pair: -pair[0])
    click(opened, f"{CLASSES} .sort", 2)
    assert opened.run(f"return document.querySelectorAll('{CLASSES} th')[2].ariaSort") == (
        "descending"
    )
    assert column(opened, CLASSES, 3) == [f"{value:.1%}" for value, _ in by_recall[:10]]
    click(opened, f"{CLASSES} .sort", 2)
    assert column(opened, CLASSES, 3) == [f"{value:.1%}" for value, _ in by_recall[:-11:-1]]
    click(opened, f"{CLASSES} .reveal")
    click(opened, f"{CLASSES} .sort", 0)
    names = column(opened, CLASSES, 1)
    assert len(names) == len(NAMES)
    assert names.index("9") < names.index("10") < names.index("cat") < names.index("dog")
    # what is missing stands last, in any order
    for _ in range(2):
        click(opened, f"{SCORES} .sort", 1)
        assert column(opened, SCORES, 1)[-1] == "c"
    click(opened, f"{CLASSES} .sort", 3)
    assert column(opened, CLASSES, 4)[-1] == "–"


def test_a_table_shows_its_first_rows_and_is_searched(opened):
    assert opened.texts(f"{CLASSES} .count") == ["10 of 14 rows"]
    assert len(column(opened, CLASSES, 1)) == 10
    display = f"return [...document.querySelectorAll('{CLASSES} td')].map((cell) => "
    assert set(opened.run(display + "getComputedStyle(cell).display)")) == {"table-cell"}
    search = (
        f"const field = document.querySelector('{CLASSES} input');"
        "field.value = arguments[0]; field.dispatchEvent(new Event('input'));"
    )
    opened.run(search, "DOG")
    assert column(opened, CLASSES, 1) == ["dog"]  # the 12th row
    assert opened.texts(f"{CLASSES} .reveal") == []
    opened.run(search, HOSTILE[1])
    assert column(opened, CLASSES, 1) == [HOSTILE[1]]
    opened.run(search, "no such class")
    assert opened.texts(f"{CLASSES} .count") == ["0 of 0 rows"]
    opened.run(search, "")
    click(opened, f"{CLASSES} .reveal")
    assert len(column(opened, CLASSES, 1)) == 14


def choose(browser, facet, name):
    browser.run(
        "const filter = [...document.querySelectorAll('select')]"
        ".find((one) => one.dataset.facet === arguments[0]);"
        "filter.value = name_of(filter, arguments[1]); filter.dispatchEvent(new Event('change'));"
        "function name_of(filter, name) { return name === null ? '' :"
        "  [...filter.options].find((one) => one.dataset.name === name).value; }",
        facet,
        name,
    )


@pytest.mark.parametrize("label", ["cat", *HOSTILE[:2]])
def test_a_gallery_is_filtered_by_class(opened, label):
    other = NAMES[(NAMES.index(label) + 3) % len(NAMES)]
    expected = [number for number in range(40) if NAMES[number % len(NAMES)] == label]
    assert opened.texts(f"{MISTAKES} .count") == ["12 of 40 shown"]
    choose(opened, "Label", label)
    assert opened.texts(f"{MISTAKES} .tile strong") == [label] * len(expected)
    choose(opened, "Taken for", other)
    assert len(opened.texts(f"{MISTAKES} .tile")) == len(expected)
    choose(opened, "Taken for", label)  # which no image of the label was taken for
    assert opened.texts(f"{MISTAKES} .tile") == []
    choose(opened, "Label", None)
    assert opened.texts(f"{MISTAKES} .tile p span") == [f"taken for {label}"] * len(
        [n for n in range(40) if NAMES[(n + 3) % len(NAMES)] == label]
    )


def test_a_filter_that_would_filter_nothing_is_left_out():
    tiles = [
        Tile([Picture(image(), "one")], facets={"Split": ["train"], "Class": [name]})
        for name in ("a", "b", "b")
    ]
    assert Gallery(tiles).filters == {"Class": [("a", 1), ("b", 2)]}


@pytest.mark.parametrize("width", [400, 1400])
def test_pointing_at_a_mistake_shows_the_five_best_answers(browser, path, width):
    browser.open(path, width)
    assert browser.texts("#answers") == []
    browser.point_at(f"{MISTAKES} .tile:nth-child(12)")
    assert browser.texts("#answers li bdi") == [
        *(HOSTILE[0], "dog"),
        *("class 0", "class 1", "class 2"),
    ]
    assert browser.texts("#answers .number")[0] == "60.0 %"
    assert browser.texts("#answers li.right bdi") == ["dog"]
    box = browser.run("return document.getElementById('answers').getBoundingClientRect().toJSON()")
    assert box["left"] >= 0
    assert box["top"] >= 0
    assert box["right"] <= width
    assert browser.overflow() <= 0
    browser.point_at("h2")
    assert browser.texts("#answers") == []
    # the same from the keyboard
    browser.run(f"document.querySelector('{MISTAKES} .tile:nth-child(2)').focus()")
    assert len(browser.texts("#answers li")) == 5


def ground(browser):
    color = browser.run("return getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", color)[:3])) / 3


def test_bars_begin_at_zero():
    bars = Bars([Bar("a", [3, 1], "4"), Bar("b", [2, 0], "2", (1, 8))])
    assert bars.segments(bars.bars[0]) == [(0, 3 / 8), (3 / 8, 1 / 8)]
    assert bars.place(8) == 1
    differences = Bars([Bar("up", [3], "+3", (2, 4)), Bar("down", [-1], "-1", (-4, 2))])
    assert differences.segments(differences.bars[0]) == [(1 / 2, 3 / 8)]
    assert differences.segments(differences.bars[1]) == [(3 / 8, 1 / 8)]
    shares = Bars([Bar("all", [1.2], "120 %")], full=1)
    assert shares.segments(shares.bars[0]) == [(0, 1)]  # cut off at the end


def test_light_and_dark_follow_the_reader_and_the_button(browser, path):
    browser.open(path, scheme="dark")
    assert ground(browser) < 60
    browser.open(path, scheme="light")
    assert ground(browser) > 200
    click(browser, ".theme")
    assert ground(browser) < 60
    # Chromium hands the storage of file:// pages from process to process, in its own time
    for _ in range(20):
        browser.open(path, scheme="light")
        if remembered := ground(browser) < 60:
            break
        time.sleep(0.1)
    assert remembered
    click(browser, ".theme")
    assert ground(browser) > 200
    browser.run("localStorage.clear()")


def test_a_figure_is_enlarged_and_raw_values_unfold(opened):
    click(opened, ".enlarge")
    assert opened.run("return document.querySelector('dialog img').naturalWidth") == 3000
    assert opened.overflow() <= 0
    click(opened, "dialog button")
    assert not opened.run("return document.querySelector('dialog').open")
    assert opened.texts("pre") == []
    click(opened, "summary")
    assert HOSTILE[5] in opened.texts("pre")[0]
    assert opened.overflow() <= 0
    assert opened.complaints() == []


def test_a_script_in_the_data_could_not_run(opened):
    # the second guard, should a name ever slip through: the page's policy
    opened.run(
        "const script = document.createElement('script');"
        "script.textContent = 'window.broken = 1'; document.body.append(script);"
    )
    assert opened.run("return window.broken") is None
    assert any("Content Security Policy" in one for one in opened.complaints())
