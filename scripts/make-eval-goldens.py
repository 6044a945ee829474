#!/usr/bin/env python3
"""Figures of peer libraries stored in the unit tests of crates/ebm-eval; inputs are those of tests/goldens.py there.

    python -m venv v && v/bin/pip install numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 arviz==0.23.4 \
        confidenceinterval==1.0.5 prdc==0.2 && v/bin/pip install --no-deps stein-thinning==0.2.0
    v/bin/python scripts/make-eval-goldens.py [BLOCK...]

ArviZ is the last version for Python 3.11; ArviZ 1.3 takes other tails by default (see the block `tails`).
"""
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "crates/ebm-eval/tests"))
warnings.filterwarnings("ignore")
from goldens import Stream, autoregression, clouds, normals, scores, show, uniforms  # noqa: E402


def tails():
    """Tail ESS as ArviZ 1.3 prints it by default: at 11 % and 89 %."""
    import arviz
    cases = ((41, 4, 100, 0.5), (42, 1, 101, 0.9), (43, 3, 300, -0.3), (44, 2, 8, 0.0), (45, 4, 250, 0.97))
    show("tails", *(min(arviz.ess(autoregression(*c), method="quantile", prob=q) for q in (0.11, 0.89)) for c in cases))


def classification():
    from scipy.stats import binomtest
    from sklearn.metrics import accuracy_score, brier_score_loss, log_loss
    p = (uniforms(96, 800).reshape(200, 4).astype(np.float32) ** 2).astype(float)
    p /= p.sum(1, keepdims=True)
    y = (uniforms(97, 200).astype(np.float32) * 4).astype(int)
    right, confidence = p.argmax(1) == y, p.max(1)
    wilson = binomtest(int(right.sum()), 200).proportion_ci(0.95, "wilson")
    # Guo et al. 2017, equation 3: bins (low, high].
    bin_of = np.ceil(confidence * 10).astype(int)
    gaps = [(abs(right[bin_of == b].mean() - confidence[bin_of == b].mean()), (bin_of == b).mean()) for b in set(bin_of)]
    show("classification", accuracy_score(y, p.argmax(1)), wilson.low, wilson.high, sum(g * w for g, w in gaps),
         max(gaps)[0], brier_score_loss(y, p, scale_by_half=False), log_loss(y, p))


def stein():
    from stein_thinning.kernel import vfk0_imq
    x = (1.25 * normals(61, 120) + 0.5).reshape(40, 3)
    s, n = -x, len(x)
    i, j = (v.ravel() for v in np.indices((n, n)))
    imq = vfk0_imq(x[i], x[j], s[i], s[j], np.eye(3) / 1.5 ** 2).reshape(n, n)
    # Liu, Lee and Jordan 2016, equation 8, term by term.
    h = 1.5 ** 2
    r = x[:, None] - x[None]
    g = np.exp(-(r ** 2).sum(-1) / (2 * h))
    dy, dx = g[..., None] * r / h, -g[..., None] * r / h
    trace = g * (3 / h - (r ** 2).sum(-1) / h ** 2)
    rbf = (s @ s.T) * g + (s[:, None] * dy).sum(-1) + (s[None] * dx).sum(-1) + trace
    for name, m in (("imq", imq), ("rbf", rbf)):
        show(f"stein {name}", m.mean(), (m.sum() - np.trace(m)) / (n * (n - 1)))


def permutation(stream, n):
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = stream.below(i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def classifier_test():
    from scipy.stats import hypergeom
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    a, b = clouds()
    a = a + 0.5
    r = Stream(5)
    oa, ob = permutation(r, len(a)), permutation(r, len(b))
    each = min(len(a), len(b))
    half = each // 2
    train, test = np.r_[a[oa[:half]], b[ob[:half]]], np.r_[a[oa[half:each]], b[ob[half:each]]]
    mean, sd = train.mean(0), train.std(0, ddof=1)
    train, test = (train - mean) / sd, (test - mean) / sd
    first, own = np.arange(2 * half) < half, each - half
    is_first = np.arange(2 * own) < own
    # An even number of neighbours can tie: scikit-learn takes the lower class, here the second set (class 0).
    for name, model in (("nearest", KNeighborsClassifier(int(np.sqrt(2 * half)))),
                        ("logistic", LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000))):
        taken = model.fit(train, first.astype(int)).predict(test).astype(bool)
        right, wrong = taken[:own].sum(), taken[own:].sum()
        show(f"classifier_test {name}", (taken == is_first).mean(), hypergeom.sf(right - 1, 2 * own, own, right + wrong))


def logistic():
    from sklearn.linear_model import LogisticRegression
    x = normals(62, 120).reshape(40, 3)
    y = x[:, 0] - 0.5 * x[:, 2] + uniforms(63, 40) > 0.5
    m = LogisticRegression(C=2.0, tol=1e-12, max_iter=10_000).fit(x, y)
    show("logistic", *m.coef_[0], m.intercept_[0])


def trend():
    from scipy.stats import theilslopes
    y = 0.03 * np.arange(40) + normals(64, 40)
    t = theilslopes(y, np.arange(40), 0.95)
    show("trend", t.slope, t.low_slope, t.high_slope)


def delong():
    from confidenceinterval.delong import delong_roc_variance
    for levels in (0, 8):
        p, n = scores(levels)
        _, variance = delong_roc_variance(np.r_[np.ones(len(p)), np.zeros(len(n))] > 0, np.r_[p, n])
        show("delong", np.sqrt(float(np.squeeze(variance))))


def student():
    from scipy.stats import t
    show("student", *(t.ppf(0.975, nu) for nu in (2, 3, 5, 15, 63, 1000)))


def frechet():
    """Without a ridge, as pytorch-fid 0.3 and torchmetrics 1.9 have it: SciPy's matrix root of the product."""
    from scipy.linalg import sqrtm
    a, b = clouds()
    for scale in (1.0, 1e-4):
        x, y = scale * a, scale * b
        root = np.real(sqrtm(np.cov(x.T) @ np.cov(y.T)))
        show(f"frechet {scale}", ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root))


def precision_recall():
    from prdc import compute_prdc
    for k in (3, 5):
        found = compute_prdc(*clouds(), k)
        show("precision_recall", *(found[key] for key in ("precision", "recall", "density", "coverage")))


BLOCKS = (tails, classification, stein, classifier_test, logistic, trend, delong, student, frechet, precision_recall)

if __name__ == "__main__":
    print(", ".join(f"{p} {version(p)}" for p in
                    ("numpy", "scipy", "scikit-learn", "arviz", "stein-thinning", "confidenceinterval", "prdc")))
    for block in BLOCKS:
        if not sys.argv[1:] or block.__name__ in sys.argv[1:]:
            block()
