"""Writes the tables that crates/ebm-data/tests/whole/tables.rs reads, with the libraries that people write tables with.

    python scripts/make-table-goldens.py

pyarrow and pandas; both are needed only here.
"""

from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent.parent / "crates/ebm-data/tests/data/tables"
HERE.mkdir(parents=True, exist_ok=True)

columns = {
    "whole": pa.array([1, -2, 3, 4, 5], pa.int64()),
    "large": pa.array([0, 4294967295, 2, 3, 4], pa.uint32()),
    "single": pa.array([0.5, 1.5, -2.5, 0.0, 1e9], pa.float32()),
    "double": pa.array([0.1, 0.2, 0.3, 0.4, -1e-300], pa.float64()),
    "truth": pa.array([True, False, True, True, False]),
    "word": pa.array(["cook", "smith", "cook", "baker", "smith"]),
}
for packing in ["snappy", "zstd"]:
    pq.write_table(pa.table(columns), HERE / f"{packing}.parquet", compression=packing, row_group_size=2)
pq.write_table(pa.table({"x": pa.array([1.0, 2.0, None, 4.0]), "w": ["a", None, "b", "c"]}), HERE / "nulls.parquet", row_group_size=2)
pq.write_table(pa.table({"x": pa.array([1.0, float("nan")])}), HERE / "nan.parquet")
pq.write_table(pa.table({"price": pa.array([Decimal("1.25"), Decimal("2.50")])}), HERE / "decimals.parquet")
pq.write_table(pa.table({"x": pa.array([[1.0, 2.0], [3.0]])}), HERE / "lists.parquet")
frame = pd.DataFrame({c: v.to_pylist() for c, v in columns.items()})
frame.to_csv(HERE / "pandas.csv", index=False)
frame.to_parquet(HERE / "pandas.parquet", index=False)

# Times, decimals and half precision in every form that Parquet has for them.
moment = datetime(2026, 3, 1, 12, 30, 15, 250000)
typed = {
    "seconds": pa.array([moment], pa.timestamp("s")),
    "millis": pa.array([moment], pa.timestamp("ms")),
    "micros": pa.array([moment], pa.timestamp("us", tz="UTC")),
    "nanos": pa.array([moment], pa.timestamp("ns")),
    "day": pa.array([date(1969, 12, 30)]),
    "time32": pa.array([time(6, 30, 0, 500000)], pa.time32("ms")),
    "time64": pa.array([time(6, 30, 0, 500000)], pa.time64("ns")),
    "price": pa.array([Decimal("-1.25")], pa.decimal128(9, 2)),
    "long": pa.array([Decimal("-12345678901234567890.5")], pa.decimal128(30, 1)),
    "half": pa.array([1.5]).cast(pa.float16()),
}
pq.write_table(pa.table(typed), HERE / "typed.parquet")
pq.write_table(pa.table({k: v for k, v in typed.items() if k in ["price", "long"]}), HERE / "decimals-short.parquet", store_decimal_as_integer=True)
pq.write_table(pa.table({"nanos": typed["nanos"]}), HERE / "int96.parquet", use_deprecated_int96_timestamps=True)
pd.DataFrame({"waited": pd.to_timedelta([1.5, 90], unit="s"), "x": [1.0, 2.0]}, index=[7, 8]).to_parquet(HERE / "index.parquet")
