"""The Python package of overmind-export reads the dataset into a DataFrame or a pyarrow table."""

import overmind_export

from common import API_KEY, COLUMNS, parse_arguments, save_for_check

arguments = parse_arguments()
rows = overmind_export.read(
    arguments.dataset, base_url=arguments.base_url, api_key=API_KEY,
    page_size=arguments.page_size, columns=COLUMNS,
)
frame = {"pandas": rows.to_pandas, "polars": rows.to_polars, "pyarrow": rows.to_arrow}[arguments.frame]()
save_for_check(frame, arguments)
