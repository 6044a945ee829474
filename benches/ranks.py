#!/usr/bin/env python3
"""Times the same training as one process and as several ranks, in turn, and prints medians of a step.

    cargo build --release -p ebm-cli --features mpi
    python3 benches/ranks.py --ebm target/release/ebm --rounds 3

Ranks find each other over MPI, or with `--tcp`, for which the program needs no feature, over TCP.

Columns: one rank on one thread, one rank on as many threads as there are ranks, and that many ranks of one thread each. All train
the paper's CIFAR-10 network at one scale on random images, the batch in shards, from the same seed, and must end with the same bytes.
"""
import argparse, hashlib, json, math, os, shutil, statistics, subprocess, sys, tempfile

from versus import images

CONFIG = """format = 1
data = {{ kind = "npy", path = "{data}" }}
energy = {{ kind = "cifar-resnet", scale = "main", filters = {filters}, attention = false }}
sampler = {{ kind = "chain", steps = {steps}, transition = {{ kind = "langevin", step_size = 100.0, noise = 0.001, clamp = [0.0, 1.0] }} }}
replay = {{ kind = "reservoir", capacity = 2000 }}
objective = {{ kind = "contrastive", energy_l2 = 1.0 }}
optimiser = {{ kind = "adam", rate = 1e-4, clip_norm = 0.5, average = 0.99 }}
observer = [{{ kind = "jsonl" }}]
[run]
name = "ranks"
seed = 1
steps = {updates}
batch = {batch}
shards = {ranks}
report_every = 1
[generate]
count = 1
steps = 1
"""


def train(a, ranks, threads):
    """Seconds of each step after the first ones, of the sum and waiting, MiB of the largest process, and the bytes of the weights."""
    folder = tempfile.mkdtemp()
    try:
        with open(os.path.join(folder, "run.toml"), "w") as f:
            f.write(CONFIG.format(data=a.data, filters=a.filters, steps=a.steps, updates=a.updates, batch=a.batch, ranks=a.ranks))
        env = {**os.environ, "EBM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads),
               "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        command = [os.path.abspath(a.ebm), "train", "run.toml"]
        if ranks > 1 and a.tcp:
            env |= {"MASTER_ADDR": "127.0.0.1", "EBM_PORT": "29517", "WORLD_SIZE": str(ranks)}
            envs = [{**env, "RANK": str(r)} for r in range(ranks)]
        else:
            envs = [env]
            if ranks > 1:
                command = ["mpirun", "-n", str(ranks)] + (["--oversubscribe"] if a.oversubscribe else []) + command
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        peak = 0
        for job in [subprocess.Popen(command, cwd=folder, env=e, text=True, **pipes) for e in envs]:
            said = job.stderr.read()
            _, status, used = os.wait4(job.pid, 0)
            # Of one rank; under mpirun of mpirun itself, so it is not told there.
            peak = max(peak, used.ru_maxrss / 1024)
            job.returncode = os.waitstatus_to_exitcode(status)
            if job.returncode:
                sys.exit(f"failed ({job.returncode}): {' '.join(command)}\n{said[-2000:]}")
        run = os.path.join(folder, "runs", os.listdir(os.path.join(folder, "runs"))[0])
        with open(os.path.join(run, "metrics.jsonl")) as f:
            rows = [json.loads(line)["values"] for line in f]
        # What a step does for its log alone is not part of a training step.
        took = [r["seconds"] - r.get("seconds.norms", 0.0) for r in rows[2:]]
        between = [r.get("seconds.ranks", 0.0) for r in rows[2:]]
        return statistics.median(took), statistics.median(between), peak, weights(run)
    finally:
        shutil.rmtree(folder)


def weights(run):
    """A digest of the last checkpoint: weights, optimiser, buffer."""
    digest = hashlib.sha256()
    for root, _, files in sorted(os.walk(os.path.join(run, "checkpoints"))):
        for name in sorted(files):
            if name.endswith(".safetensors"):
                with open(os.path.join(root, name), "rb") as f:
                    digest.update(f.read())
    return digest.hexdigest()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ebm", default="target/release/ebm")
    p.add_argument("--ranks", type=int, default=2)
    p.add_argument("--filters", type=int, default=16)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--updates", type=int, default=40)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--tcp", action="store_true", help="ranks over TCP instead of MPI")
    p.add_argument("--oversubscribe", action="store_true")
    a = p.parse_args()
    columns = [(1, 1), (1, a.ranks), (a.ranks, 1)]
    seen = {c: [] for c in columns}
    ends = set()
    data = tempfile.TemporaryDirectory()
    a.data = os.path.join(data.name, "images.npy")
    images(a.data)
    for _ in range(a.rounds):
        for c in columns:
            step, between, peak, end = train(a, *c)
            seen[c].append((step, between, peak))
            ends.add(end)
            print(f"{c[0]} ranks, {c[1]} threads each: {1e3 * step:.1f} ms, of it between ranks {1e3 * between:.1f}; "
                  f"largest process {peak:.0f} MiB", flush=True)
    steps = {c: statistics.median(s for s, _, _ in seen[c]) for c in columns}
    alone, threads, ranks = (steps[c] for c in columns)
    print(f"median: {1e3 * alone:.1f}, {1e3 * threads:.1f}, {1e3 * ranks:.1f} ms; efficiency of {a.ranks} threads "
          f"{alone / threads / a.ranks:.3f}, of {a.ranks} ranks {alone / ranks / a.ranks:.3f}; "
          f"growth of the time {math.log(ranks / alone) / math.log(a.ranks):.2f}; checkpoints {'the same bytes' if len(ends) == 1 else 'differ'}")


if __name__ == "__main__":
    main()
