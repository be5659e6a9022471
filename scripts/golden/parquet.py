"""Writes tests/golden/categories.parquet and tests/golden/structs.parquet: pairs whose columns are of kinds that no text has.

    python scripts/golden/parquet.py tests/golden

Needs pyarrow (26.0.1 wrote the committed files). The first is what pandas makes of a column `category`, the second has
hard negatives as a list of objects, as datasets of the hub do.
"""

import pathlib
import sys

import pyarrow as pa
import pyarrow.parquet as pq

folder = pathlib.Path(sys.argv[1])
texts = {"question": ["what", "who"], "passage": ["this", "they"]}
language = pa.array(["en", "de"]).dictionary_encode()
pq.write_table(pa.table({**texts, "language": language}), folder / "categories.parquet")
negative = pa.array([[{"text": "that", "score": 0.5}], []])
pq.write_table(pa.table({**texts, "language": ["en", "de"], "negative": negative}), folder / "structs.parquet")
