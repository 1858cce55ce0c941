"""Opens reports in headless Chromium: text, charts, search, policy, accessibility. Saves screenshots for somebody to look at.

    python -B .ci/report.py COMMAND CHROMIUM AXE_CORE.js FOLDER CORPUS...

The figures of each report are compared with those that DuckDB computes from the same file.
"""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from playwright.sync_api import Browser, Page, sync_playwright

WIDTHS = (375, 1280)
SCHEMES = ("light", "dark")
# Values that would do something if they reached the page as more than text.
HOSTILE = [
    "<script>window.ran=1</script>",
    '"><img src=x onerror=window.ran=1>',
    "</style><style>body{display:none}</style>",
    "</script><script>window.ran=1</script>",
    "\u202eright to left\u2066\u0000\u001b[31m",
    '<a href="data:text/html,<script>window.ran=1</script>">link</a>',
    "javascript:window.ran=1",
    "<svg onload=window.ran=1><iframe srcdoc='<script>parent.ran=1</script>'>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:1/'><base href=//example.org>",
]
# Chromium must not ask for anything outside this machine.
CHROMIUM = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


class Reports:
    """Makes exports and reports with the command."""

    def __init__(self, command: str, folder: Path) -> None:
        self.command, self.folder = command, folder

    def run(self, *arguments: str, **environment: str) -> str:
        ran = subprocess.run(
            [self.command, *arguments], cwd=self.folder, env=os.environ | environment, capture_output=True, text=True
        )
        assert ran.returncode == 0, f"{arguments}: {ran.stderr}"
        return ran.stdout

    def report(self, *arguments: str) -> Path:
        """Writes a report. Returns its path."""
        page = self.folder / f"{len(list(self.folder.glob('*.html')))}.html"
        self.run("report", "-q", *arguments, "-o", str(page))
        return page

    @contextmanager
    def api(self, *files: str, rows: int = 0) -> Iterator[dict[str, str]]:
        """Serves files. Gives the ids of the datasets by their names."""
        more = [argument for file in files for argument in ("--from", file)]
        with subprocess.Popen(
            [self.command, "demo", "--serve", "--port", "0", "--rows", str(rows or 1), *more],
            cwd=self.folder, stdout=subprocess.PIPE, text=True,
        ) as server:  # fmt: skip
            try:
                assert server.stdout
                url, found = "", {}
                for line in server.stdout:
                    url = url or line.removeprefix("serving ").strip()
                    if match := re.match(r"  (\S{36})  [\d,]+ rows?  (.*)", line):
                        found[match[2].strip()] = match[1]
                    if line.startswith("try it"):
                        break
                os.environ |= {"OVERMIND_LAB_BASE_URL": url, "OVERMIND_LAB_API_KEY": "demo"}
                yield found
            finally:
                server.terminate()


class Visit:
    """A page in the browser, and everything that it must not do."""

    def __init__(self, browser: Browser, url: str, width: int, scheme: str, **options: bool) -> None:
        self.url, self.problems, self.requests = url, [], []
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        self.page: Page = context.new_page()
        self.page.on("console", lambda message: self.problems.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("popup", lambda _: self.problems.append("popup"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)

    def __enter__(self) -> Page:
        return self.page

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            assert not self.problems, f"{self.url}: {self.problems}"
            assert self.requests == [self.url], f"{self.url} requests {self.requests}"
            assert self.page.evaluate("window.ran") is None, self.url
            wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{self.url} is {wide} px too wide"
        self.page.context.close()


def look(browser: Browser, url: str, name: str, folder: Path) -> None:
    """Saves screenshots in each width and scheme, and lets axe-core look for what keeps people out."""
    for width in WIDTHS:
        for scheme in SCHEMES:
            with Visit(browser, url, width, scheme) as page:
                page.screenshot(path=folder / f"{name}-{width}-{scheme}.png")
                if page.locator("#rows").count():
                    page.evaluate("document.querySelector('#rows').scrollIntoView()")
                    page.screenshot(path=folder / f"{name}-{width}-{scheme}-rows.png")


def accessible(browser: Browser, url: str, axe: str) -> None:
    for width in WIDTHS:
        for scheme in SCHEMES:
            # The policy of the page refuses every script but its own.
            visit = Visit(browser, url, width, scheme, bypass_csp=True)
            with visit as page:
                page.add_script_tag(content=axe)
                found = page.evaluate("async () => (await axe.run(document)).violations")
                found = [(it["impact"], it["help"], it["nodes"][0]["html"][:200]) for it in found]
                assert not found, f"{url} at {width} px, {scheme}: {found}"


def printed(browser: Browser, url: str, most: int) -> None:
    """The print has few sheets, and cuts nothing at the edge of a box or of the sheet."""
    with Visit(browser, url, 1280, "light") as page:
        sheets = len(re.findall(rb"/Type /Page\b", page.pdf(format="A4")))
        assert 0 < sheets <= most, f"{url}: {sheets} sheets"
    # The width of A4 within its margins.
    with Visit(browser, url, 718, "dark") as page:
        page.emulate_media(media="print")
        cut = page.evaluate(
            """() => [...document.querySelectorAll("main *")].filter(it => {
                const style = getComputedStyle(it);
                const isBox = style.overflowY !== "visible" && it.scrollHeight > it.clientHeight + 1;
                return it.checkVisibility() && it.clientHeight && (isBox || it.getBoundingClientRect().right > innerWidth + 1);
            }).map(it => it.outerHTML.slice(0, 200))"""
        )
        assert not cut, f"{url}: {cut}"


def works_without_script(browser: Browser, url: str) -> None:
    with Visit(browser, url, 1280, "light", java_script_enabled=False) as page:
        assert not page.locator("#controls").is_visible()
        assert page.locator("main h2").count() >= 2


def keyboard(browser: Browser, url: str) -> None:
    """The first key leads to the content, and search and filters can be reached."""
    with Visit(browser, url, 1280, "light") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        page.locator("#search").focus()
        total = page.locator("article.row").count()
        assert page.locator("#found").inner_text() == f"{total} of {total} rows"
        number = page.locator("article.row h3").nth(total // 2).inner_text()
        identity = page.locator("article.row").nth(total // 2).locator("code.id").inner_text()
        page.keyboard.type(identity[:18])
        shown = page.locator("article.row:visible")
        assert shown.count() >= 1 and number in shown.locator("h3").all_inner_texts()
        page.locator("#search").fill("no row has these words")
        assert page.locator("#no-rows").is_visible() and page.locator("#found").inner_text() == f"0 of {total} rows"
        page.locator("#search").fill("")
        choices = page.locator("#filter-why option").evaluate_all("all => all.map(it => it.value)")
        page.locator("#filter-why").select_option(choices[-1])
        assert 0 < page.locator("article.row:visible").count() <= total
        assert all(choices[-1] in it for it in page.locator("article.row:visible .chips").all_inner_texts())


def figures(browser: Browser, url: str, file: Path) -> None:
    """Compares the overview and the histograms with what DuckDB says of the file."""
    with Visit(browser, url, 1280, "light") as page:
        for cells in page.locator("table.overview tbody tr").evaluate_all(
            "rows => rows.map(row => [...row.children].map(cell => cell.innerText))"
        ):
            name, kind, nulls, distinct, shortest, median, longest = cells
            select = f"""select count(*) - count("{name}"), count(distinct "{name}")"""
            if kind in ("json", "string"):
                select += f""", min(length("{name}")), quantile_disc(length("{name}"), 0.5), max(length("{name}"))"""
            expected = duckdb.sql(f"{select} from '{file}'").fetchall()[0]
            number = lambda text: int(text.replace("≈", "").replace(",", ""))
            assert number(nulls) == expected[0], f"{name}: {cells}, {expected}"
            tolerance = 0.04 * expected[1] if "≈" in distinct else 0
            assert abs(number(distinct) - expected[1]) <= tolerance, f"{name}: {cells}, {expected}"
            if len(expected) > 2 and expected[2] is not None:
                assert (number(shortest), number(longest)) == (expected[2], expected[4]), f"{name}: {cells}, {expected}"
                assert abs(number(median) - expected[3]) <= 0.01 * expected[3], f"{name}: {cells}, {expected}"
                bars = page.locator(f"[id='column-{name}'] figure").first.locator("rect").evaluate_all(
                    "bars => bars.map(bar => [bar.querySelector('title').textContent, +bar.dataset.rows])"
                )
                for title, rows in bars if name != "id" else []:
                    low, high = (re.findall(r"[\d,]+", title.split(":")[0]) * 2)[:2]
                    between = f"""length("{name}") between {number(low)} and {number(high)}"""
                    count = duckdb.sql(f"select count(*) from '{file}' where {between}").fetchall()[0]
                    assert count == (rows,), f"{name}: {title}, {count}"


def hostile_rows(folder: Path) -> None:
    with open(folder / "hostile.jsonl", "w") as file:
        for order, text in enumerate(HOSTILE):
            turn = {"role": text, "content": f"```{text}\n{text}\n```\n\n{text}", "name": text}
            row = {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, text)), "order": order, "persona": text}
            row |= {"input": {"messages": [turn], text: {text: text}}, "expected_output": text, "tags": [text, {text: text}]}
            file.write(json.dumps(row | {text: text}) + "\n")


def hostile(browser: Browser, url: str) -> None:
    with Visit(browser, url, 1280, "light") as page:
        text = page.locator("#rows").inner_text()
        for value in HOSTILE:
            shown = re.sub(r"[\u202e\u2066\0\x1b]", lambda it: f"U+{ord(it[0]):04X}", value)
            assert re.sub(r"\s", "", shown) in re.sub(r"\s", "", text), value
        assert page.locator("img, iframe, base, link, object, embed").count() == 0
        assert page.locator("script, style").count() == 2
        links = page.locator("a").evaluate_all("all => all.map(it => it.getAttribute('href'))")
        assert links and all(link.startswith("#") for link in links), links
    # The policy refuses what a hole in the templates would let in. The browser says so in its console.
    visit = Visit(browser, url, 1280, "light")
    with visit as page:
        refused = page.evaluate(
            """() => new Promise(done => {
                document.addEventListener('securitypolicyviolation', it => done(it.effectiveDirective));
                document.body.appendChild(document.createElement('script')).textContent = 'window.ran = 1';
            })"""
        )
        assert refused == "script-src-elem", refused
        assert len(visit.problems) == 1 and "Content Security Policy" in visit.problems.pop(), visit.problems


def changes(reports: Reports, browser: Browser, axe: str, screenshots: Path) -> None:
    """A bulk change of 2,000 rows does not hide the change of one expected output."""
    for name, is_second in (("before", False), ("after", True)):
        with open(reports.folder / f"{name}.jsonl", "w") as file:
            for order in range(2000):
                row = {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(order))), "order": order, "persona": "vip"}
                row |= {"input": {"messages": [{"role": "user", "content": f"question {order}"}]}}
                row |= {"expected_output": "no" if is_second and order == 1999 else "yes"}
                file.write(json.dumps(row | {"tags": {"topic": "new" if is_second else "old"}}) + "\n")
    url = reports.report("before.jsonl", "after.jsonl").as_uri()
    look(browser, url, "bulk", screenshots)
    accessible(browser, url, axe)
    printed(browser, url, 10)
    with Visit(browser, url, 1280, "light") as page:
        page.locator("table.places a", has_text="expected_output").click()
        row = page.locator("article.change:target")
        assert "question 1999" in row.inner_text(), row.inner_text()
        # The search finds rows of the data, and leaves those that changed alone.
        shown = page.locator("article.change").count()
        page.locator("#search").fill("no row has these words")
        assert page.locator("article.change:not([hidden])").count() == shown > 1
        assert page.locator("#rows article.row:visible").count() == 0


def nights(reports: Reports, browser: Browser, axe: str, screenshots: Path) -> None:
    """Thirty nights of two jobs, one of which fails in some."""
    root = reports.folder / "snapshots"
    for job in ("triage-eval", "support"):
        hidden = root / ".overmind" / job
        hidden.mkdir(parents=True)
        with open(hidden / "history.jsonl", "w") as file:
            for day in range(1, 31):
                is_failed = job == "support" and day in (11, 12, 30)
                status = "failed" if is_failed else "stored" if day % 3 == 0 else "unchanged"
                rows = 0 if is_failed else 100_000 + day * 700
                snapshot = {"dataset": str(uuid.NAMESPACE_OID), "name": None, "version": None, "status": status}
                snapshot |= {"snapshot": None, "path": None, "unchanged_by": None, "rows": rows, "bytes": 0}
                error = {"message": "the API stayed unavailable", "causes": ["HTTP 503"], "hint": None, "exit_code": 69}
                snapshot |= {"digest": None, "error": error if is_failed else None}
                run = {"job": job, "status": status, "started_at": f"2026-09-{day:02}T02:00:00Z", "seconds": 8 + day % 7}
                run |= {"finished_at": f"2026-09-{day:02}T02:00:09Z", "rows": rows, "bytes": rows * 280 * (day % 3 == 0)}
                run |= {"requests": 1000 + day, "retries": day % 5, "snapshots": [snapshot], "pruned": [], "error": None}
                file.write(json.dumps(run | {"exit_code": 69 if is_failed else 0}) + "\n")
    url = reports.report(str(root)).as_uri()
    look(browser, url, "nights", screenshots)
    accessible(browser, url, axe)
    printed(browser, url, 10)
    with Visit(browser, url, 1280, "light") as page:
        assert "Failing: support." in page.locator("header.top").inner_text()
        rows = page.locator("#job-1 figure", has_text="Rows of the data").locator("rect")
        points = rows.evaluate_all("bars => bars.map(bar => +bar.dataset.value)")
        assert points == [100_000 + day * 700 for day in range(1, 31)], points
        heights = rows.evaluate_all("bars => bars.map(bar => +bar.getAttribute('height'))")
        assert all(abs(it / heights[-1] - point / points[-1]) < 0.001 for it, point in zip(heights, points, strict=True))
        assert page.locator("#job-0 svg.days rect.failed").count() == 3
        # The page is made long after the last run: it says so first, and its calendar goes on to today.
        assert "Stale: triage-eval." in page.locator("header.top").inner_text()
        assert "No success since 2026-09-30" in page.locator("#job-1 ul.remarks").first.inner_text()
        assert f"to {datetime.now(UTC):%Y-%m-%d}: runs on 30 days" in page.locator("#job-1 figure.calendar").inner_text()


def main(command: str, chromium: str, axe_path: str, shots: str, *corpora: str) -> None:
    axe, screenshots = Path(axe_path).read_text(), Path(shots)
    screenshots.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        reports = Reports(command, folder)
        hostile_rows(folder)
        (folder / "empty.jsonl").write_text("")
        files = ["hostile.jsonl", "empty.jsonl", *(os.path.abspath(corpus) for corpus in corpora if os.path.exists(corpus))]
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM)
        with reports.api(*files, rows=20_000) as datasets:
            for dataset, identity in datasets.items():
                file = folder / f"{dataset}.parquet"
                reports.run("export", identity, "-q", "-o", str(file))
                page = reports.report(str(file))
                url = page.as_uri()
                look(browser, url, dataset, screenshots)
                accessible(browser, url, axe)
                works_without_script(browser, url)
                printed(browser, url, 10)
                if dataset == "empty":
                    with Visit(browser, url, 1280, "light") as empty:
                        assert "The export has no rows." in empty.locator("#data").inner_text()
                    continue
                keyboard(browser, url)
                figures(browser, url, file)
                without = reports.report(str(file), "--no-rows")
                assert without.stat().st_size < 2_000_000, f"{dataset}: {without.stat().st_size} bytes without rows"
                print(f"{dataset}: {page.stat().st_size:,} bytes, {without.stat().st_size:,} without rows")
        hostile(browser, reports.report("hostile.parquet").as_uri())
        url = reports.report("hostile.parquet", "empty.parquet").as_uri()
        look(browser, url, "changes", screenshots)
        accessible(browser, url, axe)
        changes(reports, browser, axe, screenshots)
        nights(reports, browser, axe, screenshots)
        browser.close()
    print(f"screenshots are in {screenshots}")


if __name__ == "__main__":
    main(*sys.argv[1:])
