#!/usr/bin/env python3
"""Counts the instructions of a few short jobs and fails where one takes 3 % more than the stored count.

    benches/instructions.py [--ebm target/debug/ebm] [--store]

Counts do not depend on what else the machine does, so a slower inner loop shows on any runner. Each job is counted as the
difference of a longer and a shorter run of the program on one thread: what starts and ends a run is not in it. Valgrind counts
(it knows AVX2, so the kernels of that set are counted, also where the processor has more); without valgrind nothing is
checked, which is said. Counts hold for one compiler and one profile: `--store` writes new ones after a change of either, or after a
change that is worth its cost, which its commit says.
"""
import argparse, concurrent.futures, json, os, platform, random, re, shutil, struct, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
STORED = os.path.join(HERE, "instructions.json")
GROWTH = 0.03
# Nothing is drawn or measured at the end.
BARE = ["--set", "generate.steps=1", "--set", "generate.count=1", "--set", "generate.measured=0", "--log", "error"]


def count(ebm, folder, *arguments):
    """Instructions of one run of the program."""
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", ebm, *arguments]
    env = {**os.environ, "EBM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"failed ({done.returncode}): {' '.join(command)}\n{done.stderr[-2000:]}")
    return int(found[1].replace(",", ""))


def configuration(folder, source):
    """A configuration of this tree without its observers and policies, for these write files."""
    with open(os.path.join(ROOT, source)) as f:
        text = re.split(r"^\[\[(?:observer|policy)\]\]", f.read(), flags=re.M)[0]
    path = os.path.join(folder, os.path.basename(source))
    with open(path, "w") as f:
        f.write(text)
    return path


def step(ebm, folder, source, first, steps):
    """Instructions of one training step, after `first` that fill buffers."""
    path = configuration(folder, source)
    name = os.path.basename(source)
    runs = [count(ebm, folder, "train", path, "--steps", str(n), "--out", f"{name}-{n}", *BARE) for n in (first, first + steps)]
    return (runs[1] - runs[0]) / steps


def scoring(ebm, folder, images):
    """Instructions of the energy of one image of the quick start."""
    path = configuration(folder, "crates/ebm/src/config/quickstart.toml")
    subprocess.run([ebm, "train", path, "--steps", "1", "--out", "scored", *BARE], cwd=folder, capture_output=True, check=True)
    numbers = random.Random(1)
    for n in (images, 2 * images):
        header = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 1, 8, 8), }" % n
        header += " " * ((64 - (11 + len(header)) % 64) % 64) + "\n"
        with open(os.path.join(folder, f"{n}.npy"), "wb") as f:
            f.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
            f.write(struct.pack(f"<{64 * n}f", *(numbers.random() for _ in range(64 * n))))
    runs = [count(ebm, folder, "score", "scored", f"{n}.npy", "--log", "error") for n in (images, 2 * images)]
    return (runs[1] - runs[0]) / images


JOBS = {
    "a step of the quick start": lambda ebm, folder: step(ebm, folder, "crates/ebm/src/config/quickstart.toml", 2, 4),
    "a step on the plane": lambda ebm, folder: step(ebm, folder, "examples/plane/plane.toml", 1, 2),
    "an image scored": lambda ebm, folder: scoring(ebm, folder, 512),
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ebm", default=os.path.join(ROOT, "target/debug/ebm"))
    p.add_argument("--store", action="store_true", help="keep what is counted now")
    a = p.parse_args()
    if not shutil.which("valgrind"):
        print("skipped: valgrind is not installed (apt-get install valgrind), so no instructions are counted")
        return
    a.ebm = os.path.abspath(a.ebm)
    if not os.path.exists(a.ebm):
        sys.exit(f"{a.ebm} is not there: build it first (cargo build -p ebm-cli)")
    with open(STORED) as f:
        stored = json.load(f)
    if not a.store and not stored["instructions"]:
        print("skipped: no counts are stored yet; benches/instructions.py --store counts and keeps them")
        return
    machine, compiler = platform.machine(), subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    if not a.store and (stored["machine"], stored["compiler"]) != (machine, compiler):
        print(f"skipped: the counts are of {stored['compiler']} on {stored['machine']}, here is {compiler} on {machine}")
        return
    grown = []
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        # What runs beside does not change a count.
        counted = dict(zip(JOBS, pool.map(lambda job: round(job(a.ebm, tempfile.mkdtemp(dir=folder))), JOBS.values())))
    for name, now in counted.items():
        before = stored["instructions"].get(name)
        change = (now / before - 1) if before else 0.0
        print(f"{name}: {now:,} instructions" + (f", {100 * change:+.1f} % of the stored {before:,}" if before else ""))
        if change > GROWTH:
            grown.append(name)
    if a.store:
        with open(STORED, "w") as f:
            json.dump({"compiler": compiler, "machine": machine, "instructions": counted}, f, indent=1)
            f.write("\n")
    elif grown:
        sys.exit(f"more than {100 * GROWTH:.0f} % more instructions: {', '.join(grown)}. What made them grow stands in a profile "
                 "(valgrind --tool=callgrind); counts that are meant are kept with --store")


if __name__ == "__main__":
    main()
