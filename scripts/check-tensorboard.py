#!/usr/bin/env python3
"""Reads a run's event files with TensorBoard's own reader and compares them with metrics.jsonl: check-tensorboard.py RUN

The run has the observers `jsonl` (every step) and `tensorboard`. Every number of every step that was due must be
there once and equal to float32; histograms and sheets must be readable, with the counts they claim.
"""
import io
import json
import math
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = Path(sys.argv[1])
events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "histograms": 0, "images": 0})
events.Reload()
tags = events.Tags()

rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
wanted = {}
for row in rows:
    for name, value in row["values"].items():
        wanted.setdefault(name.replace(".", "/", 1), {})[row["step"]] = value
assert set(tags["scalars"]) <= set(wanted), set(tags["scalars"]) - set(wanted)
single = lambda v: struct.unpack("f", struct.pack("f", v))[0]
compared = 0
steps = None
for tag in tags["scalars"]:
    found = [(e.step, e.value) for e in events.Scalars(tag)]
    assert [s for s, _ in found] == sorted({s for s, _ in found}), f"{tag}: steps {found}"
    for step, value in found:
        expected = wanted[tag][step]
        if expected is None:
            assert not math.isfinite(value), (tag, step, value)
        else:
            assert value == single(expected), (tag, step, value, expected)
        compared += 1
    if tag == "energy/data":
        steps = [s for s, _ in found]
assert steps and steps[-1] == rows[-1]["step"], steps

histograms = tags["histograms"]
assert {f"histogram/energy.{w}" for w in ("data", "samples")} <= set(histograms), histograms
for tag in histograms:
    for e in events.Histograms(tag):
        h = e.histogram_value
        assert sum(h.bucket) == h.num > 0 and h.bucket_limit[-1] == h.max >= h.min, (tag, e.step)
        assert h.min * h.num - 1e-6 * abs(h.sum) <= h.sum <= h.max * h.num + 1e-6 * abs(h.sum), (tag, e.step)
images = tags["images"]
assert "sheet/samples" in images, images
for tag in images:
    for e in events.Images(tag):
        png = e.encoded_image_string
        assert png.startswith(b"\x89PNG") and struct.unpack(">II", png[16:24]) == (e.width, e.height)
        try:
            from PIL import Image
        except ImportError:
            continue
        assert Image.open(io.BytesIO(png)).convert("RGB").size == (e.width, e.height)
print(f"{compared} numbers of {len(tags['scalars'])} names at steps {steps[0]} to {steps[-1]}, "
      f"{sum(len(events.Histograms(t)) for t in histograms)} histograms, "
      f"{sum(len(events.Images(t)) for t in images)} sheets: as in metrics.jsonl")
