"""Figures stored in the unit tests, from independent implementations.

usage: python goldens.py BLOCK...      (numpy, scipy, scikit-learn, arviz; versions are printed)
Inputs come from splitmix64 by the formulas of src/goldens.rs, so nothing but the outputs is stored.
"""
import sys
import numpy as np

M64 = (1 << 64) - 1


def splitmix(i):
    z = (i * 0x9E3779B97F4A7C15) & M64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
    return z ^ (z >> 31)


def uniforms(seed, n):
    return np.array([(splitmix(seed * 1000000 + i) >> 41) / 8388608.0 for i in range(n)])


def images(seed, n, d, spread):
    p = np.tile(uniforms(99, 10 * d).reshape(10, d), (n // 10 + 1, 1))[:n]
    return ((1 - spread) * p + spread * uniforms(seed, n * d).reshape(n, d)).astype(np.float32).astype(np.float64)


def labels(n):
    return np.arange(n) % 10


def normals(seed, n):
    return uniforms(seed, 12 * n).reshape(n, 12).sum(1) - 6


def show(name, *values):
    print(f"{name}: [{', '.join(repr(float(v)) for v in values)}]")


# ------------------------------------------------------------------ images (the script of the digit recipes)


def frechet_of(a, b):
    A, B = (np.cov(v.T) + 1e-6 * np.eye(v.shape[1]) for v in (a, b))
    w, v = np.linalg.eigh(A)
    r = (v * np.sqrt(np.maximum(w, 0))) @ v.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(r @ B @ r), 0)).sum()
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(A) + np.trace(B) - 2 * cross


def pixels_of(x):
    return x if x.shape[1] == 64 else x.reshape(-1, 7, 4, 7, 4).mean((2, 4)).reshape(-1, 49)


def signs_of(x):
    D = x.shape[1]
    W = np.array([[1.0 if splitmix(k * D + i + 1) >> 63 else -1.0 for i in range(D)] for k in range(64)])
    return 4 * np.maximum(0, (x - 0.5) @ W.T / np.sqrt(D))


def nearest_of(x, ref):
    d = np.sqrt(np.maximum(0, (x ** 2).sum(1)[:, None] + (ref ** 2).sum(1)[None] - 2 * x @ ref.T))
    j = d.argmin(1)
    return d[np.arange(len(x)), j], j


def frechet():
    t = lambda s, n, d: uniforms(s, n * d).reshape(n, d)
    show("frechet", frechet_of(t(1, 60, 5), t(2, 40, 5)), frechet_of(t(3, 10, 16), t(4, 12, 16)))


def signs():
    show("signs", *(signs_of(uniforms(7, 2 * 784).reshape(2, 784)) @ np.arange(1, 65)))


def image_quality():
    for side, spread in ((8, 0.9375), (28, 0.890625)):
        d = side * side
        x, t, h = images(11, 43, d, spread), images(12, 120, d, 0.5), images(13, 50, d, 0.875)
        dist, j = nearest_of(x, t)
        near = (dist <= np.quantile(nearest_of(h, t)[0], 0.95)).mean()
        p = np.bincount(labels(120)[j], minlength=10) / len(j)
        classes = np.exp(-(p[p > 0] * np.log(p[p > 0])).sum())
        show(f"image_quality {side}", frechet_of(pixels_of(x), pixels_of(h)), frechet_of(signs_of(x), signs_of(h)),
             near, classes)


# ------------------------------------------------------------------ the plane


def mmd2_of(a, b, h):
    from scipy.spatial.distance import cdist
    k = lambda p, q: np.exp(-cdist(p, q, "sqeuclidean") / (2 * h * h))
    n, m = len(a), len(b)
    return (k(a, a).sum() - n) / (n * (n - 1)) + (k(b, b).sum() - m) / (m * (m - 1)) - 2 * k(a, b).mean()


def mmd():
    from scipy.spatial.distance import pdist
    a, b = uniforms(1, 300).reshape(150, 2), uniforms(2, 120).reshape(60, 2)
    h = np.median(pdist(a))
    show("mmd", h, np.median(pdist(b)), mmd2_of(a, b, h), mmd2_of(a, b, 0.25))


def plane():
    from scipy.optimize import minimize_scalar
    from scipy.spatial.distance import pdist
    from scipy.special import logsumexp

    def points(half, cells):
        c = -half + (np.arange(cells) + 0.5) * (2 * half / cells)
        return np.stack(np.meshgrid(c, c, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)

    def wells(p):
        x, y = p.astype(np.float64).T
        r = x * x + y * y - 4.0
        return (0.25 * r * r + 0.5 * x * x * y * y + 0.125 * x).astype(np.float32).astype(np.float64)

    held = (4 * uniforms(21, 120) - 2).astype(np.float32).reshape(60, 2)
    grid = points(3.0, 64)
    eg, ew, eh = wells(grid), wells(points(6.0, 64)), wells(held)
    log_z = lambda beta: logsumexp(-beta * eg) + 2 * np.log(6.0 / 64)
    ll = lambda beta: -beta * eh.mean() - log_z(beta)
    best = minimize_scalar(lambda v: -ll(np.exp(v)), bracket=(-3, 3), tol=1e-10).x
    c = -6.0 + (np.arange(64) + 0.5) * (12.0 / 64)
    inner = ((np.abs(c)[:, None] < 3) & (np.abs(c)[None] < 3)).ravel()
    leak = 1 - np.exp(logsumexp(-ew[inner]) - logsumexp(-ew))
    ref = held[:50].astype(np.float64)
    h = np.median(pdist(ref))
    show("plane", log_z(1.0), ll(1.0), ll(np.exp(best)), leak, h)
    show("plane t", np.exp(-best))
    u = uniforms(22, 150)
    cdf = np.cumsum(np.exp(-eg - logsumexp(-eg)))
    idx = (cdf / cdf[-1]).searchsorted(u[:50], side="right")
    draws = grid[idx] + (u[50:].reshape(50, 2) - 0.5) * (6.0 / 64)
    show("plane mmd", mmd2_of(ref, draws, h), mmd2_of(ref, draws, 0.25))


# ------------------------------------------------------------------ chains


def autoregression(seed, m, n, phi):
    x = normals(seed, m * n).reshape(m, n)
    for t in range(1, n):
        x[:, t] += phi * x[:, t - 1]
    return x


def normal_quantile():
    from scipy.stats import norm
    show("normal_quantile", *norm.ppf([0.975, 0.6, 0.05, 1e-5, 1 - 1e-9, 1e-20, 1e-300]))


def chains():
    import arviz
    for c in ((41, 4, 100, 0.5), (42, 1, 101, 0.9), (43, 3, 300, -0.3), (44, 2, 8, 0.0), (45, 4, 250, 0.97)):
        x = autoregression(*c)
        show(f"chains {c}", *(arviz.ess(x, method=k) for k in ("mean", "bulk", "tail")), arviz.mcse(x))


def rhat():
    import arviz
    x = autoregression(61, 4, 120, 0.4)
    for f in (lambda v: v, lambda v: v + 2, lambda v: 3 * v):
        y = x.copy()
        y[0] = f(y[0])
        show("rhat", arviz.rhat(y, method="split"), arviz.rhat(y, method="rank"))


def autocorrelation():
    import arviz
    show("autocorrelation", *arviz.autocorr(autoregression(32, 1, 50, 0.8)[0])[:8])


def chain_file():
    """Of tests/measure.rs of the workspace: whole numbers of a recursion, so both sides build the same f32."""
    import arviz
    v, x = 1, np.zeros((3, 80, 2))
    for m in range(3):
        for n in range(80):
            for c, phi in enumerate((0.6, -0.4)):
                v = (389 * v + 7) % 1009
                x[m, n, c] = (phi * x[m, n - 1, c] if n else 0.0) + v / 1009
    for c in range(2):
        y = x[:, :, c].astype(np.float32).astype(np.float64)
        show(f"chain_file x[{c}]", y.mean(), arviz.mcse(y), *(arviz.ess(y, method=k) for k in ("bulk", "tail")),
             arviz.rhat(y, method="rank"), y.size / arviz.ess(y, method="mean"))


# ------------------------------------------------------------------ detection


def scores(levels):
    coarse = lambda v: np.floor(v * levels) / levels if levels else v
    return coarse(normals(71, 70) + 1), coarse(normals(72, 50))


def detection():
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
    for levels in (0, 8):
        p, n = scores(levels)
        y, s = np.r_[np.ones(len(p)), np.zeros(len(n))], np.r_[p, n]
        fpr, tpr, _ = roc_curve(y, s, drop_intermediate=False)
        show("detection", roc_auc_score(y, s), average_precision_score(y, s), average_precision_score(1 - y, -s),
             fpr[np.argmax(tpr >= 0.95)], fpr[np.argmax(tpr >= 0.8)])


class Stream:
    """SplitMix of src/splitmix.rs."""

    def __init__(self, seed):
        self.i = splitmix(seed + 1)

    def bits(self):
        self.i = (self.i + 1) & M64
        return splitmix(self.i)

    def below(self, n):
        return self.bits() * n >> 64

    def normal(self):
        u, v = ((self.bits() >> 11) / 2 ** 53 for _ in range(2))
        return np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * np.pi * v)


def bootstrap():
    from sklearn.metrics import roc_auc_score
    area = lambda p, n: roc_auc_score(np.r_[np.ones(len(p)), np.zeros(len(n))], np.r_[p, n])
    p, n = scores(8)
    r, found = Stream(7), []
    for _ in range(50):
        a = p[[r.below(len(p)) for _ in p]]
        found.append(area(a, n[[r.below(len(n)) for _ in n]]))
    show("bootstrap", area(p, n), *np.quantile(found, [0.025, 0.975]), np.std(found, ddof=1))


# ------------------------------------------------------------------ distances between sets of features


def clouds():
    return normals(81, 240).reshape(60, 4), 0.75 * normals(82, 160).reshape(40, 4) + 1


def kernel_distance():
    a, b = clouds()
    k = lambda p, q: (p @ q.T / 4 + 1) ** 3
    off = lambda m: (m.sum() - np.trace(m)) / (len(m) * (len(m) - 1))
    show("kernel_distance", off(k(a, a)) + off(k(b, b)) - 2 * k(a, b).mean())


def precision_recall():
    from scipy.spatial.distance import cdist
    real, drawn = clouds()
    for k in (3, 5):
        rr, rd = (np.sort(cdist(v, v), axis=1)[:, k] for v in (real, drawn))
        d = cdist(real, drawn)
        show("precision_recall", (d <= rr[:, None]).any(0).mean(), (d <= rd[None]).any(1).mean(),
             (d <= rr[:, None]).sum(0).mean() / k, (d.min(1) <= rr).mean())


def wasserstein():
    from scipy.stats import wasserstein_distance
    a, b = clouds()
    r = Stream(4)
    v = np.array([[r.normal() for _ in range(4)] for _ in range(16)])
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    one = [wasserstein_distance(a @ w, b @ w) for w in v]
    # 60 and 40 rows have 120 common quantile steps: repeat the rows and couple in order
    two = [((np.sort(np.repeat(a @ w, 2)) - np.sort(np.repeat(b @ w, 3))) ** 2).mean() for w in v]
    show("wasserstein", wasserstein_distance(normals(91, 30), normals(92, 21)), np.mean(one), np.sqrt(np.mean(two)))


def class_score():
    from scipy.stats import entropy
    p = (uniforms(95, 150).reshape(25, 6) ** 2).astype(np.float32).astype(float)
    p /= p.sum(1, keepdims=True)
    parts = [p[s * 25 // 4:(s + 1) * 25 // 4] for s in range(4)]
    found = [np.exp(np.mean([entropy(row, q.mean(0)) for row in q])) for q in parts]
    show("class_score", np.mean(found), np.std(found))


if __name__ == "__main__":
    print("numpy", np.__version__)
    for block in sys.argv[1:]:
        globals()[block]()
