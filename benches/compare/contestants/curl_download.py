"""Downloads every page with curl, 16 in parallel, into a folder."""

import json
import subprocess

from common import API_KEY, page_count, page_url

IN_FLIGHT = 16
CURL = ["curl", "--silent", "--show-error", "--fail", "--header", f"X-Api-Key: {API_KEY}"]


def download_pages(arguments, folder):
    """Write pages to FOLDER/1.json, 2.json, … and return the number of pages."""
    # Page 1 gives the row count. It is downloaded again below.
    first = subprocess.run([*CURL, page_url(arguments, 1)], check=True, capture_output=True).stdout
    pages = page_count(arguments, json.loads(first)["count"])
    url = page_url(arguments, f"[1-{pages}]")
    parallel = ["--parallel", "--parallel-max", str(IN_FLIGHT), "--output", f"{folder}/#1.json"]
    subprocess.run([*CURL, *parallel, url], check=True)
    return pages
