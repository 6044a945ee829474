//! The training step, its state, checkpoints and the loop.
