#!/usr/bin/env python3
"""Times a PyTorch program and `ebm bench` alternately on the same training step and prints ratios of medians.

    cargo build --release -p ebm-cli
    python3 benches/versus.py --ebm target/release/ebm --peer torch_icd.py --out versus.jsonl

PEER is a program that takes `--filters F --batch B --scales S --steps K [--no-kl] [--compile] --json` and prints one JSON
object with `langevin_step_s`, `update_s`, `step_s` and `peak_rss_mib`. Each case runs `--rounds` times, all columns in
turn within a round, so that a slow minute hits all of them. Columns of the peer: eager and compiled, each plain and with an
allocator that keeps its memory (glibc settings below), which spares it page faults. Both sides use all cores.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile

KEEP = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000", "MALLOC_TOP_PAD_": "100000000"}
QUANTITIES = [("langevin_step_s", "Langevin step", 1e3, "ms"), ("update_s", "update", 1e3, "ms"),
              ("step_s", "training step", 1e3, "ms"), ("peak_rss_mib", "peak memory", 1, "MiB")]


def images(path, side=32, count=256):
    """Random bytes as colour images; neither side's time depends on what they show."""
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 3, %d, %d), }" % (count, side, side)
    header += " " * ((64 - (11 + len(header)) % 64) % 64) + "\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + os.urandom(count * 3 * side * side))


def configuration(case):
    part = lambda scale, attention: (f'{{ kind = "cifar-resnet", scale = "{scale}", filters = {case["filters"]}, '
                                     f'attention = {attention} }}')
    if case["scales"] == 1:
        energy = f'energy = {part("main", "false")}'
    else:
        energy = (f'energy = {{ kind = "multi-scale", parts = [{{ name = "small", energy = {part("small", "false")} }}, '
                  f'{{ name = "mid", energy = {part("mid", "false")} }}, '
                  f'{{ name = "large", energy = {part("main", "true")} }}] }}')
    terms = 'kl = { weight = 1.0 }\nentropy = { weight = 0.3, estimator = { kind = "nearest-neighbour" } }' if case["kl"] else ""
    return f"""format = 1
data = {{ kind = "npy", path = "images.npy" }}
{energy}
sampler = {{ kind = "chain", steps = {case["steps"]}, transition = {{ kind = "langevin", step_size = 100.0, noise = 0.001, clamp = [0.0, 1.0] }} }}
chains = {{ restart = 0.001, fill = "data" }}
replay = {{ kind = "reservoir", capacity = 1200, storage = "bytes" }}
optimiser = {{ kind = "adam", rate = 2e-4, clip_norm = 0.5, average = 0.99 }}
[run]
batch = {case["batch"]}
report_every = 0
[objective]
kind = "contrastive"
energy_l2 = 1.0
{terms}
"""


def run(command, env=None):
    done = subprocess.run(command, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    start = done.stdout.find("{")
    if done.returncode or start < 0:
        print(f"failed ({done.returncode}): {' '.join(command)}\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout[start:])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ebm", default="target/release/ebm")
    p.add_argument("--peer", required=True, help="the PyTorch program")
    p.add_argument("--python", default=sys.executable, help="interpreter with PyTorch")
    p.add_argument("--filters", type=int, nargs="+", default=[16, 64])
    p.add_argument("--scales", type=int, nargs="+", default=[1, 3])
    p.add_argument("--kl", nargs="+", default=["on", "off"], choices=["on", "off"])
    p.add_argument("--modes", nargs="+", default=["eager", "compile", "eager+keep", "compile+keep"])
    p.add_argument("--ours", nargs="+", default=["ebm"], help="ebm, or ebm:avx2 for a forced instruction set")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--steps", type=int, default=40)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--reps", type=int, default=5, help="timed repetitions inside each run")
    p.add_argument("--out", help="append every run's JSON here")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images(os.path.join(folder, "images.npy"))
        for filters in a.filters:
            for scales in a.scales:
                for kl in a.kl:
                    case = dict(filters=filters, scales=scales, kl=kl == "on", batch=a.batch, steps=a.steps)
                    compare(a, folder, case)


def compare(a, folder, case):
    config = os.path.join(folder, "case.toml")
    with open(config, "w") as f:
        f.write(configuration(case))
    results = {name: [] for name in a.ours + a.modes}
    for _ in range(a.rounds):
        for name in results:
            if name in a.ours:
                isa = name.split(":")[1:]
                timed = str(max(2, a.reps // 2))
                r = run([a.ebm, "bench", config, "--json", "--warm", "1", "--timed", timed, "--log", "error"],
                        {"EBM_ISA": isa[0]} if isa else None)
            else:
                mode, *keep = name.split("+")
                command = [a.python, a.peer, "--json", "--device", "cpu", "--filters", str(case["filters"]), "--batch",
                           str(case["batch"]), "--scales", str(case["scales"]), "--steps", str(case["steps"]), "--reps", str(a.reps)]
                command += [] if case["kl"] else ["--no-kl"]
                command += ["--compile"] if mode == "compile" else []
                r = run(command, KEEP if keep else None)
            if r:
                results[name].append(r)
                if a.out:
                    with open(a.out, "a") as f:
                        f.write(json.dumps({"column": name, **case, "result": r}) + "\n")
    title = f"F {case['filters']}, S {case['scales']}, B {case['batch']}, K {case['steps']}, KL {'on' if case['kl'] else 'off'}"
    print(f"\n### {title} (medians of {a.rounds} alternating runs)\n")
    print("| | " + " | ".join(results) + " | " + " | ".join(f"{o} / best peer" for o in a.ours) + " |")
    print("|---" * (1 + len(results) + len(a.ours)) + "|")
    for key, name, factor, unit in QUANTITIES:
        medians = {n: statistics.median(r[key] for r in rs) for n, rs in results.items() if rs}
        peers = [m for n, m in medians.items() if n in a.modes]
        cells = [f"{medians[n] * factor:.4g}" if n in medians else "–" for n in results]
        ratios = [f"{medians[o] / min(peers):.3f}" if o in medians and peers else "–" for o in a.ours]
        print(f"| {name}, {unit} | " + " | ".join(cells + ratios) + " |", flush=True)


if __name__ == "__main__":
    main()
