"""The page as a person meets it: in a browser, on a screen and a phone, by day and by night."""

import pytest
from axe_playwright_python.sync_playwright import Axe

pytestmark = pytest.mark.browser

PAGES = ("found_page", "nothing_page", "comparison_page", "sweep_page")
PHONE, DESK = 360, 1280
TEXT = "h1, h2, h3, h4, p, li, a, span, strong, sup, code, pre, td, th, dt, dd, figcaption, summary, .badge, svg text"
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


def open_tab(browser, page, width, scheme):
    """A tab with a built page; what it logs and asks for is collected on the tab."""
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab.messages, tab.requests = [], []
    tab.on("console", lambda message: tab.messages.append(message.text))
    tab.on("pageerror", lambda error: tab.messages.append(str(error)))
    tab.on("request", lambda sent: tab.requests.append(sent.url))
    tab.goto(page.as_uri())
    return tab


@pytest.fixture(scope="module")
def visit(browser, request):
    """visit(fixture, width, scheme): the tab of a page, which all tests share that only look at it."""
    tabs = {}

    def find_tab(fixture, width=DESK, scheme="light"):
        if (fixture, width, scheme) not in tabs:
            tabs[fixture, width, scheme] = open_tab(browser, request.getfixturevalue(fixture), width, scheme)
        return tabs[fixture, width, scheme]

    yield find_tab
    for tab in tabs.values():
        tab.close()


@pytest.fixture
def use(browser, found_page):
    """use(width): a tab of the found page for a test that changes it."""
    tabs = []

    def open_own(width=DESK):
        tabs.append(open_tab(browser, found_page, width, "light"))
        return tabs[-1]

    yield open_own
    for tab in tabs:
        tab.close()


def test_page_shows_every_picture(visit):
    tab = visit("found_page")
    sizes = tab.eval_on_selector_all("img", "nodes => nodes.map(node => [node.naturalWidth, node.clientWidth])")
    # a card a cluster and the noise; five pictures a traversal row; two candidates that pass, a ring, and a line
    assert len(sizes) == 5 + 5 * 5 + (4 + 5) + (5 + 6) + 1 + 1
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
    tab = visit(page, PHONE, "dark")
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE


def test_phone_table_scrolls_by_keyboard(use):
    tab = use(PHONE)
    region = tab.locator(".scroll:has(table[data-name=methods])")
    region.focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function("node => node.scrollLeft > 0", arg=region.element_handle())


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "dark"), (DESK, "light")])  # colours do not depend on the width
@pytest.mark.parametrize("page", PAGES)
def test_page_text_stands_out_from_its_background(visit, page, width, scheme):
    tab = visit(page, width, scheme)
    ratios = tab.evaluate(CONTRAST, TEXT)
    assert len(ratios) > (50 if page == "sweep_page" else 100)
    assert min(ratios) >= 4.5


def test_dark_page_is_dark(visit):
    background = "getComputedStyle(document.body).backgroundColor"
    dark, light = (visit("found_page", *look).evaluate(background) for look in ((PHONE, "dark"), (DESK, "light")))
    brightness = [sum(map(int, color[4:-1].split(","))) for color in (dark, light)]
    assert brightness[0] < 150 < 600 < brightness[1]


@pytest.mark.parametrize("page", PAGES)
def test_page_passes_axe(visit, page):
    """On a phone, where tables scroll. A desk has the same elements; their colours by day have a test of their own."""
    results = Axe().run(visit(page, PHONE, "dark"))
    assert results.violations_count == 0, results.generate_report()


def test_config_unfolds(use):
    tab = use()
    tab.locator("summary", has_text="Exact config").first.click()
    assert tab.locator("pre").first.is_visible()
    assert "partner: mined" in tab.locator("pre").first.inner_text()
