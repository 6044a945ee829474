#!/usr/bin/env python3
"""Trains with absurd and with sound settings and tells how each run ended.

    EBM=target/release/ebm scripts/absurd.py [--only WORD] [--out FOLDER] [--table FILE] [--jobs N]

The settings stand in scripts/absurd/settings.tsv, the configurations that they change beside it. An absurd run must be
refused before its first step, be stopped or found ill with the cause named and a healthy state left that samples can be
drawn from, or go back and end well; a sound one must end done. Exit 0 where all do. Of the runs that are well or unwell it is
counted how many the health gets right.
"""
import argparse, collections, concurrent.futures, json, os, pathlib, struct, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent / "absurd"
EBM = os.environ.get("EBM", "ebm")
if "/" in EBM:
    EBM = os.path.abspath(EBM)  # runs have folders of their own
LIMIT = 300  # seconds of a run


def npy(path, values, shape, descr="<f4"):
    head = "{'descr': '%s', 'fortran_order': False, 'shape': %r, }" % (descr, shape)
    head += " " * ((64 - (11 + len(head)) % 64) % 64) + "\n"
    body = struct.pack("<%d%s" % (len(values), {"<f4": "f", "<f8": "d"}[descr]), *values)
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + body)


def data(folder):
    """Data that are not fit: a value that is no number, values beyond the chains' clamp, values that overflow."""
    plane = [((7 * i) % 11) / 11 for i in range(128)]
    npy(folder / "nan.npy", plane[:21] + [float("nan")] + plane[22:], (64, 2))
    npy(folder / "huge.npy", [1e300 * v for v in plane], (64, 2), "<f8")
    npy(folder / "bytes.npy", [float((7 * i) % 256) for i in range(64 * 64)], (64, 1, 8, 8))


def ebm(folder, *args):
    env = dict(os.environ, EBM_THREADS="1", RUST_BACKTRACE="0")
    try:
        return subprocess.run([EBM, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return None


def run(number, kind, base, settings, folder):
    out = folder / f"run-{number}"
    sets = [word for setting in settings.replace("@", str(folder)).split("; ") for word in ("--set", setting)]
    began = time.monotonic()
    done = ebm(folder, "train", str(HERE / f"{base}.toml"), "--out", str(out), *sets)
    row = dict(kind=kind, base=base, settings=settings, seconds=time.monotonic() - began, why="", ok=False, steps="")
    if done is None:
        return dict(row, ended="no end", why=f"within {LIMIT} s")
    last = (done.stderr.strip().splitlines() or [""])[-1]
    if not (out / "summary.json").exists():
        refused = done.returncode in (2, 3) and not out.exists() and "error" in done.stderr
        return dict(row, ended="refused" if refused else f"exit {done.returncode}", why=last, ok=refused and kind == "absurd")
    summary = json.loads((out / "summary.json").read_text())
    health, returns = summary["health"], summary["returns"]
    cause = health["findings"][0]["cause"] if health["findings"] else ""
    report = ebm(folder, "report", str(out), "--no-energies", "--out", str(folder / f"{number}.html"))
    agrees = health["sentence"] in report.stdout and (done.returncode == 4) == (health["level"] == "ill")
    samples = ebm(folder, "sample", str(out / (summary["healthy"] or "")), "--n", "2", "--out", str(folder / f"{number}.npy"))
    sampled = samples is not None and samples.returncode == 0
    back = f"; went back {len(returns)}x ({returns[0]['finding']['cause']})" if returns else ""
    row.update(ended=summary["outcome"], steps=summary["step"], level=health["level"], cause=cause,
               left=str(int((summary["healthy"] or "-1").split("-")[-1])), why=health["sentence"] + back, back=len(returns))
    if not agrees:
        row["why"] = f"report says: {report.stdout.strip()}; exit {done.returncode}; " + row["why"]
    if kind in ("well", "unwell"):
        row["ok"] = agrees and (health["level"] == "well") == (kind == "well")
    elif kind == "sound":
        row["ok"] = agrees and summary["outcome"] == "done" and health["level"] != "ill"
    elif summary["outcome"] in ("diverged", "ill"):
        healthy = summary["healthy"] and (out / summary["healthy"] / "state.json").exists()
        row["ok"] = bool(agrees and cause not in ("", "unknown") and healthy and sampled)
        if not sampled:
            row["why"] = "no samples: " + (samples.stderr.strip() if samples else "no end") + "; " + row["why"]
    else:
        row["ok"] = agrees and bool(returns) and health["level"] == "well"
    return row


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--only", default="", help="only lines with this word in them")
    args.add_argument("--out", help="keep the runs in this folder")
    args.add_argument("--table", help="write the table as Markdown")
    args.add_argument("--jobs", type=int, default=1)
    args = args.parse_args()
    lines = [l for l in (HERE / "settings.tsv").read_text().splitlines() if l and not l.startswith("#")]
    cases = [(i, *line.split("\t")) for i, line in enumerate(lines) if args.only in line]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(args.out or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        data(folder)
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            rows = []
            for row in pool.map(lambda case: run(*case, folder), cases):
                rows.append(row)
                print("ok   " if row["ok"] else "WRONG", row["kind"], row["base"], row["settings"], "->", row["ended"],
                      row.get("level", ""), row.get("cause", ""), "step", row["steps"], "left", row.get("left", "-"),
                      "|", row["why"][:300], flush=True)
    if args.table:
        with open(args.table, "w") as file:
            file.write("| base | settings | ended | cause | steps | left |\n|---|---|---|---|---|---|\n")
            for r in rows:
                back = f", went back {r['back']}x" if r.get("back") else ""
                settings = r["settings"].replace("|", "\\|")
                ended = r["ended"] + back + (f" ({r['level']})" if r["ended"] == "done" else "")
                file.write(f"| {r['base']} | `{settings}` | {ended} | {r.get('cause', '')} | {r['steps']} | {r.get('left', '')} |\n")
    for kind in ("absurd", "sound", "well", "unwell"):
        own = [r for r in rows if r["kind"] == kind]
        ends = collections.Counter(r["ended"] + (" after going back" if r.get("back") and r["ended"] == "done" else "") for r in own)
        levels = collections.Counter(r["level"] for r in own if "level" in r)
        print(f"{kind}: {len(own)} settings, {sum(r['ok'] for r in own)} as they must; {dict(ends)}; health {dict(levels)}")
    counted = [r["ok"] for r in rows if r["kind"] in ("well", "unwell")]
    print(f"health: {sum(counted)} of {len(counted)} right")
    sys.exit(not all(r["ok"] for r in rows if r["kind"] in ("absurd", "sound")))


main()
