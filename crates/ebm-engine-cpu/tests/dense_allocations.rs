//! The dense engine allocates nothing once its buffers have their size.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ebm_core::plan::{Activation, NetPlan, Node, Op, PlanTerm, Products};
use ebm_core::{Key, RowProgram, RowStep};
use ebm_engine_cpu::dense::{Dense, DensePlan, WalkOut};
use ebm_engine_cpu::simd::Isa;

/// The system's allocator with a counter.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes every call on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
    let mut d = Dense::new(Arc::new(DensePlan::compile(&plan(), Isa::detect()).unwrap()));
    let (b, width, n) = (200, 5, d.plan().param_count());
    let params = vec![0.1f32; n];
    let x = vec![0.5f32; b * width];
    let (mut e, mut g, mut theta) = (vec![0f32; b], vec![0f32; b * width], vec![0f32; n]);
    let (mut y, mut hat, mut energy, mut square) =
        (x.clone(), x.clone(), vec![0f32; b * 2], vec![0f32; b * 2]);
    let step = RowStep { step_size: 0.1, noise: 0.1, noise_first: true, clamp: None, move_limit: None };
    let program = RowProgram { steps: vec![step; 2] };
    let ids: Vec<u64> = (0..b as u64).collect();
    // The counter is the process's, and the harness may allocate beside: the least of some rounds counts.
    let mut least = usize::MAX;
    for round in 0..20 {
        let weights = vec![1f32; b];
        let before = COUNT.load(Ordering::Relaxed);
        d.load(&params, &[]);
        d.terms(&x, &mut e);
        d.slope(&x, &mut e, &mut g);
        d.hvp(&x, &x, &mut g);
        d.grad_theta(&x, &mut e, |_| Ok::<_, ()>(weights), &mut theta).unwrap();
        d.grad_theta_slope(&x, &x, &mut e, &mut theta);
        let out =
            WalkOut { x: &mut y, hat: &mut hat, grad: &mut g, energy: &mut energy, grad_square: &mut square };
        d.walk(&program, Key::root(1), &ids, out);
        if round > 1 {
            least = least.min(COUNT.load(Ordering::Relaxed) - before);
        }
    }
    assert_eq!(least, 0);
}
