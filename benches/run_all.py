#!/usr/bin/env python3
"""Renews the tables of README.md that stand between `<!-- NAME -->` and `<!-- /NAME -->`; see run_all.sh.

    benches/run_all.py [--target target/release] [--dry] [SECTION...]

A section is a command; its output becomes the table, as it is where it is a table and as plain text elsewhere. Its figures are
the numbers of each line beside the words of the line, kept in figures.json.
"""
import argparse, datetime, json, os, platform, re, shlex, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
README, STORED = os.path.join(HERE, "README.md"), os.path.join(HERE, "figures.json")
MOVED = 0.1
# What a section needs besides the program stands as a name of the environment.
SECTIONS = {
    "versus": "python3 benches/versus.py --ebm {target}/ebm --peer {PEER} --python {PEER_PYTHON} --filters 16 64 --scales 1 3 --kl on off "
              "--modes eager+keep compile+keep --rounds 2 --reps 2",
    "scaling": "python3 benches/scaling.py {target}/ebm 3",
    "layers": "{target}/examples/layers",
    "layers-peer": "{PEER_PYTHON} benches/layers_peer.py",
    "perceptron": "benches/versus_mlp.sh {PEER_PYTHON} {target}/ebm 5",
    "convolutional": "env EBM_THREADS=1 {target}/examples/slope",
    "dense": "env EBM_THREADS=1 {target}/examples/mlp",
    "quick-start": "{target}/ebm bench --warm 200 --timed 2000 --log error",
    "kl": "{target}/examples/kl_cost",
    "plane": "env EBM_THREADS=1 RAYON_NUM_THREADS=1 {target}/plane --seeds 0,1,2 --data {PLANE_DATA}",
    "samplers": "env EBM_THREADS=1 RAYON_NUM_THREADS=1 {target}/samplers --seeds 0,1,2",
    "ranks": "python3 benches/ranks.py --ebm {target}/ebm --rounds 3 --updates 20 --steps 40 --tcp",
}
# Of sections that print a line of JSON a run: what tells the rows of their table apart, and what is averaged over the runs of a row.
JSON_LINES = {
    "plane": (("dataset",), ("bound", "ll", "mmd2_grid", "cpu_s", "train_s")),
    "samplers": (("target", "sampler"), ("ess_per_cpu_s", "ess_per_kgrad", "cpu_s", "rhat_max", "bias_sd")),
}
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e-?\d+)?(?![\w.])")


def figures(text):
    """The numbers of each line, by its words; lines of the same words are counted."""
    found, seen = {}, {}
    for line in text.splitlines():
        numbers = [float(n) for n in NUMBER.findall(line)]
        words = " ".join(NUMBER.sub("#", line).split())
        if not numbers or not words.strip("#| -:"):
            continue
        seen[words] = seen.get(words, 0) + 1
        found[f"{words} ({seen[words]})" if seen[words] > 1 else words] = numbers
    return found


def moved(before, now):
    """Lines whose numbers differ by more than a tenth from those before, as texts."""
    lines = []
    for words, numbers in now.items():
        old = before.get(words)
        if old is None or len(old) != len(numbers):
            continue
        for was, figure in zip(old, numbers):
            if abs(figure - was) > MOVED * abs(was):
                lines.append(f"{words}: {was:g} -> {figure:g}" + (f" ({100 * (figure / was - 1):+.0f} %)" if was else ""))
    return lines


def table(output, rows, columns):
    """A table of means of lines of JSON; the spread over the runs of a row is their standard deviation."""
    runs = {}
    for line in output.splitlines():
        if line.startswith("{"):
            run = json.loads(line)
            runs.setdefault(tuple(str(run[r]) for r in rows), []).append(run)

    def cell(values):
        # What a run does not have is null or absent.
        known = [v for v in values if isinstance(v, (int, float))]
        if not known:
            return ""
        spread = f" ± {statistics.stdev(known):.2g}" if len(known) > 1 and statistics.stdev(known) > 0 else ""
        return f"{statistics.fmean(known):.4g}{spread}"

    head = "| " + " | ".join(rows + columns) + " |\n" + "|---" * len(rows + columns) + "|"
    lines = ["| " + " | ".join([*name, *(cell([run.get(c) for run in all]) for c in columns)]) + " |" for name, all in runs.items()]
    return "\n".join([head, *lines])


def block(output):
    """The output as it stands in the file."""
    text = output.strip("\n")
    return text if any(line.startswith("|--") for line in text.splitlines()) else f"```text\n{text}\n```"


def renewed(readme, name, text):
    """The file with the section `name` replaced, or `None` where it has none."""
    pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(\n<!-- /{re.escape(name)} -->)", re.S)
    return pattern.sub(lambda m: f"{m[1]}\n{text}\n{m[2]}", readme) if pattern.search(readme) else None


def processor():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    p = argparse.ArgumentParser(description=__doc__ + "\nsections: " + ", ".join(SECTIONS),
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("section", nargs="*", help="names; all without one")
    p.add_argument("--target", default="target/release", help="folder of the programs")
    p.add_argument("--dry", action="store_true", help="say what moved, write nothing")
    a = p.parse_args()
    unknown = [s for s in a.section if s not in SECTIONS]
    if unknown:
        p.error(f"no section {', '.join(unknown)}: there are {', '.join(SECTIONS)}")
    stored = {}
    if os.path.exists(STORED):
        with open(STORED) as f:
            stored = json.load(f)
    failed = False
    for name in a.section or SECTIONS:
        try:
            command = SECTIONS[name].format(target=a.target, **os.environ)
        except KeyError as lacks:
            print(f"{name}: left as it is, for {lacks.args[0]} is not set", flush=True)
            continue
        print(f"{name}: {command}", flush=True)
        done = subprocess.run(shlex.split(command), cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            failed = True
            print(f"  failed ({done.returncode}): {done.stderr.strip()[-500:]}")
            continue
        output = table(done.stdout, *JSON_LINES[name]) if name in JSON_LINES else done.stdout
        now = figures(output)
        lines = moved(stored.get(name, {}).get("figures", {}), now)
        print("\n".join(f"  moved: {line}" for line in lines) or f"  {len(now)} lines, none moved by more than a tenth", flush=True)
        stored[name] = {"command": SECTIONS[name], "processor": processor(), "day": datetime.date.today().isoformat(), "figures": now}
        if a.dry:
            continue
        # After each section, so that an hour of others is not lost with one.
        with open(README) as f:
            readme = renewed(f.read(), name, block(output))
        if readme is None:
            print(f"  README.md has no section between <!-- {name} --> and <!-- /{name} -->: only its figures are kept")
        else:
            replace(README, readme)
        replace(STORED, json.dumps(stored, indent=1, sort_keys=True) + "\n")
    sys.exit(failed)


def replace(path, text):
    """Writes a file whole or not at all."""
    with open(path + ".new", "w") as f:
        f.write(text)
    os.replace(path + ".new", path)


if __name__ == "__main__":
    main()
