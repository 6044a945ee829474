//! The convolutional engine allocates nothing in a slope once its buffers have their size.
#![allow(clippy::unwrap_used)]

use ebm_core::{Key, RowProgram, RowStep};

use super::{Call, ConvPlan, Workspace};
use crate::counting::allocations;
use crate::dense::WalkOut;
use crate::pool::Pool;
use crate::resnet::{Options, resnet};
use crate::simd::Isa;

#[test]
fn slopes_and_walks_allocate_nothing_in_steady_state() {
    let net = resnet(&Options { filters: 16, side: 16, attention: true, condition: 3 });
    let plan = ConvPlan::compile(&net, Isa::detect()).unwrap();
    let weights: Vec<(String, Vec<f32>)> =
        plan.tensors().map(|(n, len, _)| (n.to_string(), vec![0.01; len])).collect();
    let packed = plan
        .pack(Pool::global(), |n| weights.iter().find(|(k, _)| k == n).map(|(_, w)| w.as_slice()))
        .unwrap();
    let (b, len) = (5, plan.sample_len());
    let (x, cond, v) = (vec![0.5; b * len], vec![0.1; b * 3], vec![0.2; b * len]);
    let (mut terms, mut grad) = (vec![0.0; b], vec![0.0; b * len]);
    // With more threads a worker allocates when it first gets a task, which the test cannot time.
    let pool = Pool::new(1);
    let mut work = Workspace::default();
    let call = Call { x: &x, cond: Some(&cond) };
    let step = RowStep { step_size: 0.1, noise: 0.1, noise_first: true, clamp: None, move_limit: None };
    let program = RowProgram::new(vec![step; 3]);
    let (mut start, mut hat, chains) = (x.clone(), x.clone(), [0, 1, 2, 3, 4]);
    let (mut energy, mut square) = (vec![0.0; b * 3], vec![0.0; b * 3]);
    let mut counts = Vec::new();
    for _ in 0..4 {
        let before = allocations();
        plan.slope(&packed, &mut work, &pool, call, &mut terms, &mut grad).unwrap();
        plan.terms(&packed, &mut work, &pool, call, &mut terms).unwrap();
        let out = WalkOut {
            x: &mut start,
            hat: &mut hat,
            grad: &mut grad,
            energy: &mut energy,
            grad_square: &mut square,
        };
        plan.walk(&packed, &mut work, &pool, Some(&cond), &program, Key::root(1), &chains, out).unwrap();
        counts.push(allocations() - before);
        // Another mode in between must not take the memory of these.
        plan.grad_theta_slope(&packed, &mut work, &pool, call, &v, &mut terms).unwrap();
    }
    assert!(counts[0] > 0 && counts[1..] == [0, 0, 0], "{counts:?}");
}
