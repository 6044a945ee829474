#!/usr/bin/env python3
"""Trains one small energy on each set of grey images and asks each what it takes for outside.

    examples/detect/run.py DATA [--out DIR] [--ebm PROGRAM] [--sets a,b] [--seeds 0,1,2] [--steps N] [--count N]

DATA has a folder for each set (README.md says where they are to be had). A run that is finished is not trained again, one
that was interrupted goes on, and figures that are there are not computed again, so the program may be stopped at any
time. Writes DIR/table.md and DIR/table.json. Needs Python 3.9 and nothing else.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
import driver  # noqa: E402

# Of each set: training images, held-out images (none: every fifth, for glyphs whole fonts).
SETS = {
    "mnist": ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
    "fashion-mnist": ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
    "usps": ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
    "glyphs": ("images-idx3-ubyte.gz", None),
}
RULES = ["rule:uniform", "rule:noise", "rule:constant", "rule:blur", "rule:interpolation"]
FIGURES = ["auroc", "aupr_in", "aupr_out", "fpr95"]


def data(folder, name):
    """The settings of [data] for a set: resized to 28×28 where they are not."""
    train, held = SETS[name]
    settings = {"kind": "idx", "images": str(folder / name / train), "size": [28, 28]}
    if held:
        settings["held_out_images"] = str(folder / name / held)
    else:
        settings["held_out_every"] = 5
    return settings


def outside(folder, name):
    """The held-out part of a set, as `ebm eval ood --out` names it."""
    train, held = SETS[name]
    return str(folder / name / held) if held else f"idx:images={folder / name / train},held_out_every=5"


def toml(settings):
    return "{ " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in settings.items()) + " }"


def train(a, name, seed, config, *changes):
    return driver.train(a.ebm, a.out / f"{name}-{seed}", config, *changes, seed=seed, steps=a.steps)


def evaluate(a, run, others):
    """Figures of the run against these sets and the rules."""
    figures = run / f"ood-{a.count}.json"
    if not figures.exists():
        picture = run / f"ood-{a.count}.png"
        driver.call(a.ebm, "eval", "ood", run, "--fit", "-n", a.count, "--json", figures, "--picture", picture, "--force",
                    "--out", *others, *RULES)
    return json.loads(figures.read_text())


def gather(a):
    """Runs everything; the table grows with each run."""
    found = {}
    for seed in a.seeds:
        for name in a.sets:
            run = train(a, name, seed, HERE / "config.toml", f"data={toml(data(a.data, name))}")
            others = {n: outside(a.data, n) for n in a.sets if n != name}
            add(found, name, others, evaluate(a, run, others.values()))
            write(a, found)


def add(found, inside, others, report):
    """Adds a run's figures to those of earlier seeds."""
    names = [*others, *(r.removeprefix("rule:") for r in RULES)]
    kinds = {r["score"] for r in report["rows"]}
    for i, row in enumerate(report["rows"]):
        key = (inside, names[i // len(kinds)], row["score"])
        found.setdefault(key, []).append(row["figures"])


def write(a, found):
    rows = []
    for (inside, out, score), seeds in found.items():
        row = {"inside": inside, "outside": out, "score": score, "seeds": len(seeds)}
        for f in FIGURES:
            values = [s[f]["value"] for s in seeds]
            row[f] = {
                "mean": statistics.fmean(values),
                "sd": statistics.stdev(values) if len(values) > 1 else None,
                "values": values,
                "intervals": [[s[f]["low"], s[f]["high"]] for s in seeds],
            }
        rows.append(row)
    (a.out / "table.json").write_text(json.dumps(rows, indent=1) + "\n")
    scores = sorted({r["score"] for r in rows}, key=lambda s: (s != "energy", s))
    by = {(r["inside"], r["outside"], r["score"]): r for r in rows}
    lines = [
        "| inside | outside | " + " | ".join(f"AUROC, {s}" for s in scores) + " | AUPR-in | AUPR-out | FPR95 |",
        "|---" * (len(scores) + 5) + "|",
    ]
    for inside, out in dict.fromkeys((r["inside"], r["outside"]) for r in rows):
        cells = [show(by[inside, out, s]["auroc"]) for s in scores]
        cells += [show(by[inside, out, "energy"][f]) for f in FIGURES[1:]]
        lines.append(f"| {inside} | {out} | " + " | ".join(cells) + " |")
    n = max(r["seeds"] for r in rows)
    lines += ["", f"Mean and standard deviation over {n} seed{'s'[:n > 1]}; the last three columns are by the energy."]
    (a.out / "table.md").write_text("\n".join(lines) + "\n")


def show(figure):
    sd = "" if figure["sd"] is None else f" ± {figure['sd']:.3f}"
    return f"{figure['mean']:.3f}{sd}"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data", type=Path)
    p.add_argument("--out", type=Path, default=Path("runs/detect"))
    p.add_argument("--ebm", default="ebm", help="the program")
    p.add_argument("--sets", type=lambda s: s.split(","), default=list(SETS))
    p.add_argument("--seeds", type=lambda s: [int(x) for x in s.split(",")], default=[0, 1, 2])
    p.add_argument("--steps", type=int, help="updates of each run; as configured without it")
    p.add_argument("--count", type=int, default=2000, help="images of each set")
    a = p.parse_args()
    for name in a.sets:
        if name not in SETS:
            p.error(f"--sets {name}: wanted some of {', '.join(SETS)}")
        for file in filter(None, SETS[name]):
            if not (a.data / name / file).is_file():
                p.error(f"{a.data / name / file}: is not there; README.md says where the set is to be had")
    a.data = a.data.resolve()
    a.out.mkdir(parents=True, exist_ok=True)
    gather(a)
    print((a.out / "table.md").read_text(), end="")


if __name__ == "__main__":
    main()
