"""The report in a real browser: whole, readable in light and dark, and asking nobody for anything."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

MACHINES = ("seed", "big", "hostile")
# Pairs of texts of one picture that cover each other by more than a pixel.
OVERLAPS = """() => {
  const found = [], texts = [...document.querySelectorAll(".picture text")];
  const boxes = texts.map(one => one.getBoundingClientRect());
  for (let a = 0; a < texts.length; a++)
    for (let b = a + 1; b < texts.length; b++) {
      const wide = Math.min(boxes[a].right, boxes[b].right) - Math.max(boxes[a].left, boxes[b].left);
      const high = Math.min(boxes[a].bottom, boxes[b].bottom) - Math.max(boxes[a].top, boxes[b].top);
      if (wide > 1 && high > 3) found.push(texts[a].lastChild.data + " / " + texts[b].lastChild.data);
    }
  return found;
}"""
# Texts in boxes of their own group that reach beyond them.
BEYOND = """() => [...document.querySelectorAll(".picture .chain text.mono")].filter(text => {
  const box = text.previousElementSibling.getBoundingClientRect(), own = text.getBoundingClientRect();
  return own.left < box.left || own.right > box.right;
}).map(text => text.textContent)"""
# The least contrast of text against what is behind it: [ratio, selector].
CONTRASTS = """selectors => {
  const channel = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const solid = text => { const c = parse(text); return c.length === 3 || c[3] > 0; };
  const ground = node => {
    for (let one = node; one instanceof Element; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (solid(colour)) return parse(colour);
    }
    throw new Error("no ground");
  };
  const behind = node => {
    if (!(node instanceof SVGElement)) return ground(node);
    const own = node.getBoundingClientRect(), x = own.left + own.width / 2, y = own.top + own.height / 2;
    const boxes = [...node.ownerSVGElement.querySelectorAll("rect")].filter(one => {
      const box = one.getBoundingClientRect(), fill = getComputedStyle(one).fill;
      return fill !== "none" && box.left <= x && x <= box.right && box.top <= y && y <= box.bottom;
    });
    return parse(getComputedStyle(boxes.at(-1)).fill);
  };
  return selectors.flatMap(selector => [...document.querySelectorAll(selector)].slice(0, 40).map(node => {
    const style = getComputedStyle(node);
    const own = light(parse(node instanceof SVGElement ? style.fill : style.color)), other = light(behind(node));
    return [(Math.max(own, other) + .05) / (Math.min(own, other) + .05), selector + ": " + node.textContent.trim()];
  }));
}"""
TEXTS = (
    *("h1", "h2", "h2 small", "summary", "td", "th", "code", ".badge", ".verdict b", ".remedy", ".says", ".dim", "li"),
    *(".picture text", ".find", ".find input"),
)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_page_loads_whole(page: Page, reports: dict[str, str], machine: str) -> None:
    page.goto(reports[machine])
    assert page.locator(".picture .chain").count() == page.locator("#chains > details").count() > 0
    assert page.locator("script").count() == 1


@pytest.mark.parametrize("machine", MACHINES)
def test_no_text_of_the_picture_covers_another_or_leaves_its_box(
    page: Page, reports: dict[str, str], machine: str
) -> None:
    page.goto(reports[machine])
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(BEYOND) == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("machine", MACHINES)
def test_the_page_is_no_wider_than_the_window(page: Page, reports: dict[str, str], machine: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(reports[machine])
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(page: Page, reports: dict[str, str], scheme: str) -> None:
    page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    page.goto(reports["big"])
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = page.evaluate(CONTRASTS, list(TEXTS))
    assert len(found) > 100
    assert [one for one in found if one[0] < 4.5] == []


def test_a_theme_that_was_chosen_wins_over_the_systems(page: Page, reports: dict[str, str]) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(reports["seed"])
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert page.evaluate(ground) == dark != light


@pytest.mark.parametrize("way", ["hover", "focus"])
def test_a_chain_stands_out(page: Page, reports: dict[str, str], way: str) -> None:
    page.goto(reports["seed"])
    chain = page.locator(".chain[data-port='49673']")
    other = page.locator(".chain[data-port='8080']")
    before = chain.locator(".line").first.evaluate("one => getComputedStyle(one).strokeWidth")
    if way == "hover":
        chain.locator("rect").first.hover()
    else:
        other.focus()
        for _ in range(4):
            page.keyboard.press("Tab")
    expect(other).not_to_have_css("opacity", "1")
    after = chain.locator(".line").first.evaluate("one => getComputedStyle(one).strokeWidth")
    assert float(after.removesuffix("px")) > float(before.removesuffix("px"))


def test_finding_a_port_leaves_what_speaks_of_it(page: Page, reports: dict[str, str]) -> None:
    page.goto(reports["big"])
    page.locator("#find").fill("9200")
    expect(page.locator("#chains > details:visible")).to_have_count(1)
    expect(page.locator(".picture .chain:not(.lost)")).to_have_count(1)
    page.locator("#find").fill("")
    expect(page.locator("#chains > details:visible")).to_have_count(60)


def test_a_verdict_leads_to_its_chain(page: Page, reports: dict[str, str]) -> None:
    page.goto(reports["big"])
    details = page.locator("[id='chain-tcp-:9200']")
    details.evaluate("one => one.open = false")
    page.locator("#verdicts a", has_text=":9200").click()
    expect(details).to_have_attribute("open", "")


@pytest.mark.parametrize("way", ["click", "key"])
def test_the_picture_leads_to_a_chains_hops(page: Page, reports: dict[str, str], way: str) -> None:
    page.goto(reports["seed"])
    chain = page.locator(".chain[data-port='49673']")
    if way == "click":
        chain.locator("rect").first.click()
    else:
        chain.focus()
        page.keyboard.press("Enter")
    expect(page.locator("[id='chain-tcp-:49673'] .hops")).to_be_visible()


def test_what_containers_are_called_is_shown_and_never_run(page: Page, reports: dict[str, str]) -> None:
    page.goto(reports["hostile"])
    assert page.evaluate("window.taken") is None
    assert page.locator("img, iframe, #taken").count() == 0
    assert page.locator("#containers", has_text="<img src=x onerror=window.taken=1>").count() == 1
