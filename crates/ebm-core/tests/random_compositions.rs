//! Random compositions of random nets: all five calls against central differences in f64, and in f32 against f64.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{
    Autograd, Batch, Chains, Diff, EnergyFn, EnergySpec, Forward, Frozen, Key, ParamSet, Part, PullBack,
    Result, Role, Separable, SoftMin, Sum, ThetaGrad, View, WeightFn,
};
use ebm_testkit::check_energy;
use proptest::prelude::*;

const SHAPE: [usize; 3] = [1, 4, 4];

/// One bent layer of the kind `0..5`.
struct Net(u8);

impl Forward for Net {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        let h = x.flatten()?.linear_layer(p.get("a")?, Some(p.get("b")?))?;
        let h = match self.0 {
            0 => h.tanh()?,
            1 => h.swish()?,
            2 => h.softplus()?,
            3 => h.softmax_last()?,
            _ => h.log_sum_exp_last()?,
        };
        let width = h.value().dim(1)?;
        h.matmul(&p.get("c")?.narrow(0, 0, width)?)
    }
}

/// A composition as data.
#[derive(Clone, Debug)]
enum Tree {
    Net {
        kind: u8,
        side: usize,
        seed: u64,
    },
    Sum(Vec<(f64, Tree)>),
    SoftMin(f64, Vec<(f64, Tree)>),
    Frozen(Box<Tree>),
    /// On the image of half the size.
    Small(u8, u64),
}

fn trees() -> impl Strategy<Value = Tree> {
    let seed = 0u64..1000;
    let leaf = prop_oneof![
        3 => (0u8..5, seed.clone()).prop_map(|(kind, seed)| Tree::Net { kind, side: 4, seed }),
        1 => (0u8..5, seed).prop_map(|(kind, seed)| Tree::Small(kind, seed)),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let parts = prop::collection::vec((-1.5f64..1.5, inner.clone()), 1..4);
        prop_oneof![
            parts.clone().prop_map(Tree::Sum),
            (0.3f64..3.0, parts).prop_map(|(sharpness, parts)| Tree::SoftMin(sharpness, parts)),
            inner.prop_map(|t| Tree::Frozen(Box::new(t))),
        ]
    })
}

impl Tree {
    /// The energy with weights of f32, `scale` times those of order one, in `dtype`.
    fn energy(&self, dtype: DType, scale: f64) -> Arc<dyn EnergyFn> {
        let parts = |all: &[(f64, Tree)]| -> Vec<Part> {
            let part = |(i, (w, t)): (usize, &(f64, Tree))| {
                Part::new(format!("p{i}"), t.energy(dtype, scale)).weighted(*w)
            };
            all.iter().enumerate().map(part).collect()
        };
        match self {
            Tree::Net { kind, side, seed } => {
                let make = |name: &str, shape: &[usize]| {
                    let t = Key::root(*seed).at(name).normal(
                        &Chains::range(0, 1),
                        shape,
                        DType::F32,
                        &Device::Cpu,
                    );
                    let t = t
                        .unwrap()
                        .squeeze(0)
                        .unwrap()
                        .affine(scale / shape[shape.len() - 1] as f64, 0.0)
                        .unwrap();
                    (name.to_string(), t.to_dtype(dtype).unwrap(), Role::Trainable)
                };
                let n = side * side;
                let params =
                    ParamSet::new([make("a", &[5, n]), make("b", &[5]), make("c", &[5, 1])]).unwrap();
                Arc::new(Autograd::new(
                    "net",
                    Net(*kind),
                    EnergySpec::new(&[1, *side, *side], &["e"]),
                    params,
                ))
            }
            Tree::Small(kind, seed) => {
                let inner = Tree::Net { kind: *kind, side: 2, seed: *seed }.energy(dtype, scale);
                let map = Separable::pyramid(&SHAPE, 1).unwrap();
                Arc::new(PullBack::new(Arc::new(map), inner).unwrap())
            }
            Tree::Sum(all) => Arc::new(Sum::new(parts(all)).unwrap()),
            Tree::SoftMin(sharpness, all) => Arc::new(SoftMin::new(parts(all), *sharpness).unwrap()),
            Tree::Frozen(t) => Arc::new(Frozen::new(t.energy(dtype, scale))),
        }
    }
}

fn normal(name: &str, dtype: DType) -> Tensor {
    let rows = Chains::range(0, 2);
    Key::root(7).at(name).normal(&rows, &SHAPE, DType::F32, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
}

/// Slope, Hessian-vector product and mixed derivative of f32, as shares of their size off those of f64.
fn single_off(tree: &Tree, scale: f64) -> f64 {
    let all = |dtype: DType| {
        let (e, at, v) =
            (tree.energy(dtype, scale), Batch::new(normal("x", dtype)).unwrap(), normal("v", dtype));
        let list =
            |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let grads = |g: ThetaGrad| g.grads.values().map(list).collect::<Vec<_>>();
        [
            vec![list(&e.slope(&at).unwrap().grad)],
            vec![list(&e.hvp(&at, &v).unwrap())],
            grads(e.grad_theta_slope(&at, &v).unwrap()),
            grads(e.grad_theta(&at, &WeightFn::ones()).unwrap()),
        ]
    };
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
    let mut worst = 0f64;
    for (single, double) in all(DType::F32).iter().zip(&all(DType::F64)) {
        assert_eq!(single.len(), double.len());
        // A parameter that moves next to nothing consists of the roundings of the others.
        let floor = 1e-3 * norm(&mut double.iter().flatten().copied());
        for (a, b) in single.iter().zip(double) {
            let off = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
            // A part without a share has slopes that f64 still has and f32 has no numbers for.
            let size = norm(&mut b.iter().copied()).max(floor).max(1e-30);
            worst = worst.max(if off == 0.0 { 0.0 } else { off / size });
        }
    }
    worst
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ebm_testkit::cases(12)))]
    #[test]
    fn random_compositions_have_exact_derivatives(tree in trees()) {
        let at = Batch::new(normal("x", DType::F64)).unwrap();
        if let Err(e) = check_energy(&*tree.energy(DType::F64, 4.0), &at) {
            prop_assert!(false, "{e}");
        }
    }

    /// Weights so large that functions are in their tails and one part has all of the share. Entries of order hundred, rounded at
    /// 2⁻²⁴, move exponents by 1e-5; a formula that cancels loses all digits.
    #[test]
    fn saturated_compositions_keep_their_digits_in_f32(tree in trees(), scale in 2f64..12.0) {
        let off = single_off(&tree, scale);
        prop_assert!(off < 3e-3, "off by {off:.1e}");
    }
}
