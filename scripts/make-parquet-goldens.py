#!/usr/bin/env python3
"""The files of plugins/ebm-sources/tests, as the `datasets` library writes image sets: pip install datasets pillow.

Picture v has one row of the two grey values v and 255 - v, and the class v mod 3; row groups hold four.
"""
import io
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Pil

out = Path(__file__).parent.parent / "plugins/ebm-sources/tests"


def png(v):
    file = io.BytesIO()
    picture = Pil.new("L", (2, 1))
    picture.putdata([v, 255 - v])
    picture.save(file, "png")
    return {"bytes": file.getvalue(), "path": None}


features = Features({"image": Image(), "label": ClassLabel(names=["a", "b", "c"])})
for name, values in [("train", range(30)), ("test", range(100, 103))]:
    rows = {"image": [png(v) for v in values], "label": [v % 3 for v in values]}
    Dataset.from_dict(rows, features=features).to_parquet(out / f"{name}.parquet", batch_size=4)
