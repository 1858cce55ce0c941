"""The vendor client and pandas, one page after the other. Newer releases of `overmind` have no such client."""

from overmind.openapi_client import ApiClient, Configuration
from overmind.openapi_client.api.datasets_api import DatasetsApi

import pandas_output
from common import API_KEY, parse_arguments

arguments = parse_arguments()
configuration = Configuration(host=arguments.base_url, api_key={"ApiKeyAuth": API_KEY})
datasets = DatasetsApi(ApiClient(configuration))
rows = []
page = 1
while True:
    answer = datasets.datasets_datapoints_list(arguments.dataset, page=page, page_size=arguments.page_size)
    rows += [row.model_dump(mode="json") for row in answer.results]
    if not answer.next:
        break
    page += 1
pandas_output.finish(rows, arguments)
