"""Runs a notebook in JupyterLab in headless Chromium, checks what the page shows, and saves two screenshots.

    python -B .ci/jupyterlab.py CHROMIUM WINDOW.png TABLE.png
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from playwright.sync_api import Page, sync_playwright

# Time limit for each step.
SECONDS = 90
# A value that would run a script, if it reached the page as HTML.
HOSTILE = "<img src=x onerror=window.ran=1><script>window.ran=1</script>"
HOSTILE_ROW = """{"id":"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e","input":{"text":"%s"},"persona":"%s"}\n""" % (HOSTILE, HOSTILE)
# Rows for a picture: no font for more than Latin letters is needed.
QUESTIONS = [
    ("Where is my order?", "delivery", "new_customer"),
    ("I was charged twice.", "billing", "frustrated_customer"),
    ("How do I change my address?", "account", None),
    ("Please cancel the subscription.", "account", "small business owner"),
]
CELLS = [
    """
import os
import overmind_export as oe
demo = oe.demo(rows=20_000, latency=0.02, files=["hostile.jsonl", "tickets.jsonl"])
os.environ["OVERMIND_LAB_BASE_URL"], os.environ["OVERMIND_LAB_API_KEY"] = demo.url, "demo"
HOSTILE, ID, LARGE = demo.datasets
""",
    "oe.read(HOSTILE)",
    "oe.read(LARGE)",
    """
rows = oe.read(ID, columns=["id", "order", "input", "expected_output", "persona"])
rows
""",
    """
oe.export(ID, "table.parquet")
oe.report("table.parquet", rows=10)
""",
    "print('completeness:', rows.summary.completeness)",
]
# Chromium must not ask for anything outside this machine.
CHROMIUM = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def tickets() -> Iterator[str]:
    """Rows for a picture."""
    for order in range(1000):
        question, label, persona = QUESTIONS[order % len(QUESTIONS)]
        values = {"id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{order}")), "order": order}
        values |= {"input": {"question": question}, "expected_output": {"label": label}, "persona": persona}
        yield json.dumps(values, separators=(",", ":")) + "\n"


@contextmanager
def jupyterlab(folder: str) -> Iterator[str]:
    """Starts JupyterLab on a free loopback port. Gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    settings = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder,
        "ServerApp.allow_root": True,
        "ServerApp.open_browser": False,
        "LabApp.check_for_updates_class": "jupyterlab.handlers.announcements.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
    }
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    # The token is not an argument: every user of the machine can see those.
    home = f"{folder}/home"
    environment = os.environ | {"JUPYTER_TOKEN": token, "HOME": home, "JUPYTERLAB_SETTINGS_DIR": f"{home}/settings"}
    # JupyterLab must not offer its news.
    news = Path(home, "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings")
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false"}')
    with open(f"{folder}/server.log", "w") as log, subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *arguments], env=environment, stdout=log, stderr=log, cwd=folder
    ) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for(server, f"{url}/api?token={token}")
            yield f"{url}/lab/tree/notebook.ipynb?token={token}"
        except BaseException:
            print(Path(folder, "server.log").read_text()[-3000:])
            raise
        finally:
            server.terminate()


def wait_for(server: subprocess.Popen, url: str) -> None:
    overdue = time.monotonic() + SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > overdue:
                raise
            time.sleep(0.2)


def check(page: Page, url: str, window: str, crop: str) -> None:
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(url)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    # More room for the table.
    page.keyboard.press("Control+b")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator("[data-command='runmenu:run-all']").click()
    page.get_by_text("completeness: proven").wait_for()

    outputs = page.locator(".jp-CodeCell .jp-OutputArea")
    errors = page.locator("[data-mime-type='application/vnd.jupyter.stderr']").all_inner_texts()
    assert not errors, errors
    hostile, large, table = outputs.nth(1), outputs.nth(2), outputs.nth(3)
    assert "<img src=x onerror" in hostile.inner_text(), hostile.inner_text()
    assert hostile.locator("img, script").count() == 0
    assert page.evaluate("window.ran") is None and not dialogs, dialogs
    assert "20,000 rows, complete" in large.inner_text()
    # The bar of a long call stays, and says that it reached its end.
    bar = large.locator("progress")
    assert bar.count() == 1 and bar.evaluate("bar => [bar.value, bar.max]") == [20000, 20000]
    assert "20,000 of 20,000 rows" in large.inner_text(), large.inner_text()
    assert table.locator("table").count() == 1
    text = table.inner_text()
    for expected in ("id", "order", "input", "expected_output", QUESTIONS[0][0], "1,000 rows, complete"):
        assert expected in text, f"{expected} is missing in {text}"
    assert table.locator("tbody tr").count() >= 5

    # A report is shown in a frame, which runs its own script and reaches nothing of the notebook.
    report = outputs.nth(4)
    frame = report.locator("iframe")
    assert frame.get_attribute("sandbox") == "allow-scripts"
    inner = frame.content_frame
    assert inner.locator("h1").inner_text() == "table.parquet"
    inner.locator("#search").fill(QUESTIONS[1][0])
    assert inner.locator("article.row:visible").count() >= 1
    assert inner.locator("#found").inner_text().endswith(" rows")

    large.scroll_into_view_if_needed()
    page.screenshot(path=window)
    # No row under the mouse, and no selected cell.
    page.mouse.move(0, 0)
    page.locator(".jp-CodeCell").nth(3).screenshot(path=crop)
    print(f"the page shows the table; see {window} and {crop}")


def main(chromium: str, window: str, crop: str) -> None:
    with TemporaryDirectory() as folder:
        Path(folder, "hostile.jsonl").write_text(HOSTILE_ROW)
        Path(folder, "tickets.jsonl").write_text("".join(tickets()))
        cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
        nbformat.write(notebook, f"{folder}/notebook.ipynb")
        with jupyterlab(folder) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM)
            page = browser.new_page(viewport={"width": 1100, "height": 1000}, color_scheme="light")
            page.set_default_timeout(SECONDS * 1000)
            try:
                check(page, url, window, crop)
            except BaseException:
                page.screenshot(path=window)
                raise
            finally:
                browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
