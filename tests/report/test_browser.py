"""The report in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from sid_jax.export.artifact import load_export
from sid_jax.messages import Messages
from sid_jax.report.run import write_report
from tests.report.conftest import HOSTILE, KINDS, make_export

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def page(small, tmp_path_factory) -> Path:
    return write_report(small, tmp_path_factory.mktemp("page") / "small.html", messages=Messages.silent())


@pytest.fixture(autouse=True)
def _as_it_was(request):
    yield
    if "browser" in request.fixturenames:
        browser = request.getfixturevalue("browser")
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def look(browser, path, *, scheme="light", phone=False):
    """Opens a report, waits until it is ready, and checks that there was no error and no network request."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    if phone:
        metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(path.as_uri())
    WebDriverWait(browser, 60, 0.05).until(
        lambda driver: driver.execute_script("return document.documentElement.dataset.ready")
    )
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map(each => each.name)") == []


def all_of(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def wait_for(browser, selector):
    return WebDriverWait(browser, 20, 0.05).until(lambda _: all_of(browser, selector))


def search(browser, words):
    box = browser.find_element(By.ID, "search")
    box.clear()
    box.send_keys(words)
    return all_of(browser, "#search-results button")


def no_sideways(browser):
    return browser.execute_script("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("phone", [False, True])
def test_it_opens_with_the_verdict_and_draws_every_plot(browser, page, phone):
    look(browser, page, phone=phone)
    assert browser.find_element(By.CSS_SELECTOR, "#verdict h2").text == "These IDs are good"
    assert "400 items have one ID each, of 3 codes." in browser.find_element(By.CSS_SELECTOR, ".summary").text
    drawn = {plot.get_attribute("id") for plot in all_of(browser, ".plot") if plot.size["height"] > 200}
    assert drawn == {f"plot-{name}" for name in ("map", "usage", "buckets", "fidelity", "loss", "quality", "in-use")}
    assert no_sideways(browser)


def test_a_search_finds_the_item_and_its_neighbors(browser, page, small):
    look(browser, page)
    table = load_export(small).table
    sid = "-".join(map(str, table.semantic_id("item/123")))
    for words in ("number 123", "item/123", sid):
        found = search(browser, words)
        assert len(found) == 1 or words == "item/123", words
        assert sid in found[0].text and "number 123" in found[0].text
    found[0].click()
    assert "item/123" in browser.find_element(By.ID, "item").text
    assert browser.switch_to.active_element.get_attribute("id") == "item"
    near = len(table.items(sid.split("-")[0])) - 1
    shown = sum(int(each.text.split()[0]) for each in all_of(browser, "#item h4"))
    assert shown == near > 10
    neighbor = all_of(browser, "#item button.row")[-1]
    assert neighbor.text.startswith(sid.split("-")[0] + "-")
    assert search(browser, "nothing is called so") == []
    assert browser.find_element(By.ID, "search-status").text == "No item contains these words."


def test_the_tree_opens_down_to_the_items(browser, page, small):
    look(browser, page)
    export = load_export(small)
    roots = all_of(browser, "#tree > li > div > ul > li > details > summary")
    assert len(roots) == 16
    prefix = roots[0].find_element(By.CSS_SELECTOR, ".sid").text
    items = export.table.items(prefix)
    assert f"{len(items)} items" in roots[0].text and KINDS[int(prefix) % len(KINDS)] in roots[0].text
    roots[0].send_keys("\n")
    branches = wait_for(browser, "#tree .under > div > ul > li > details > summary")
    assert branches[0].text.split()[0].startswith(f"{prefix}-")
    branches[0].click()
    deeper = wait_for(browser, "#tree .under .under button.row .sid")
    wanted = branches[0].find_element(By.CSS_SELECTOR, ".sid").text
    assert [each.text for each in deeper] == sorted(
        ("-".join(map(str, export.table.semantic_id(item))) for item in export.table.items(wanted)),
        key=lambda sid: tuple(map(int, sid.split("-"))),
    )


def test_moved_crowded_and_identical_items_are_listed(browser, page, small):
    look(browser, page)
    rows = load_export(small).table.to_arrow().to_pylist()
    moved = browser.find_element(By.ID, "moved").text
    assert moved.startswith("1 item had") and f"{'-'.join(map(str, rows[1]['codes']))} → {rows[1]['sid']}" in moved
    identical = browser.find_element(By.ID, "identical").text
    assert "2 items in 1 group" in identical and rows[0]["sid"] in identical and rows[1]["sid"] in identical
    assert "2 items" in browser.find_element(By.ID, "crowded").text


def test_the_theme_is_the_systems_until_it_is_switched(browser, page):
    def looks():
        return browser.execute_script(
            "const axis = [...Bokeh.documents[0].roots()[0].references()].find(each => each.type === 'LinearAxis');"
            "return [getComputedStyle(document.body).backgroundColor, axis.major_label_text_color]"
        )

    look(browser, page)
    light = looks()
    look(browser, page, scheme="dark")
    dark = looks()
    assert light[0] != dark[0] and light[1] != dark[1]
    browser.find_element(By.ID, "theme").click()
    assert looks() == light
    browser.find_element(By.ID, "theme").click()
    assert looks() == dark


def test_titles_are_text_whatever_they_say(browser, page):
    look(browser, page, phone=True)
    assert browser.title == "Semantic IDs of small"
    for row, title in enumerate(HOSTILE, start=2):
        found = search(browser, f"item/{row}")[0]
        found.click()
        shown = browser.find_element(By.CSS_SELECTOR, "#item h3").text
        assert shown == (f"item/{row}" if not title else title if len(title) <= 160 else title[:159] + "…")
        assert no_sideways(browser)
    assert all_of(browser, "img") == [] and all_of(browser, "b b, h3 b") == []
    assert browser.title == "Semantic IDs of small"
    # The report's Content Security Policy also blocks scripts that are inserted later.
    browser.execute_script(
        "const script = document.createElement('script'); script.textContent = \"document.title = 'owned'\";"
        "document.body.append(script);"
    )
    assert browser.title == "Semantic IDs of small"
    assert any("Content Security Policy" in entry["message"] for entry in browser.get_log("browser"))


def test_a_tap_on_the_map_shows_the_item(browser, page):
    look(browser, page)
    x, y, title = browser.execute_script(
        "const plot = Bokeh.documents.flatMap(each => each.roots()).find(each => each.name === 'map');"
        "const {data} = [...plot.references()].find(each => each.name === 'points');"
        "return [data.x[9], data.y[9], data.title[9]]"
    )
    browser.execute_script(
        "const plot = Bokeh.documents.flatMap(each => each.roots()).find(each => each.name === 'map');"
        "const Tap = Bokeh.require('core/bokeh_events').Tap;"
        "plot.trigger_event(new Tap(0, 0, arguments[0], arguments[1], {}))",
        x,
        y,
    )
    assert browser.find_element(By.CSS_SELECTOR, "#map-item h3").text == title


def test_everything_has_a_name_for_who_does_not_see_it(browser, page):
    look(browser, page)
    nameless = browser.execute_script(
        "return [...document.querySelectorAll('main button, main input, main select, header button, [role=img]')]"
        ".filter(each => !(each.textContent.trim() || each.ariaLabel || (each.labels && each.labels.length)))"
        ".map(each => each.outerHTML)"
    )
    assert nameless == []
    assert browser.execute_script("return document.documentElement.lang") == "en"


def test_a_hundred_thousand_items_stay_small_and_quick(browser, tmp_path):
    folder = make_export(tmp_path / "large", 100_000, size=64)
    page = write_report(folder, messages=Messages.silent())
    assert page.stat().st_size < 3 * MEGABYTE
    look(browser, page, phone=True)
    # An idle machine needs less than 2 s; the limit is higher, since the machine may be busy.
    assert browser.execute_script("return performance.getEntriesByName('ready')[0].startTime") < 15_000
    note = browser.find_element(By.ID, "sampled").text
    assert "of the 100,000 items, a random sample" in note
    assert len(search(browser, "lamp")) == 20
    assert no_sideways(browser)
