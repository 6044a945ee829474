#!/usr/bin/env python3
"""Trains small energies, composes them, and measures what comes out.

    examples/compose/run.py plane|digits|mnist|sprites... [--out DIR] [--ebm PROGRAM] [--data DIR] [--count N] [--seeds 0,1,2]

plane    densities whose truth is known: and, or, not, weights, temperatures, against the exact composition by quadrature
digits   a conditional energy of the embedded digits: or, not
mnist    digits given their class at 14×14, under an energy of 28×28 that knows no classes. Needs DATA/mnist
sprites  shape, scale, angle and place, each learnt alone: conjunctions of 1 to 4, among pairs never seen together. Needs
         DATA/dsprites/dsprites.npz, and numpy for the sets (concepts.py)

Trainings that are finished are not done again. Writes DIR/STUDY.md and DIR/STUDY.json. Needs Python 3.9.
"""

import argparse
import itertools
import json
import math
import random
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
import driver  # noqa: E402

# ---- the program


def call(a, *arguments):
    return driver.call(a.ebm, *arguments, quiet=True)


def train(a, run, config, *changes):
    return driver.train(a.ebm, run, config, *changes)


def classifier(a, folder, *data, epochs=None):
    if not (folder / "summary.json").exists():
        more = ["--epochs", epochs] if epochs else []
        driver.call(a.ebm, "classifier", "train", *data, "--out", folder, *more)
    return folder


def draw(a, energy, count, seed, picture=None, steps=None):
    """Samples of a composition, as a file."""
    file = a.out / "drawn.npy"
    more = ["--force", *(["--steps", steps] if steps else [])]
    call(a, "sample", energy, "-n", count, "--seed", seed, "--out", file, *more)
    if picture:
        call(a, "sample", energy, "-n", min(count, 40), "--seed", seed, "--out", picture, *more)
    return file


def classes(a, network, file):
    rows = call(a, "classifier", "classify", network, file).splitlines()[1:]
    return [int(row.split(",")[2]) for row in rows]


def share(yes):
    """A share with the half-width of its 95 % interval (Wilson)."""
    n, p, z = len(yes), sum(yes) / len(yes), 1.96
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return {"share": p, "half": half, "n": n}


def shown(s):
    return f"{100 * s['share']:.0f} ± {100 * s['half']:.0f} %"


def write(a, name, heads, rows, data):
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]
    (a.out / f"{name}.md").write_text("\n".join(lines) + "\n")
    (a.out / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
    print("\n".join(lines))


# ---- densities of the plane


def plane(a):
    names = ["rings", "grid25", "pinwheel"]
    runs = {n: train(a, a.out / n, HERE.parent / "plane/plane.toml", f'data.name="{n}"') for n in names}

    def compare(energy, exact, *more):
        return json.loads(call(a, "eval", "plane", energy, "--against", exact, "--json", *more))

    rows, found = [], []

    def add(what, mine, exact, picture=None):
        """`mine` and `exact`: functions from a name to the energy of that density, in TOML."""
        file = a.out / "composed.toml"
        file.write_text(f"format = 1\nenergy = {mine}\n")
        more = ["--picture", a.out / picture, "--force"] if picture else []
        figures = compare(file, exact, "-n", 1000, *more)
        drawn = figures["samples"]
        found.append({"composition": what, **figures})
        row = [figures["total_variation"], figures["kl"], figures["jensen_shannon"], drawn["mmd2"], drawn["sliced_wasserstein"]]
        rows.append([what, *(f"{x:.3f}" if abs(x) >= 5e-4 else f"{x:.0e}" for x in row)])

    log_z = {n: compare(runs[n], f'{{ kind = "{n}" }}')["log_z"] for n in names}

    def both(line):
        """The line's TOML with trained and with exact energies."""
        trained = lambda n: f'{{ kind = "checkpoint", path = {json.dumps(str(runs[n].resolve()))} }}'
        exact = lambda n: f'{{ kind = "{n}" }}'
        return line(trained, 0), line(exact, 1)

    def parts(*weighted):
        def line(energy, _):
            listed = ", ".join(f'{{ name = "{n}", weight = {w}, energy = {energy(n)} }}' for n, w in weighted)
            return f'{{ kind = "sum", parts = [{listed}] }}'

        return line

    def either(*names):
        def line(energy, which):
            listed = ", ".join(f'{{ name = "{n}", log_z = {log_z[n][which]}, energy = {energy(n)} }}' for n in names)
            return f'{{ kind = "soft-min", parts = [{listed}] }}'

        return line

    def at(n, t):
        return lambda energy, _: f'{{ kind = "temperature", temperature = {t}, energy = {energy(n)} }}'

    for n in names:
        add(n, *both(parts((n, 1.0))))
    add("rings and grid25", *both(parts(("rings", 1.0), ("grid25", 1.0))), picture="plane-and.png")
    add("0.5 * rings and 0.5 * pinwheel", *both(parts(("rings", 0.5), ("pinwheel", 0.5))))
    add("rings or pinwheel", *both(either("rings", "pinwheel")), picture="plane-or.png")
    add("rings or grid25 or pinwheel", *both(either(*names)))
    add("rings and not 0.1 * pinwheel", *both(parts(("rings", 1.0), ("pinwheel", -0.1))), picture="plane-not.png")
    add("grid25 and not 0.3 * rings", *both(parts(("grid25", 1.0), ("rings", -0.3))))
    add("rings at 2", *both(at("rings", 2.0)))
    add("pinwheel at 0.5", *both(at("pinwheel", 0.5)))
    heads = ["density", "total variation", "KL, nats", "Jensen-Shannon, nats", "MMD²", "sliced Wasserstein"]
    write(a, "plane", heads, rows, found)


# ---- a conditional energy of 8×8 digits


def digits(a):
    run = train(a, a.out / "digits", HERE / "digits.toml")
    judge = classifier(a, a.out / "digits-classifier", "--data", "digits")
    rows, found = [], []

    def add(what, line, wanted, picture=None):
        seen = [c for seed in a.seeds for c in classes(a, judge, draw(a, line.replace("D ", f"{run} "), a.count, seed, picture))]
        inside = share([c in wanted for c in seen])
        spread = {c: seen.count(c) for c in sorted(set(seen))}
        found.append({"composition": line, "wanted": wanted, **inside, "classes": spread})
        largest = ", ".join(f"{c}: {100 * k / len(seen):.0f} %" for c, k in sorted(spread.items(), key=lambda x: -x[1])[:3])
        rows.append([what, shown(inside), largest])

    for c in range(10):
        add(f"{c}", f"D given {c}", [c])
    add("3 or 8", "D given 3 or D given 8", [3, 8], a.out / "digits-or.png")
    add("1 or 7 or 9", "D given 1 or D given 7 or D given 9", [1, 7, 9])
    add("0 or 4", "D given 0 or D given 4", [0, 4])
    add("(3 or 8) and not 0.5 * 8", "(D given 3 or D given 8) and not 0.5 * D given 8", [3])
    add("(3 or 8) and not 0.5 * 3", "(D given 3 or D given 8) and not 0.5 * D given 3", [8])
    add("(0 or 4) and not 0.5 * 4", "(D given 0 or D given 4) and not 0.5 * D given 4", [0])
    write(a, "digits", ["composition", "classified as asked", "classes"], rows, found)


# ---- two resolutions


def mnist(a):
    data = a.data / "mnist"
    coarse = train(a, a.out / "mnist14", HERE / "mnist14.toml", f"data.root={json.dumps(str(data))}")
    names = {"kind": "idx", "root": str(data), "images": "train-images-idx3-ubyte.gz"}
    whole = ", ".join(f"{k} = {json.dumps(v)}" for k, v in names.items())
    fine = train(a, a.out / "mnist28", HERE.parent / "detect/config.toml", f"data={{ {whole} }}")
    judge = classifier(a, a.out / "mnist-classifier", "--data", data)
    rows, found = [], []
    for what, line in [
        ("28×28 alone", "F"),
        ("14×14 given the class, seen by nothing else", "C"),
        ("both", "F and C"),
        ("both, 14×14 twice", "F and 2 * C"),
        ("both, 14×14 eight times", "F and 8 * C"),
        ("both, 14×14 sixteen times", "F and 16 * C"),
        ("a quarter of 28×28, 14×14 sixteen times", "0.25 * F and 16 * C"),
    ]:
        yes = []
        for seed in a.seeds:
            for c in range(10):
                each = max(a.count // 10, 1)
                text = line.replace("F", str(fine)).replace("C", f"{coarse} given {c}")
                file = draw(a, text, each, 10 * seed + c, a.out / f"mnist-{c}.png" if line == "F and 16 * C" else None)
                fit = ["--fit"] if line == "C" else []
                seen = call(a, "classifier", "classify", judge, file, *fit).splitlines()[1:]
                yes += [int(r.split(",")[2]) == c for r in seen]
        figure = share(yes)
        found.append({"composition": what, **figure})
        rows.append([what, shown(figure)])
    write(a, "mnist", ["energy", "classified as asked"], rows, found)


# ---- concepts of sprites

CONCEPTS = {"shape": 3, "scale": 3, "angle": 2, "place": 9}
# Settings in which a concept differs from sprites.toml.
OWN = {"place": ["run.steps=1400", "optimiser.rate=1e-3", "objective.energy_l2=0.1"]}


def unseen(of):
    """Whether a request has a pair that no energy saw (concepts.py)."""
    pair = "shape" in of and "place" in of and (of["shape"] + of["place"]) % 3 == 0
    return pair or (of.get("scale"), of.get("angle")) == (1, 1)


def requests(concepts, new, wanted, rng):
    """`wanted` combinations whose pairs some energy's data had, or not; none where there are no such."""
    every = [dict(zip(concepts, c)) for c in itertools.product(*(range(CONCEPTS[k]) for k in concepts))]
    chosen = [r for r in every if unseen(r) == new]
    if len(concepts) == 4 and new:  # both pairs new
        chosen = [r for r in chosen if (r["shape"] + r["place"]) % 3 == 0 and (r["scale"], r["angle"]) == (1, 1)]
    return rng.sample(chosen, min(wanted, len(chosen)))


def sprites(a):
    sets = a.out / "sets"
    if not (sets / "all-place-idx1-ubyte.gz").exists():
        subprocess.run([sys.executable, HERE / "concepts.py", a.data / "dsprites/dsprites.npz", sets], check=True)
    root = f"data.root={json.dumps(str(sets.resolve()))}"
    runs, judges = {}, {}
    for c in CONCEPTS:
        labels = f'data.label_file="train-{c}-idx1-ubyte.gz"'
        runs[c] = train(a, a.out / c, HERE / "sprites.toml", root, labels, *OWN.get(c, []))
    for c in CONCEPTS:
        files = ["--data", sets / "all-images-idx3-ubyte.gz", "--labels", sets / f"all-{c}-idx1-ubyte.gz"]
        judges[c] = classifier(a, a.out / f"classifier-{c}", *files, epochs=8)
    rng = random.Random(0)
    groups = [(c,) for c in CONCEPTS] + [("place", "shape"), ("scale", "angle"), ("place", "scale"), ("place", "angle")]
    groups += [("place", "shape", "scale"), ("place", "scale", "angle"), ("place", "shape", "scale", "angle")]
    rows, found = [], []
    for concepts, new in itertools.product(groups, (False, True)):
        all_right, of_each = [], {c: [] for c in concepts}
        lone = {c: [] for c in concepts}
        asked = requests(concepts, new, a.requests, rng)
        if not asked:
            continue
        for i, request in enumerate(asked):
            line = " and ".join(f"{runs[c]} given {request[c]}" for c in concepts)
            picture = a.out / f"sprites-{'-'.join(concepts)}{'-new' * new}.png" if i == 0 else None
            file = draw(a, line, a.count, i, picture, steps=a.steps)
            seen = {c: classes(a, judges[c], file) for c in concepts}
            right = [all(seen[c][j] == request[c] for c in concepts) for j in range(a.count)]
            all_right += right
            for c in concepts:
                of_each[c] += [k == request[c] for k in seen[c]]
            if len(concepts) > 1:  # the energy of one concept alone, asked for all
                for c in concepts:
                    file = draw(a, f"{runs[c]} given {request[c]}", max(a.count // 2, 1), i, steps=a.steps)
                    seen = {k: classes(a, judges[k], file) for k in concepts}
                    lone[c] += [all(seen[k][j] == request[k] for k in concepts) for j in range(len(seen[c]))]
        chance = math.prod(1 / CONCEPTS[c] for c in concepts)
        figure = share(all_right)
        best = max((share(v) for v in lone.values() if v), key=lambda s: s["share"], default=None)
        found.append({
            "concepts": concepts, "requests": asked, "new": new, "chance": chance, **figure,
            "each": {c: share(v) for c, v in of_each.items()}, "alone": {c: share(v) for c, v in lone.items() if v},
        })
        each = ", ".join(f"{c} {100 * statistics.fmean(v):.0f}" for c, v in of_each.items())
        rows.append([" and ".join(concepts), "yes" if new else "no", shown(figure), each, shown(best) if best else "", f"{100 * chance:.1f} %"])
        heads = ["concepts", "pairs never seen", "all as asked", "each, %", "best single energy", "chance"]
        write(a, "sprites", heads, rows, found)


def main():
    studies = {"plane": plane, "digits": digits, "mnist": mnist, "sprites": sprites}
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("studies", nargs="+", choices=list(studies))
    p.add_argument("--out", type=Path, default=Path("runs/compose"), help="each study has a folder in it")
    p.add_argument("--ebm", default="ebm", help="the program")
    p.add_argument("--data", type=Path, default=Path("data"))
    p.add_argument("--count", type=int, default=100, help="samples of a composition, per seed or request")
    p.add_argument("--requests", type=int, default=9, help="requests of a group of concepts")
    p.add_argument("--steps", type=int, help="sampler steps of the sprites; as configured without it")
    p.add_argument("--seeds", type=lambda s: [int(x) for x in s.split(",")], default=[0, 1, 2])
    a = p.parse_args()
    out = a.out
    for name in a.studies:
        a.out = out / name
        a.out.mkdir(parents=True, exist_ok=True)
        studies[name](a)


if __name__ == "__main__":
    main()
