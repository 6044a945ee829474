#!/usr/bin/env python3
"""Times a PyTorch program and `ebm bench` alternately on the same training step and prints ratios of medians.

    cargo build --release -p ebm-cli
    python3 benches/versus.py --ebm target/release/ebm --peer torch_icd.py --out versus.jsonl

PEER is a program that takes `--filters F --batch B --scales S --steps K [--no-kl] [--compile] --json` and prints one JSON
object with `langevin_step_s`, `update_s`, `step_s` and `peak_rss_mib`; also `--reps R` and `--device D`. Each case runs `--rounds` times, all columns in
turn within a round, so that a slow minute hits all of them. Columns of the peer: eager and compiled, each plain and with an
allocator that keeps its memory (glibc settings below), which spares it page faults. Both sides use all cores.

With `--device cuda` the columns are ours in f32, tf32 and bf16 against the peer's eager and compiled, in f32 and with `--tf32`; ratios
are taken at the same precision, bf16 against the peer's TF32. Memory of the GPU is not quite alike: ours is all that is in use on the card, the
context of the driver included, the peer's (`peak_cuda_mib`) what it had allocated at most:

    python3 benches/versus.py --device cuda --peer torch_icd.py --filters 64 --scales 3 --kl on --batch 128
"""
import argparse, json, os, statistics, subprocess, sys, tempfile

KEEP = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000", "MALLOC_TOP_PAD_": "100000000"}
MODES = {"cpu": ["eager", "compile", "eager+keep", "compile+keep"], "cuda": ["eager", "compile", "eager+tf32", "compile+tf32"]}
OURS = {"cpu": ["ebm"], "cuda": ["ebm", "ebm:tf32", "ebm:bf16"]}
QUANTITIES = [("langevin_step_s", "Langevin step", 1e3, "ms"), ("update_s", "update", 1e3, "ms"),
              ("step_s", "training step", 1e3, "ms"), ("peak_rss_mib", "peak memory", 1, "MiB"),
              ("device_mib", "memory of the GPU", 1, "MiB")]


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
    p.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    p.add_argument("--modes", nargs="+", help="columns of the peer")
    p.add_argument("--ours", nargs="+", help="ebm; ebm:avx2 for a forced instruction set; on cuda ebm:tf32 and ebm:bf16")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--steps", type=int, default=40)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--reps", type=int, default=5, help="timed repetitions inside each run")
    p.add_argument("--out", help="append every run's JSON here")
    a = p.parse_args()
    a.modes, a.ours = a.modes or MODES[a.device], a.ours or OURS[a.device]
    with tempfile.TemporaryDirectory() as folder:
        images(os.path.join(folder, "images.npy"))
        for filters in a.filters:
            for scales in a.scales:
                for kl in a.kl:
                    case = dict(filters=filters, scales=scales, kl=kl == "on", batch=a.batch, steps=a.steps)
                    compare(a, folder, case)


def alike(device, ours, mode):
    """Whether a column of the peer has the precision of one of ours."""
    return device == "cpu" or ("tf32" in mode) == (":" in ours)


def ratio(medians, ours, peers):
    return f"{medians[ours] / min(medians[m] for m in peers):.3f}" if ours in medians and peers else "–"


def compare(a, folder, case):
    config = os.path.join(folder, "case.toml")
    with open(config, "w") as f:
        f.write(configuration(case))
    results = {name: [] for name in a.ours + a.modes}
    for _ in range(a.rounds):
        for name in results:
            if name in a.ours:
                how = name.partition(":")[2]
                command = [a.ebm, "bench", config, "--json", "--warm", "2", "--timed", str(max(2, a.reps // 2)), "--log", "error",
                           "--set", f"run.device={a.device}"]
                if a.device == "cuda":
                    command += ["--set", f"run.dtype={how or 'f32'}"]
                r = run(command, {"EBM_ISA": how} if how and a.device == "cpu" else None)
            else:
                mode, *more = name.split("+")
                command = [a.python, a.peer, "--json", "--device", a.device, "--filters", str(case["filters"]), "--batch",
                           str(case["batch"]), "--scales", str(case["scales"]), "--steps", str(case["steps"]), "--reps", str(a.reps)]
                command += [] if case["kl"] else ["--no-kl"]
                command += ["--compile"] if mode == "compile" else []
                command += ["--tf32"] if "tf32" in more else []
                r = run(command, KEEP if "keep" in more else None)
            if r:
                # Memory of the GPU: ours is all that is in use, the peer's what it had allocated at most.
                r["device_mib"] = r.get("device_mib") or r.get("peak_cuda_mib")
                results[name].append(r)
                if a.out:
                    with open(a.out, "a") as f:
                        f.write(json.dumps({"column": name, **case, "result": r}) + "\n")
    title = f"F {case['filters']}, S {case['scales']}, B {case['batch']}, K {case['steps']}, KL {'on' if case['kl'] else 'off'}"
    print(f"\n### {title} (medians of {a.rounds} alternating runs)\n")
    print("| | " + " | ".join(results) + " | " + " | ".join(f"{o} / best peer" for o in a.ours) + " |")
    print("|---" * (1 + len(results) + len(a.ours)) + "|")
    for key, name, factor, unit in QUANTITIES:
        medians = {n: statistics.median(r[key] for r in rs) for n, rs in results.items() if rs and rs[0].get(key)}
        if not medians:
            continue
        cells = [f"{medians[n] * factor:.4g}" if n in medians else "–" for n in results]
        ratios = [ratio(medians, o, [m for m in a.modes if m in medians and alike(a.device, o, m)]) for o in a.ours]
        print(f"| {name}, {unit} | " + " | ".join(cells + ratios) + " |", flush=True)


if __name__ == "__main__":
    main()
