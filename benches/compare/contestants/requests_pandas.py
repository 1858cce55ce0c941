"""requests and pandas, one page after the other, as in a short notebook."""

import requests

import pandas_output
from common import HEADERS, parse_arguments

arguments = parse_arguments()
session = requests.Session()
session.headers.update(HEADERS)
rows = []
page = 1
while True:
    parameters = {"page": page, "page_size": arguments.page_size}
    response = session.get(arguments.url, params=parameters, timeout=60)
    response.raise_for_status()
    answer = response.json()
    rows += answer["results"]
    if not answer["next"]:
        break
    page += 1
pandas_output.finish(rows, arguments)
