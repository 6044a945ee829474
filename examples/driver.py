"""Runs of `ebm` from a program that may be stopped at any time: what is finished is not trained again."""

import json
import os
import subprocess
import sys


def call(ebm, *arguments, quiet=False):
    """Runs `ebm` with these arguments and returns its standard output; ends this program if it fails."""
    arguments = [str(x) for x in (ebm, *arguments)]
    if not quiet:
        print("+", " ".join(arguments), file=sys.stderr, flush=True)
    errors = subprocess.PIPE if quiet else None
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=errors, text=True)
    if done.returncode:
        said = f":\n{done.stderr}" if quiet else ""
        sys.exit(f"`{' '.join(arguments)}` ended with {done.returncode}; what is finished is kept{said}")
    return done.stdout


def train(ebm, run, config, *changes, seed=0, steps=None):
    """Trains `config` with these changes into the folder `run`, or goes on with it; the folder."""
    summary = run / "summary.json"
    if summary.exists() and json.loads(summary.read_text()).get("outcome") == "done":
        return run
    if any(run.glob("checkpoints/step-*")):
        call(ebm, "resume", run)
        return run
    if run.exists():  # stopped before its first checkpoint
        run.rename(run.with_name(f"{run.name}-cut-{os.getpid()}"))
    sets = [word for change in changes for word in ("--set", change)]
    more = ["--steps", steps] if steps else []
    call(ebm, "train", config, *sets, "--seed", seed, "--out", run, *more)
    return run
