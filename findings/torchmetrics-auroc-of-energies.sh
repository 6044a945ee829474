#!/usr/bin/env bash
# AUROC of energies by torchmetrics depends on how the scores are cut into batches.
#
# `update` applies a sigmoid to a batch if one of its scores lies outside of [0, 1], and leaves a batch alone otherwise. Scores
# that happen to lie in [0, 1] are then compared with squashed ones: energies that are parted perfectly (1.0 in one batch,
# and by scikit-learn 1.9.1) are at 0.667 in two. Seen with torchmetrics 1.9.0, torch 2.15.0, Python 3.11.
#
# For us: detection takes all scores at once and maps none (`ebm eval ood`); the book names the difference.
source "$(dirname "$0")/lib.sh"
packages python3 torchmetrics==1.9.0 torch==2.15.0 scikit-learn==1.9.1 numpy==2.4.6
python - <<'P'
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.classification import BinaryAUROC

scores = torch.tensor([0.1, 0.0, 0.2, 0.3, -1.0, 2.0, -0.5, 3.0])
inside = torch.tensor([1, 0, 1, 1, 0, 1, 0, 1])


def auroc(batch):
    metric = BinaryAUROC()
    for s, y in zip(scores.split(batch), inside.split(batch)):
        metric.update(s, y)
    return round(metric.compute().item(), 3)


found = auroc(8), auroc(4), roc_auc_score(inside, scores)
print("one batch %s, two batches %s, scikit-learn %s" % found)
assert found == (1.0, 0.667, 1.0), "this has changed"
P
