"""The page as a person meets it: in a browser, on a screen and a phone, by day and by night."""

import pytest
from axe_playwright_python.sync_playwright import Axe

pytestmark = pytest.mark.browser

PAGES = ("found_page", "nothing_page", "comparison_page", "sweep_page")
PHONE, DESK = 360, 1280
# WCAG relative luminance and contrast of the text of an element against the first opaque background behind it.
CONTRAST = """selector => {
  const channel = value => { const c = value / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const read = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = node => {
    const color = read(getComputedStyle(node).backgroundColor);
    return color.length === 3 || color[3] === 1 ? color : behind(node.parentElement);
  };
  return [...document.querySelectorAll(selector)].map(node => {
    const style = getComputedStyle(node);
    const color = node instanceof SVGElement ? style.fill : style.color;
    const [high, low] = [luminance(read(color)), luminance(behind(node))].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  });
}"""


@pytest.fixture
def visit(browser, request):
    """Open a built page; what it logs and asks for is collected on the returned tab."""
    tabs = []

    def open_page(fixture: str, width: int = DESK, scheme: str = "light"):
        tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        tabs.append(tab)
        tab.messages, tab.requests = [], []
        tab.on("console", lambda message: tab.messages.append(message.text))
        tab.on("pageerror", lambda error: tab.messages.append(str(error)))
        tab.on("request", lambda sent: tab.requests.append(sent.url))
        tab.goto(request.getfixturevalue(fixture).as_uri())
        return tab

    yield open_page
    for tab in tabs:
        tab.close()


def test_page_shows_every_picture(visit):
    tab = visit("found_page")
    sizes = tab.eval_on_selector_all("img", "nodes => nodes.map(node => [node.naturalWidth, node.clientWidth])")
    assert len(sizes) == 5 + 5 * 5  # a card a cluster and the noise; five pictures a traversal row
    assert all(natural > 0 and shown > 0 for natural, shown in sizes)


def test_page_shows_every_chart(visit):
    tab = visit("found_page")
    charts = tab.locator("figure.chart svg[role=img]")
    assert charts.count() == 10
    for chart in charts.all():
        assert chart.is_visible()
        assert chart.get_attribute("aria-label")
        box = chart.bounding_box()
        assert box["width"] > 200
        assert box["height"] > 100


def test_page_shows_every_table(visit):
    tab = visit("found_page")
    for name in ("candidates", "relations", "variance", "stages"):
        table = tab.locator(f"table[data-name={name}]")
        assert table.is_visible(), name
        assert table.locator("tbody tr").count() >= 4, name


@pytest.mark.parametrize("page", PAGES)
def test_page_is_silent_and_asks_for_nothing(visit, page):
    tab = visit(page)
    assert tab.messages == []
    assert [url for url in tab.requests if not url.startswith("data:")] == [tab.url]


@pytest.mark.parametrize("page", PAGES)
def test_phone_page_never_scrolls_sideways(visit, page):
    tab = visit(page, PHONE)
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE


def test_phone_table_scrolls_by_keyboard(visit):
    tab = visit("found_page", PHONE)
    region = tab.locator(".scroll:has(table[data-name=methods])")
    region.focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function("node => node.scrollLeft > 0", arg=region.element_handle())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_text_stands_out_from_its_background(visit, scheme):
    tab = visit("found_page", scheme=scheme)
    ratios = tab.evaluate(CONTRAST, "h1, h2, h3, p, td, th, dt, dd, figcaption, summary, .badge, svg text")
    assert len(ratios) > 100
    assert min(ratios) >= 4.5


def test_dark_page_is_dark(visit):
    background = "getComputedStyle(document.body).backgroundColor"
    dark, light = (visit("found_page", scheme=scheme).evaluate(background) for scheme in ("dark", "light"))
    brightness = [sum(map(int, color[4:-1].split(","))) for color in (dark, light)]
    assert brightness[0] < 150 < 600 < brightness[1]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "dark"), (DESK, "light")])  # colours do not depend on the width
def test_page_passes_axe(visit, page, scheme, width):
    results = Axe().run(visit(page, width, scheme))
    assert results.violations_count == 0, results.generate_report()


def test_config_unfolds(visit):
    tab = visit("found_page")
    tab.locator("summary", has_text="Exact config").first.click()
    assert tab.locator("pre").first.is_visible()
    assert "partner: mined" in tab.locator("pre").first.inner_text()
