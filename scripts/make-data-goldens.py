#!/usr/bin/env python3
"""Writes crates/ebm-data/tests/data with the libraries that write the sets which users have.

    python3 -m venv v && v/bin/pip install numpy==2.4.6 pillow==13.0.0 pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.1 \\
        datasets==5.2.0 scipy==1.17.1 lmdb==3.0.0 tfrecord==1.14.6 webdataset==1.0.2
    v/bin/python scripts/make-data-goldens.py

Byte c, y, x of picture i is (37 i + 11 c + 5 y + 3 x + x y) mod 256, which the tests compute, too.
"""

import gzip
import io
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import datasets
import duckdb
import lmdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
import tfrecord
import webdataset
from PIL import Image

HERE = Path(__file__).resolve().parent.parent / "crates/ebm-data/tests/data"


def picture(i, c=3, h=32, w=32):
    """Bytes (c, h, w)."""
    c, y, x = np.meshgrid(np.arange(c), np.arange(h), np.arange(w), indexing="ij")
    return ((37 * i + 11 * c + 5 * y + 3 * x + x * y) % 256).astype(np.uint8)


def pil(i, c=3, h=4, w=5):
    p = picture(i, c, h, w)
    return Image.fromarray(p[0] if c == 1 else p.transpose(1, 2, 0))


def packed(i, form="PNG", c=3, h=4, w=5, **options):
    out = io.BytesIO()
    pil(i, c, h, w).save(out, form, **options)
    return out.getvalue()


def rows(*pictures):
    return np.stack([picture(i).reshape(-1) for i in pictures])


class Python2(pickle._Pickler):
    """Texts and bytes as the cPickle of Python 2 wrote them, which the published files of CIFAR are made of."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_python2(self, value):
        raw = value.encode("latin1") if isinstance(value, str) else value
        head = b"U" + bytes([len(raw)]) if len(raw) < 256 else b"T" + struct.pack("<i", len(raw))
        self.write(head + raw)
        self.memoize(value)

    dispatch[str] = save_python2
    dispatch[bytes] = save_python2


def dump(path, value, protocol):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as f:
        if protocol == "python 2":
            Python2(f, 2).dump(value)
        else:
            pickle.dump(value, f, protocol=protocol)


def cifar():
    root = HERE / "cifar-10-batches-py"
    for batch, protocol in zip(range(1, 6), ["python 2", 0, 3, 4, 5]):
        value = {"batch_label": f"training batch {batch} of 5", "labels": [batch], "data": rows(batch), "filenames": [f"{batch}.png"]}
        dump(root / f"data_batch_{batch}", value, protocol)
    dump(root / "test_batch", {b"labels": [np.int64(9)], b"data": np.asfortranarray(rows(9, 10))[:1]}, 1)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    dump(root / "batches.meta", {"num_cases_per_batch": 10000, "label_names": names, "num_vis": 3072}, "python 2")
    root = HERE / "cifar-100-python"
    for part, i in (("train", 1), ("test", 2)):
        value = {"filenames": ["a"], "fine_labels": [97 + i], "coarse_labels": [17 + i], "data": rows(i)}
        dump(root / part, value, "python 2")
    meta = {"fine_label_names": [f"fine {i}" for i in range(100)], "coarse_label_names": [f"coarse {i}" for i in range(20)]}
    dump(root / "meta", meta, "python 2")


def imagenet32():
    root = HERE / "imagenet32"
    value = {"data": rows(1), "labels": [1], "mean": np.arange(4.0)}
    dump(root / "train_data_batch_1", value, 3)
    np.savez(root / "train_data_batch_2.npz", data=rows(2), labels=np.array([1000]), mean=np.arange(4.0))
    dump(root / "val_data", {"data": rows(3), "labels": [7]}, 3)


def svhn():
    x = np.stack([picture(i).transpose(1, 2, 0) for i in (1, 2)], axis=-1)
    for name, options in (("train_32x32", {"do_compression": True}), ("test_32x32", {"do_compression": False})):
        scipy.io.savemat(HERE / f"{name}.mat", {"X": x, "y": np.array([[10], [3]], np.uint8), "note": "text"}, **options)
    scipy.io.savemat(HERE / "doubles.mat", {"v": np.arange(6.0).reshape(2, 3) / 4, "c": np.ones(2, complex)}, do_compression=True)


def pictures():
    root = HERE / "pictures"
    root.mkdir()
    for name, form, c, options in (
        ("lossless.webp", "WEBP", 3, {"lossless": True}),
        ("plain.bmp", "BMP", 3, {}),
        ("plain.tiff", "TIFF", 3, {}),
        ("lzw.tif", "TIFF", 3, {"compression": "tiff_lzw"}),
        ("deflate.tif", "TIFF", 3, {"compression": "tiff_adobe_deflate"}),
        ("colour.ppm", "PPM", 3, {}),
        ("grey.pgm", "PPM", 1, {}),
        ("grey.png", "PNG", 1, {}),
        ("grey.gif", "GIF", 1, {}),
    ):
        (root / name).write_bytes(packed(4, form, c, **options))
    (root / "lossy.webp").write_bytes(packed(4, "WEBP", quality=95))
    lossy = np.asarray(Image.open(root / "lossy.webp").convert("RGB")).transpose(2, 0, 1)
    np.save(HERE / "lossy-webp.npy", lossy)
    # CelebA-HQ as the scripts of its authors write it: one array a picture.
    (HERE / "celeba-hq-npy").mkdir()
    for i in (1, 2):
        np.save(HERE / f"celeba-hq-npy/imgHQ0000{i}.npy", picture(i, 3, 4, 5)[None])
    with zipfile.ZipFile(HERE / "faces.zip", "w") as z:
        for i in range(4):
            packing = zipfile.ZIP_DEFLATED if i % 2 else zipfile.ZIP_STORED
            z.writestr(f"faces/{'train' if i < 3 else 'val'}/{'ab'[i % 2]}/{i}.png", packed(i), packing)
        z.writestr("faces/readme.txt", "passed over")
    with webdataset.TarWriter(str(HERE / "shard-train-000000.tar")) as t:
        for i in range(3):
            t.write({"__key__": f"sample{i:06d}", "png": packed(i), "cls": i + 4, **({"json": {}} if i == 0 else {})})
    records = HERE / "celebahq-r02.tfrecords"
    with open(records, "wb"):
        pass
    w = tfrecord.TFRecordWriter(str(records))
    for i in (1, 2):
        p = picture(i, 3, 4, 5)
        w.write({"shape": (list(p.shape), "int"), "data": (p.tobytes(), "byte")})
    w.close()
    w = tfrecord.TFRecordWriter(str(HERE / "encoded.tfrecord"))
    w.write({"image/encoded": (packed(3), "byte"), "image/class/label": (7, "int")})
    w.close()


def lsun():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.save(HERE / "lsun-noise.npy", noise.transpose(2, 0, 1))
    with lmdb.open(str(HERE / "lsun_train_lmdb"), map_size=1 << 20) as env, env.begin(write=True) as t:
        for key, p in ((b"0a", noise), (b"0b", picture(1).transpose(1, 2, 0)), (b"0c", np.full((32, 32, 3), 9, np.uint8))):
            out = io.BytesIO()
            Image.fromarray(p).save(out, "WEBP", lossless=True)
            t.put(key, out.getvalue())
    (HERE / "lsun_train_lmdb/lock.mdb").unlink()
    # Enough keys for a tree of two levels, without pictures.
    with lmdb.open(str(HERE / "deep"), map_size=1 << 20, subdir=False, lock=False) as env, env.begin(write=True) as t:
        for i in range(40):
            t.put(b"%0400d" % i, b"%d" % i)
    (HERE / "deep").rename(HERE / "deep.mdb")


def arrays():
    root = HERE / "npy"
    root.mkdir()
    np.save(root / "bool.npy", np.arange(12).reshape(3, 2, 2) % 3 == 0)
    for kind in ("i1", "i2", "i4", "i8", "u2", "u4", "u8", "f8", ">i2", ">f2"):
        np.save(root / f"{kind.replace('>', 'big-')}.npy", np.array([[-1, 0, 1], [2, 100, 127]]).astype(kind))
    np.save(root / "f2.npy", np.array([0, -0.0, 1, -2.5, 6e-8, 6.1e-5, 65504, np.inf, -np.inf], np.float16))
    np.save(root / "fortran.npy", np.asfortranarray(np.arange(60, dtype=np.uint8).reshape(5, 3, 4)))
    np.save(root / "frame.npy", pl.DataFrame({"a": [1.0, 2, 3], "b": [4.0, 5, 6]}).to_numpy())
    np.save(root / "last.npy", np.stack([picture(i, 3, 8, 9).transpose(1, 2, 0) for i in range(3)]))
    stack = lambda n: np.stack([picture(i, 1, 6, 6)[0] for i in range(n)])
    np.savez(HERE / "mnist.npz", x_train=stack(4), y_train=np.arange(4, dtype=np.uint8), x_test=stack(2), y_test=np.array([8, 9], np.uint8))
    medical = {"train_images": stack(3), "train_labels": np.array([[0], [1], [0]], np.uint8), "test_images": stack(1), "test_labels": np.array([[1]], np.uint8)}
    np.savez_compressed(HERE / "medmnist.npz", **medical)
    np.savez_compressed(HERE / "dsprites.npz", imgs=(np.arange(72).reshape(2, 6, 6) % 5 == 0).astype(np.uint8))
    labels = np.array([[5, 0, 1, 2, 3, 4, 6, 7], [9, 8, 7, 6, 5, 4, 3, 2]], ">i4")
    head = struct.pack(">BBBBII", 0, 0, 0x0C, 2, *labels.shape)
    (HERE / "qmnist-test-labels-idx2-int.gz").write_bytes(gzip.compress(head + labels.tobytes(), mtime=0))


def parquet():
    root = HERE / "parquet"
    root.mkdir()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

    def table(labels):
        images = pa.array([{"bytes": packed(i), "path": None} for i in range(len(labels))], type=kind)
        return pa.table({"image": images, "label": labels})

    numbers = table([0, 1, 0, 1])
    for codec in ("zstd", "gzip", "brotli", "lz4", "snappy", "none"):
        pq.write_table(numbers, root / f"{codec}.parquet", compression=codec)
        pq.write_table(numbers, root / f"{codec}-v2.parquet", compression=codec, data_page_version="2.0", row_group_size=3)
    pq.write_table(table(["dog", "cat", "dog", "cat"]), root / "words.parquet")
    pq.write_table(table([0, None, 1, 0]), root / "nulls.parquet")
    pq.write_table(table([-1, -1]), root / "hidden.parquet")
    pq.write_table(table([0.5, 1.5]), root / "floats.parquet")
    pl.DataFrame({"image": [packed(i) for i in range(3)], "label": [2, 1, 0]}).write_parquet(root / "polars.parquet")
    frame = pl.DataFrame({"image": [packed(i) for i in range(3)], "label": [2, 1, 0]}).to_arrow()
    duckdb.sql("select * from frame").write_parquet(str(root / "duckdb.parquet"), compression="zstd")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["circle", "square"])})
    data = datasets.Dataset.from_dict({"image": [pil(i) for i in range(3)], "label": [1, 0, 1]}, features=features)
    data.to_parquet(root / "datasets.parquet")


datasets.disable_progress_bars()
shutil.rmtree(HERE, ignore_errors=True)
HERE.mkdir(parents=True)
for part in (cifar, imagenet32, svhn, pictures, lsun, arrays, parquet):
    part()
print(sum(f.stat().st_size for f in HERE.rglob("*") if f.is_file()), "bytes in", HERE)
