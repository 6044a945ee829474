//! The dense engine allocates nothing once its buffers have their size.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ebm_core::plan::{Activation, NetPlan, Node, Op, PlanTerm, Products};
use ebm_core::{Key, RowProgram, RowStep};

use super::{Dense, DensePlan, WalkOut};
use crate::counting::allocations;
use crate::pool::Pool;
use crate::simd::Isa;

fn plan() -> NetPlan {
    let node = |name: &str, op, inputs: &[usize], width| Node {
        name: name.into(),
        op,
        inputs: inputs.to_vec(),
        shape: vec![width],
    };
    let linear = |name: &str| Op::Linear { weight: format!("{name}.w"), bias: Some(format!("{name}.b")) };
    NetPlan {
        input: vec![5],
        condition: 0,
        nodes: vec![
            node("x", Op::Input, &[], 5),
            node("a", linear("a"), &[0], 40),
            node("b", Op::Activate(Activation::Swish), &[1], 40),
            node("c", linear("c"), &[2], 1),
        ],
        terms: vec![PlanTerm { name: "e".into(), node: 3 }],
        products: Products::Full,
    }
}

#[test]
fn no_call_allocates_in_steady_state() {
    let d = Dense::new(Arc::new(DensePlan::compile(&plan(), Isa::detect()).unwrap()));
    // All of it on this thread, which is counted.
    let mut d = d.with_pool(Arc::new(Pool::new(1)));
    let (b, width, n) = (200, 5, d.plan().param_count());
    let params = vec![0.1f32; n];
    let x = vec![0.5f32; b * width];
    let (mut e, mut g, mut theta) = (vec![0f32; b], vec![0f32; b * width], vec![0f32; n]);
    let (mut y, mut hat, mut energy, mut square) =
        (x.clone(), x.clone(), vec![0f32; b * 2], vec![0f32; b * 2]);
    let step = RowStep { step_size: 0.1, noise: 0.1, noise_first: true, clamp: None, move_limit: None };
    let program = RowProgram::new(vec![step; 2]);
    let ids: Vec<u64> = (0..b as u64).collect();
    for round in 0..4 {
        let mut weights = vec![1f32; b];
        let before = allocations();
        d.load(&params, &[]);
        d.terms(&x, &mut e);
        d.slope(&x, &mut e, &mut g);
        d.hvp(&x, &x, &mut g);
        d.grad_theta(&x, &mut e, true, |_, _| Ok::<_, ()>(std::mem::take(&mut weights)), &mut theta).unwrap();
        d.grad_theta_slope(&x, &x, &mut e, &mut theta);
        let out =
            WalkOut { x: &mut y, hat: &mut hat, grad: &mut g, energy: &mut energy, grad_square: &mut square };
        d.walk(&program, Key::root(1), &ids, out);
        let count = allocations() - before;
        assert!(round < 2 || count == 0, "{count} allocations in round {round}");
    }
}
