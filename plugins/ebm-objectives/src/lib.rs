//! Training objectives: contrastive divergence with its KL and entropy terms.
