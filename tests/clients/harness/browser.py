"""A headless Chromium that tells of everything a page does wrong: requests to others, errors, and scripts that got in."""

import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from .wait import wait_until

# Debian's; playwright's own download is not wanted.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDE, NARROW = (1280, 860), (375, 760)


class Browser:
    def __init__(self, playwright):
        self.browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])

    @contextmanager
    def page(self, address: tuple[str, int], theme="light", size=WIDE, may_fail=False):
        """A page of this broker's console. `may_fail`: requests to it may, as when it is killed."""
        origin = f"http://{address[0]}:{address[1]}"
        context = self.browser.new_context(
            color_scheme=theme, viewport={"width": size[0], "height": size[1]}, timezone_id="UTC", reduced_motion="reduce"
        )
        wrong, asked = [], []
        page = context.new_page()

        def request(r):
            asked.append(r.url)
            if not r.url.startswith((origin + "/", "data:")):
                wrong.append(f"a request to {r.url}")

        def console(message):
            failed = "Failed to load resource" in message.text or "Content Security Policy" in message.text
            if message.type in ("error", "warning") and not (may_fail and failed):
                wrong.append(f"{message.type} on the console: {message.text}")

        page.on("request", request)
        page.on("console", console)
        page.on("pageerror", lambda e: wrong.append(f"an exception: {e}"))
        page.on("dialog", lambda d: wrong.append(f"a dialog: {d.message}") or d.dismiss())
        page.on("websocket", lambda w: wrong.append(f"a web socket to {w.url}"))
        page.asked = asked
        page.origin = origin
        page.set_default_timeout(30_000)
        try:
            yield page
            if page.evaluate("window.hacked !== undefined"):
                wrong.append("a script of somebody's has run")
            assert not wrong, wrong
        finally:
            context.close()

    def close(self):
        self.browser.close()


def go(page, route: str):
    """Opens a part of the console: as a link within it, once it is loaded."""
    if urlsplit(page.url).netloc:
        page.evaluate("hash => { location.hash = hash; }", route)
    else:
        page.goto(f"{page.origin}/{route}")
    page.wait_for_selector("h1")


def until(page, holds: str, arg=None):
    """Until this script says so. Asked from here: the page's policy lets nothing be evaluated within it."""
    return wait_until(lambda: page.evaluate(holds, arg), holds)


def rows(page, table: str) -> list[list[str]]:
    """The texts of a table's cells, once it has any."""
    region = page.get_by_role("region", name=table, exact=True)
    region.locator("tbody tr").first.wait_for()
    cells = "trs => trs.map(tr => [...tr.cells].map(td => td.innerText.trim()))"
    return region.locator("tbody tr").evaluate_all(cells)


def overflow(page) -> int:
    """Pixels by which the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def shoot(page, folder: Path, name: str):
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png")
