"""Every energy kind of the catalogue in PyTorch: trained for a few steps, converted, compared with `ebm score`.

usage: check-torch.py EBM [KIND...]
       check-torch.py EBM --store    (writes the expectations that `cargo test -p ebm-tests --test whole torch::` holds modules against)
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

EBM = str(Path(sys.argv[1]).resolve())
ONLY = set(sys.argv[2:])
# Relative to the largest energy and the largest entry of the slopes: a hundred roundings of single precision, and, where that
# rounds more (deep nets without norms), so many times what PyTorch itself is off in single precision.
ALLOWED = {"f32": 1e-5, "f64": 1e-10}
TIMES = 5

TRAINED = """format = 1
[run]
steps = 3
batch = 8
dtype = "{dtype}"
[data]
{data}
[energy]
{energy}
[sampler]
kind = "chain"
steps = 2
transition = {{ kind = "langevin", step_size = 0.1, noise = 0.01, clamp = [0.0, 1.0] }}
[replay]
kind = "random-overwrite"
capacity = 64
[objective]
kind = "contrastive"
energy_l2 = 1.0
[optimiser]
kind = "adam"
rate = 1e-2
average = 0.5
[generate]
steps = 1
count = 1
measured = 0
"""
BARE = """format = 1
[run]
dtype = "{dtype}"
[energy]
{energy}
[sampler]
kind = "chain"
steps = 1
transition = {{ kind = {move} }}
[generate]
shape = {shape}
"""
DIGITS, LABELLED = 'kind = "digits"', 'kind = "digits"\nlabels = true'
COLOUR = 'kind = "npy"\npath = "colour.npy"'
LARGE = 'kind = "npy"\npath = "large.npy"'
COLOURS = 'kind = "npy"\npath = "colour.npy"\nlabels = true\nlabel_file = "labels.npy"'
DISCRETE = {"ising", "potts", "rbm", "deep-rbm"}

CONV = '{ kind = "conv-net", layers = [{ filters = 4, stride = 2 }], hidden = [6] }'
PAIR = '{ kind = "conv-net", layers = [{ filters = 4, stride = 2 }], hidden = [6], conditional = true }'
MLP = '{ kind = "mlp", hidden = [8] }'


def scales(kind, more=""):
    parts = zip(["small", "mid", "large"], ["small", "mid", "main"])
    return "parts = [" + ", ".join(
        f'{{ name = "{n}", energy = {{ kind = "{kind}", scale = "{s}", filters = 4{more} }} }}' for n, s in parts
    ) + "]"


# Name, kind, data (or the shape of samples of what is not trained), settings. What is not here runs as its example.
CASES = [
    ("mlp", "mlp", DIGITS, "hidden = [16, 16]"),
    *[(f"mlp {a}", "mlp", DIGITS, f'hidden = [16, 9]\nactivation = "{a}"') for a in ["tanh", "softplus", "relu", "leaky-relu"]],
    ("mlp fourier", "mlp", DIGITS, "hidden = [16]\nfourier = { features = 8, scale = 0.2 }"),
    ("mlp conditional", "mlp", LABELLED, "hidden = [16, 9]\nconditional = true"),
    ("conv-net", "conv-net", DIGITS, "layers = [{ filters = 6, kernel = 5, stride = 2 }, { filters = 5 }]\nhidden = [7]"),
    ("conv-net conditional", "conv-net", LABELLED, "layers = [{ filters = 4, stride = 2 }]\nhidden = [6]\nconditional = true"),
    ("digits-net", "digits-net", DIGITS, "filters = 4"),
    ("cifar-resnet", "cifar-resnet", COLOUR, "filters = 8"),
    ("cifar-resnet conditional", "cifar-resnet", COLOURS, "filters = 8\nconditional = true"),
    ("cifar-resnet alias", "cifar-resnet", COLOUR, "filters = 8\nalias = true\nsquare = true"),
    ("cifar-resnet sigmoid", "cifar-resnet", [3, 16, 16], "filters = 8\nsigmoid = true"),
    ("cifar-resnet spectral", "cifar-resnet", COLOUR, "filters = 8\nspectral = true"),
    ("cifar-resnet no norm", "cifar-resnet", [3, 16, 16], "filters = 8\nnorm = false"),
    ("faces-net", "faces-net", LARGE, "filters = 8"),
    ("imagenet-net", "imagenet-net", LARGE, "filters = 8"),
    ("multi-scale", "multi-scale", COLOUR, scales("cifar-resnet")),
    ("sum", "sum", DIGITS, f'parts = [{{ name = "a", weight = 0.7, energy = {CONV} }}, {{ name = "half", weight = -0.2, energy = {MLP} }}]'),
    ("sum of pairs", "sum", LABELLED, f'parts = [{{ name = "a", energy = {PAIR} }}, {{ name = "b", energy = {MLP} }}]'),
    ("soft-min", "soft-min", DIGITS, f'sharpness = 3.0\nparts = [{{ name = "a", log_z = 0.5, energy = {CONV} }}, {{ name = "b", energy = {MLP} }}]'),
    ("negate", "negate", DIGITS, f"weight = 0.3\nenergy = {MLP}"),
    ("temperature", "temperature", DIGITS, f"temperature = 2.0\nenergy = {MLP}"),
    ("frozen", "sum", DIGITS, f'parts = [{{ name = "a", energy = {{ kind = "frozen", energy = {MLP} }} }}, {{ name = "b", energy = {CONV} }}]'),
    ("pull-back resize", "pull-back", DIGITS, f"view = {{ resize = [5, 6] }}\nenergy = {CONV}"),
    ("pull-back crop", "pull-back", DIGITS, f"view = {{ crop = [1, 2, 5, 4] }}\nenergy = {CONV}"),
    ("pull-back pool", "pull-back", DIGITS, f"view = {{ pool = 1 }}\nenergy = {CONV}"),
    ("conditioned", "conditioned", DIGITS, f"condition = [0.0, 1.0, 0.0]\nenergy = {PAIR}"),
    ("marginal", "marginal", DIGITS, f"classes = 4\nenergy = {PAIR}"),
    ("noise-conditioned", "noise-conditioned", [5], 'level = 0.3\nenergy = { kind = "mlp", hidden = [9], conditional = true }'),
    ("series-net", "series-net", [2, 11], "layers = [{ filters = 5, kernel = 5 }, { filters = 4, kernel = 4, stride = 2 }]\nhidden = [7]"),
    ("series-net mean", "series-net", [9], 'layers = [{ filters = 5, kernel = 3 }]\npooling = "mean"\nactivation = "leaky-relu"\nhidden = [7, 6]'),
    ("series-net conditional", "series-net", LABELLED, "layers = [{ filters = 5, kernel = 3, stride = 2 }]\nhidden = [7, 6]\nconditional = true"),
    ("set-net", "set-net", [6, 2], 'point = [7, 5]\nactivation = "softplus"\nhidden = [6]'),
    ("set-net conditional", "set-net", LABELLED, "point = [7, 5]\nhidden = [6]\nconditional = true"),
    ("ising", "ising", [3, 4], "lattice = [3, 4]\ncoupling = 0.3\nfield = 0.1"),
    ("potts", "potts", [3, 4, 3], "lattice = [3, 4]\ncoupling = 0.7"),
    ("rbm", "rbm", [6], "hidden = 4\ninit = 0.5"),
    ("rbm gaussian", "rbm", [6], 'hidden = 4\ninit = 0.5\nvisible = "gaussian"\nsd = 0.7'),
    ("deep-rbm", "deep-rbm", [9], "layers = [5, 3]\ninit = 0.5"),
    ("gaussian", "gaussian", [2], "mean = [1.0, -1.0]\ncovariance = [1.0, 0.5, 0.5, 2.0]"),
    ("gaussian plain", "gaussian", [3], "sd = 0.5"),
    ("double-well", "double-well", [3], ""),
    ("banana", "banana", [3], ""),
    ("funnel", "funnel", [4], ""),
    ("eight-schools", "eight-schools", [10], ""),
    ("eight-schools centred", "eight-schools", [10], "centred = true"),
]


def run(*arguments, folder, ok=True):
    done = subprocess.run([EBM, "--log", "error", *map(str, arguments)], cwd=folder, capture_output=True, text=True)
    if ok and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
    return done


def load(folder):
    spec = importlib.util.spec_from_file_location("energy", folder / "energy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


def gap(found, wanted):
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def compare(folder, target, dtype, given=None):
    """Largest differences of energies and slopes, in parts of the largest, and how far PyTorch's own in single precision are off
    those in double; `given` is a class of a conditional energy."""
    run("convert", target, "--to", "torch", "module", folder=folder)
    energy = load(folder / "module")
    dtype = torch.float64 if dtype == "f64" else torch.float32
    x = np.random.default_rng(1).uniform(0, 1, (6, *energy.shape)).astype("f4")
    np.save(folder / "x.npy", x)
    more = ["--given", given] if given is not None else []
    run("score", target, "x.npy", "--energies", "e.npy", "--slope", "g.npy", "--force", *more, folder=folder)
    if given is None and energy.condition_required:
        raise RuntimeError("a condition is missing in the table of this script")

    def computed(dtype):
        at = torch.tensor(x, dtype=dtype).requires_grad_()
        n = energy.condition_length
        condition = None if given is None else torch.eye(n, dtype=dtype)[given].expand(6, n)
        e = energy.to(dtype)(at, condition)
        (g,) = torch.autograd.grad(e.sum(), at)
        assert e.shape == (6,)
        return e.detach().numpy(), g.numpy()

    found, double = computed(dtype), computed(torch.float64)
    ours = [np.load(folder / name) for name in ["e.npy", "g.npy"]]
    own = max(gap(a, b) for a, b in zip(found, double))
    return [gap(a, b) for a, b in zip(found, ours)] + [own]


def exports():
    known = json.loads(run("plugins", "list", "--json", folder=".").stdout)
    energies = {p["kind"]: p["example"] for p in known if p["family"] == "energy"}
    cases = CASES + [(k, k, [2], e) for k, e in energies.items() if k not in {c[1] for c in CASES} | {"frozen", "checkpoint"}]
    missing = {c[1] for c in cases} - set(energies)
    assert not missing, f"no such kinds: {missing}"
    bad = 0
    print(f"{'energy':<26}{'dtype':<7}{'energies':>10}{'slopes':>10}{'f32 alone':>10}")
    for name, kind, data, settings in cases:
        if ONLY and kind not in ONLY:
            continue
        for dtype in ["f32", "f64"]:
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                energy = f'kind = "{kind}"\n{settings}'
                discrete = kind in DISCRETE and "gaussian" not in settings
                move = '"block-gibbs"' if discrete else '"ula", step_size = 0.1'
                try:
                    if isinstance(data, str):
                        for file, side in [("colour", 16), ("large", 64)]:
                            pixels = np.random.default_rng(0).uniform(0, 1, (24, 3, side, side)).astype("f4")
                            np.save(folder / f"{file}.npy", pixels)
                        np.save(folder / "labels.npy", np.arange(24) % 5)
                        (folder / "run.toml").write_text(TRAINED.format(dtype=dtype, data=data, energy=energy))
                        run("train", "run.toml", "--out", "r", folder=folder)
                        target = "r"
                    else:
                        (folder / "run.toml").write_text(BARE.format(dtype=dtype, energy=energy, shape=data, move=move))
                        target = "run.toml"
                    given = 3 if data in [LABELLED, COLOURS] else None
                    differences = compare(folder, target, dtype, given)
                    allowed = max(ALLOWED[dtype], TIMES * differences[2])
                    fails = max(differences[:2]) > allowed or not np.isfinite(differences).all()
                    text = "".join(f"{d:>10.1e}" for d in differences) + ("  FAIL" if fails else "")
                except Exception as e:
                    fails, text = True, f"  FAIL {' '.join(str(e).split())}"
            bad += fails
            print(f"{name:<26}{dtype:<7}{text}", flush=True)
    return bad


def composition():
    """A composition of runs, one of them under a class and one of smaller images, as one module."""
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pair, small = PAIR.strip("{ }").replace(", layers", "\nlayers").replace(", hidden", "\nhidden").replace(", cond", "\ncond"), "kind = \"mlp\"\nhidden = [8]"
        for name, data, energy in [("a", LABELLED, pair), ("b", DIGITS, small)]:
            (folder / "run.toml").write_text(TRAINED.format(dtype="f64", data=data, energy=energy))
            run("train", "run.toml", "--out", name, folder=folder)
        for i, line in enumerate(["a given 3 and not 0.3 * b", "(a given 1 or a given 2) at 2"]):
            (folder / "module").exists() and (folder / "module").rename(folder / f"module{i}")
            differences = compare(folder, line, "f32")
            fails = max(differences[:2]) > ALLOWED["f32"]
            bad += fails
            print(f"{line:<33}{differences[0]:>10.1e}{differences[1]:>10.1e}{'  FAIL' if fails else ''}")
    return bad


class Mine(torch.nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.net = torch.nn.Sequential(*layers)

    def forward(self, x):
        return self.net(x)


def imports():
    """Weights of modules of the user's own, saved in the usual ways."""
    from safetensors.torch import save_file

    nn, bad = torch.nn, 0
    mlp = [nn.Flatten(), nn.Linear(64, 16), nn.SiLU(), nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 1)]
    conv = [nn.Conv2d(1, 6, 5, 2, 2), nn.Tanh(), nn.Conv2d(6, 5, 3, 1, 1), nn.Tanh(), nn.Flatten(), nn.Linear(80, 7), nn.Tanh(), nn.Linear(7, 1)]
    cases = [
        ("mlp", mlp, "kind = \"mlp\"\nhidden = [16, 16]"),
        ("conv-net", conv, "kind = \"conv-net\"\nactivation = \"tanh\"\nlayers = [{ filters = 6, kernel = 5, stride = 2 }, { filters = 5 }]\nhidden = [7]"),
    ]
    for name, layers, energy in cases:
        torch.manual_seed(0)
        plain = nn.Sequential(*layers)
        for layer in layers:
            hasattr(layer, "reset_parameters") and layer.reset_parameters()
        mine = Mine(*layers)
        optimiser = torch.optim.Adam(mine.parameters())
        ways = {
            "sequential.pt": lambda p: torch.save(plain.state_dict(), p),
            "mine.pth": lambda p: torch.save({"model": mine.state_dict(), "optimizer": optimiser.state_dict(), "epoch": 3}, p),
            "mine.safetensors": lambda p: save_file(mine.state_dict(), p),
        }
        for file, save in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                (folder / "run.toml").write_text(TRAINED.format(dtype="f32", data=DIGITS, energy=energy))
                try:
                    save(folder / file)
                    run("convert", file, "--config", "run.toml", "--out", "r", folder=folder)
                    x = np.random.default_rng(1).uniform(0, 1, (6, 1, 8, 8)).astype("f4")
                    np.save(folder / "x.npy", x)
                    run("score", "r", "x.npy", "--energies", "e.npy", folder=folder)
                    difference = gap(np.load(folder / "e.npy"), plain(torch.tensor(x)).squeeze(1).detach().numpy())
                    fails, text = difference > ALLOWED["f32"], f"{difference:>10.1e}"
                except Exception as e:
                    fails, text = True, f" {e}"
            bad += fails
            print(f"{'from ' + file + ' to ' + name:<33}{text}{'  FAIL' if fails else ''}")
    return bad


def store():
    """The module of every configuration of `tests/fixtures/torch`, and what PyTorch computes with it."""
    for config in sorted(Path("tests/fixtures/torch").glob("*.toml")):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / config.name).write_text(config.read_text())
            run("convert", config.name, "--to", "torch", "module", folder=folder)
            energy = load(folder / "module")
            config.with_suffix(".py").write_text((folder / "module" / "energy.py").read_text())
            n = 3 * int(np.prod(energy.shape))
            # Sixteenths, which every format of numbers holds.
            x = torch.tensor([(7 * i + 3) % 17 / 16 for i in range(n)]).reshape(3, *energy.shape).requires_grad_()
            e = energy(x)
            (g,) = torch.autograd.grad(e.sum(), x)
            state = {name: list(t.shape) for name, t in sorted(energy.state_dict().items())}
            found = {"energies": e.tolist(), "slopes": g.flatten().tolist(), "state": state}
            config.with_suffix(".json").write_text(json.dumps(found) + "\n")
            print(config, e.tolist())
    sys.exit()


if ONLY == {"--store"}:
    store()
bad = exports() + (0 if ONLY else composition() + imports())
print(f"{bad} beyond what is allowed" if bad else "all within what is allowed")
sys.exit(bad > 0)
