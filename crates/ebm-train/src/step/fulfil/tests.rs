//! Demands merged into passes against each of them alone.
#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ebm_core::candle::{Device, IndexOp};
use ebm_core::{Autograd, Demands, Diff, EnergySpec, Forward, ParamSet, Role, Slope, View};

use super::*;

/// E = (w·x)² + c·|x|⁴ with counters of the two calls.
struct Net;
impl Forward for Net {
    fn terms<V: Diff>(&self, p: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
        x.matmul(p.get("w")?)?.square()?.square()?.sum_last()
    }
}
/// Counts what it is asked for.
struct Counted {
    net: Autograd<Net>,
    grads: AtomicUsize,
    grads_of_slopes: AtomicUsize,
    /// The form of the weights that it was asked with last.
    by_row: AtomicBool,
    /// Asks for the weights of so many rows at a time.
    part: Option<usize>,
}

impl EnergyFn for Counted {
    fn spec(&self) -> &EnergySpec {
        self.net.spec()
    }
    fn params(&self) -> &ParamSet {
        self.net.params()
    }
    fn terms(&self, at: &Batch) -> Result<Tensor> {
        self.net.terms(at)
    }
    fn slope(&self, at: &Batch) -> Result<Slope> {
        self.net.slope(at)
    }
    fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
        self.grads.fetch_add(1, Ordering::Relaxed);
        self.by_row.store(w.is_by_row(), Ordering::Relaxed);
        let Some(part) = self.part else { return self.net.grad_theta(at, w) };
        let WeightFn::ByRow(w) = w else { panic!("not by row") };
        let in_parts = WeightFn::of_all(|terms| {
            let of = |from: usize| {
                let n = part.min(at.len() - from);
                w(from..from + n, &terms.narrow(0, from, n)?)
            };
            let parts = (0..at.len()).step_by(part).map(of).collect::<Result<Vec<_>>>()?;
            Ok(Tensor::cat(&parts, 0)?)
        });
        self.net.grad_theta(at, &in_parts)
    }
    fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
        self.grads_of_slopes.fetch_add(1, Ordering::Relaxed);
        self.net.grad_theta_slope(at, v)
    }
    fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
        self.net.hvp(at, v)
    }
}

impl Counted {
    /// Gradients of energies and of slopes so far.
    fn passes(&self) -> (usize, usize) {
        (self.grads.load(Ordering::Relaxed), self.grads_of_slopes.load(Ordering::Relaxed))
    }
}

fn energy() -> Counted {
    let w = Tensor::new(&[[0.3f64, -0.7], [1.1, 0.2]], &Device::Cpu).unwrap();
    let params = ParamSet::new([("w".to_string(), w, Role::Trainable)]).unwrap();
    let net = Autograd::new("net", Net, EnergySpec::new(&[2], &["e"]), params);
    let (grads, grads_of_slopes, by_row) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    Counted { net, grads, grads_of_slopes, by_row, part: None }
}

fn batch<const N: usize>(rows: &[[f64; 2]; N]) -> Batch {
    Batch::new(Tensor::new(rows, &Device::Cpu).unwrap()).unwrap()
}

fn demands() -> (Demands, Batch, Batch) {
    let (data, samples) = (batch(&[[0.1, 0.4], [0.9, -0.3], [0.2, 0.2]]), batch(&[[1.0, 0.5], [-0.4, 0.6]]));
    let mut d = Demands::default();
    let mean = |t: &Tensor| Ok(t.mean_all()?.to_scalar::<f64>()?);
    d.energy("cd", "data", &data, |t| Ok((t.ones_like()? * (1.0 / 3.0))?), mean);
    d.energy("cd", "samples", &samples, |t| Ok((t.ones_like()? * -0.5)?), move |t| Ok(-mean(t)?));
    d.energy(
        "reg",
        "data",
        &data,
        |t| Ok((t * (2.0 / 3.0))?),
        |t| Ok(t.sqr()?.mean_all()?.to_scalar::<f64>()?),
    );
    let v = |v: &[[f64; 2]; 2]| Tensor::new(v, &Device::Cpu).unwrap();
    d.slope("kl", samples.clone(), v(&[[0.1, 0.2], [0.3, -0.4]]), 0.25);
    d.slope("ent", samples.clone(), v(&[[-1.0, 0.5], [0.7, 0.1]]), 1.0);
    let other = batch(&[[0.6, 0.7]]);
    d.slope("kl", other, Tensor::new(&[[0.5f64, 0.5]], &Device::Cpu).unwrap(), 0.5);
    (d, data, samples)
}

#[test]
fn merging_shares_passes_and_changes_nothing() {
    let (e, (d, data, _)) = (energy(), demands());
    let all = fulfil(&e, &d.list).unwrap();
    assert_eq!(e.passes(), (1, 1));
    let mut sum = Tensor::zeros((2, 2), ebm_core::candle::DType::F64, &Device::Cpu).unwrap();
    let mut cd = 0.0;
    for one in &d.list {
        let alone = fulfil(&e, [one]).unwrap();
        sum = (sum + &alone.grads["w"]).unwrap();
        cd += alone.values.get("cd").unwrap_or(&0.0);
    }
    let off = (sum - &all.grads["w"]).unwrap().abs().unwrap().max_all().unwrap();
    // Six gradients of order one added in another order.
    assert!(off.to_scalar::<f64>().unwrap() < 1e-13);
    assert!((all.values["cd"] - cd).abs() < 1e-14);
    assert_eq!((all.values["kl"], all.values["ent"]), (0.75, 1.0), "slopes carry values");
    let terms = e.terms(&data).unwrap();
    let off = (terms - &all.terms["data"]).unwrap().abs().unwrap().max_all().unwrap();
    assert!(off.to_scalar::<f64>().unwrap() < 1e-15);
    assert_eq!(all.terms["samples"].dims(), [2, 1]);
}

/// A trail of many steps must not hold the activations of all of them in one pass.
#[test]
fn large_batches_are_not_laid_together() {
    let e = energy();
    let mut d = Demands::default();
    let n = PASS / 4 + 1;
    for i in 0..5u8 {
        let x = Tensor::arange(0, 2 * n as u32, &Device::Cpu).unwrap().reshape((n, 2)).unwrap();
        let x = (x.to_dtype(ebm_core::candle::DType::F64).unwrap() * (1e-6 * f64::from(i + 1))).unwrap();
        let at = Batch::new(x).unwrap().narrow(0, if i == 4 { 3 } else { n }).unwrap();
        let v = (at.x.ones_like().unwrap() * f64::from(i)).unwrap();
        d.slope("kl", at, v, 0.0);
    }
    let all = fulfil(&e, &d.list).unwrap();
    // Four of more than half a pass each; the small last one goes with the fourth.
    assert_eq!(e.passes(), (0, 4));
    let mut sum = all.grads["w"].zeros_like().unwrap();
    for one in &d.list {
        sum = (sum + &fulfil(&e, [one]).unwrap().grads["w"]).unwrap();
    }
    // Sums of some 10⁵ numbers in another order.
    assert!(ebm_testkit::relative_gap(&sum, &all.grads["w"]).unwrap() < 1e-10);
}

/// An engine asks for the weights of parts that begin and end anywhere among the batches that are laid together.
#[test]
fn weights_by_row_are_those_of_the_rows_that_are_asked_for() {
    let (one, two, three) = (
        batch(&[[0.1, 0.4], [0.9, -0.3], [0.2, 0.2], [0.5, -0.1]]),
        batch(&[[1.0, 0.5]]),
        batch(&[[-0.4, 0.6], [0.3, 0.3], [0.8, -0.7], [0.1, 0.1]]),
    );
    let own = |at: &Batch| at.x.narrow(1, 0, 1).unwrap();
    let mut d = Demands::default();
    for (rows, at) in [("one", &one), ("two", &two), ("three", &three)] {
        let (own, again) = (own(at), own(at));
        let weight = move |rows: Range<usize>, t: &Tensor| -> Result<Tensor> {
            Ok((t * 0.3 + own.narrow(0, rows.start, rows.len())?)?)
        };
        d.energy_by_row("a", rows, at, weight, |_| Ok(0.0));
        let weight =
            move |rows: Range<usize>, _: &Tensor| Ok((again.narrow(0, rows.start, rows.len())? * 2.0)?);
        d.energy_by_row("b", rows, at, weight, |_| Ok(0.0));
    }
    let list = d.scaled(0.7).unwrap().list;
    let parts = fulfil(&Counted { part: Some(3), ..energy() }, &list).unwrap();
    let whole = energy();
    let all = fulfil(&whole, &list).unwrap();
    assert!(whole.by_row.load(Ordering::Relaxed), "all demands are by row");
    let bits = |f: &Fulfilled| f.grads["w"].to_vec2::<f64>().unwrap();
    assert_eq!(bits(&parts), bits(&all));
    let rows = Tensor::cat(&[own(&one), own(&two), own(&three)], 0).unwrap();
    let at = Batch::cat(&[&one, &two, &three]).unwrap();
    // What each demand says, without its rows.
    let plain = WeightFn::of_all(|t| Ok(((t * 0.3)? + (&rows * 3.0)?)?.affine(0.7, 0.0)?));
    let plain = whole.grad_theta(&at, &plain).unwrap();
    // Nine weights rounded in another order.
    assert!(ebm_testkit::relative_gap(&plain.grads["w"], &all.grads["w"]).unwrap() < 1e-14);
    // One demand that looks at all rows makes the whole pass such a one.
    let mut d = Demands::default();
    d.energy_by_row("a", "one", &one, |_, t| Ok(t.ones_like()?), |_| Ok(0.0));
    d.energy("b", "two", &two, |t| Ok(t.ones_like()?), |_| Ok(0.0));
    fulfil(&whole, &d.list).unwrap();
    assert!(!whole.by_row.load(Ordering::Relaxed));
}

#[test]
fn a_weight_of_a_wrong_shape_is_named() {
    let e = energy();
    let mut d = Demands::default();
    d.energy("odd", "data", &batch(&[[0.0, 1.0], [1.0, 0.0]]), |t| Ok(t.i(..1)?), |_| Ok(0.0));
    let text = fulfil(&e, &d.list).err().unwrap().to_string();
    assert!(text.contains("weight of `odd`") && text.contains("[2, 1]"), "{text}");
}

#[test]
fn a_parameter_of_the_objective_sees_the_pass_on_its_rows() {
    let (e, (mut d, data, _)) = (energy(), demands());
    d.own("cd", "log_z", "data", &data, |t| Ok(t.sum_all()?));
    let all = fulfil(&e, &d.list).unwrap();
    assert_eq!(e.passes(), (1, 1), "no pass of its own");
    let want = e.terms(&data).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
    let got = all.grads["objective.log_z"].to_scalar::<f64>().unwrap();
    // The same three terms in another pass.
    assert!((got - want).abs() < 1e-14);
    let alone = fulfil(&e, d.list.iter().filter(|d| matches!(d.what, What::Own { .. }))).unwrap();
    assert!((alone.grads["objective.log_z"].to_scalar::<f64>().unwrap() - want).abs() < 1e-14);
    assert_eq!(alone.grads.len(), 1);
}

#[test]
fn nothing_demanded_gives_no_gradient() {
    assert!(fulfil(&energy(), &[]).unwrap().grads.is_empty());
}

#[test]
fn a_view_of_the_same_memory_is_the_same() {
    let a = Tensor::new(&[1.0, 2.0, 3.0, 4.0], &Device::Cpu).unwrap();
    assert!(same(&a.narrow(0, 1, 2).unwrap(), &a.narrow(0, 1, 2).unwrap()));
    assert!(!same(&a.narrow(0, 1, 2).unwrap(), &a.narrow(0, 2, 2).unwrap()));
    assert!(!same(&a, &a.copy().unwrap()));
}
