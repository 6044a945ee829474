#!/usr/bin/env bash
# Hugging Face datasets 5.2.0 can put one file into two splits, and leaves files out without a word.
#
# Splits are found by words between delimiters, and digits delimit: `valid_2test.jsonl` is validation *and* test, with its rows
# in both. `evaluation` is test, not validation. `extra-0` and `trainer` beside `train` belong to nothing and are not there.
# A folder's name wins over the file's: `train/test-0` is training data. Seen with Python 3.11, all local files, offline.
#
# For us: the readers of folders and Parquet go by the same words, take a file once, and count and name what they leave out.
source "$(dirname "$0")/lib.sh"
packages python3 datasets==5.2.0 numpy==2.4.6
export HF_HUB_OFFLINE=1 HF_HOME="$work/cache" HF_DATASETS_DISABLE_PROGRESS_BARS=1
python - <<'P' 2>/dev/null
import pathlib
import tempfile

from datasets import load_dataset


def splits(*names):
    root = pathlib.Path(tempfile.mkdtemp(dir="."))
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text('{"x": 1}\n')
    return {split: rows.num_rows for split, rows in load_dataset(str(root)).items()}


cases = [
    (("train.jsonl", "valid_2test.jsonl"), {"train": 1, "validation": 1, "test": 1}),
    (("train.jsonl", "evaluation.jsonl"), {"train": 1, "test": 1}),
    (("train-0.jsonl", "trainer.jsonl", "extra-0.jsonl"), {"train": 1}),
    (("train/test-0.jsonl", "test/train-0.jsonl"), {"train": 1, "test": 1}),
]
for names, wanted in cases:
    found = splits(*names)
    print(*names, "->", found)
    assert found == wanted, "this has changed"
P
