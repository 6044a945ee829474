#!/usr/bin/env bash
# A random split of scikit-learn's digits tests on the hands that it was trained on.
#
# scikit-learn 1.9.1, `load_digits`: the 1,797 images are those of thirteen writers (UCI), which no column tells; neighbours in the file are alike.
# The nearest neighbour errs on 1.2 in a hundred when a fifth is drawn at random, as `train_test_split` and shuffled folds do, and on 3.5, three
# times as many, when the fifths are cut in order. No two images are equal: it is the writers, not copies.
#
# For us: `digits` holds out every fifth image, so its held-out figures are of known writers, too; they compare trainings with each other.
source "$(dirname "$0")/lib.sh"
packages python3 scikit-learn==1.9.1 numpy==2.4.6
python - <<'P'
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

x, y = load_digits(return_X_y=True)
nearest = KNeighborsClassifier(1)
shuffled = 1 - cross_val_score(nearest, x, y, cv=KFold(5, shuffle=True, random_state=0)).mean()
in_order = 1 - cross_val_score(nearest, x, y, cv=KFold(5)).mean()
print(f"errors of the nearest neighbour: {shuffled:.2%} on fifths drawn at random, {in_order:.2%} on fifths in order")
print(f"different images: {len(np.unique(x, axis=0))} of {len(x)}")
assert 2 * shuffled < in_order and len(np.unique(x, axis=0)) == len(x), "this has changed"
P
