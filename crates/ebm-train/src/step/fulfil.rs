//! Fulfils demands: merges those that can share a pass and adds up their gradients.
//!
//! Demands are linear in their gradients, so those on the same batch add their weights, and
//! different batches of one shape are laid end to end in one call.

use std::collections::BTreeMap;
use std::ops::Range;

use ebm_core::candle::Tensor;
use ebm_core::{Batch, Demand, EnergyFn, Error, OwnFn, Result, TermName, ThetaGrad, ValueFn, WeightFn, What};

/// Before the names of the objective's own parameters, wherever they stand beside those of the energy.
pub(crate) const OBJECTIVE: &str = "objective";

/// Gradients of all demands together, and what the passes showed.
pub struct Fulfilled {
    /// Sum of the gradients by parameter; those of the objective are `objective.<name>`.
    pub grads: BTreeMap<String, Tensor>,
    /// Terms `(B, T)` by the name of the batch (`data`, `samples`).
    pub terms: BTreeMap<&'static str, Tensor>,
    /// Values of the loss terms that demands carry, by label.
    pub values: BTreeMap<TermName, f64>,
    /// Numbers of the report beside them, by name.
    pub measures: BTreeMap<String, f64>,
}

/// One `Energy` demand's functions.
type Functions<'d> = (&'d TermName, &'d WeightFn<'static>, &'d ValueFn);

/// Demands that see the energies of one batch.
struct Group<'d> {
    rows: &'static str,
    at: &'d Batch,
    demands: Vec<Functions<'d>>,
    /// Gradients in the objective's own parameters.
    own: Vec<(&'d TermName, &'d OwnFn)>,
    measures: Vec<(String, &'d ValueFn)>,
}

/// The group of `rows` at `at`, new if there is none yet.
fn group<'a, 'd>(groups: &'a mut Vec<Group<'d>>, rows: &'static str, at: &'d Batch) -> &'a mut Group<'d> {
    let found = groups.iter().position(|g| g.rows == rows && same_batch(g.at, at));
    let place = found.unwrap_or_else(|| {
        groups.push(Group { rows, at, demands: Vec::new(), own: Vec::new(), measures: Vec::new() });
        groups.len() - 1
    });
    &mut groups[place]
}

/// Whether two batches are the same rows under the same condition.
fn same_batch(a: &Batch, b: &Batch) -> bool {
    same(&a.x, &b.x)
        && match (&a.cond, &b.cond) {
            (None, None) => true,
            (Some(a), Some(b)) => same(a, b),
            _ => false,
        }
}

/// Whether two batches can be laid end to end.
fn fit(a: &Batch, b: &Batch) -> bool {
    a.sample_shape() == b.sample_shape()
        && a.dtype() == b.dtype()
        && a.cond.as_ref().map(|c| &c.dims()[1..]) == b.cond.as_ref().map(|c| &c.dims()[1..])
}

/// Splits `all` into runs of batches that can be laid end to end, each non-empty.
fn alike<T>(all: &[T], at: impl Fn(&T) -> &Batch) -> Vec<Vec<&T>> {
    let mut sets: Vec<Vec<&T>> = Vec::new();
    for item in all.iter().filter(|i| !at(i).is_empty()) {
        match sets.iter_mut().find(|s| fit(at(s[0]), at(item))) {
            Some(set) => set.push(item),
            None => sets.push(vec![item]),
        }
    }
    sets
}

/// Numbers in the samples of one pass over several batches, at most. Small batches gain from a common pass; a pass over
/// the large ones of a long trail would keep the activations of all its steps at once.
const PASS: usize = 1 << 17;

/// Splits `set` into neighbours that have at most [`PASS`] numbers together, or are one.
fn pieces<T>(set: &[T], at: impl Fn(&T) -> &Batch) -> Vec<&[T]> {
    let (mut all, mut from, mut size) = (Vec::new(), 0, 0);
    for (i, item) in set.iter().enumerate() {
        let own = at(item).x.elem_count();
        if i > from && size + own > PASS {
            all.push(&set[from..i]);
            (from, size) = (i, 0);
        }
        size += own;
    }
    if from < set.len() {
        all.push(&set[from..]);
    }
    all
}

/// One batch from several; no copy if there is only one.
fn joined(parts: &[&Batch]) -> Result<Batch> {
    match parts {
        [one] => Ok((*one).clone()),
        many => Batch::cat(many),
    }
}

/// Fulfils `demands` on `energy`.
///
/// # Errors
/// If the energy fails, or a weight has another shape than the terms (the message names the loss term).
pub fn fulfil<'d>(energy: &dyn EnergyFn, demands: impl IntoIterator<Item = &'d Demand>) -> Result<Fulfilled> {
    let (grads, terms, values) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut out = Fulfilled { grads, terms, values, measures: BTreeMap::new() };
    let mut groups: Vec<Group<'d>> = Vec::new();
    let mut slopes: Vec<(&'d Batch, Tensor)> = Vec::new();
    for Demand { label, what } in demands {
        match what {
            What::Energy { rows, at, weight, value } => {
                group(&mut groups, rows, at).demands.push((label, weight, &**value));
            }
            What::Own { name, rows, at, grad } => group(&mut groups, rows, at).own.push((name, &**grad)),
            What::Measure { name, rows, at, value } => {
                group(&mut groups, rows, at).measures.push((format!("{label}.{name}"), &**value));
            }
            What::Slope { at, v, value } => {
                if v.dims() != at.x.dims() {
                    let want = format!("{:?} like the samples", at.x.dims());
                    let hint = "give one direction for each sample";
                    return Err(Error::shape(format!("direction of `{label}`"), v.dims(), want, hint));
                }
                *out.values.entry(label.clone()).or_insert(0.0) += value;
                match slopes.iter_mut().find(|(b, _)| same_batch(b, at)) {
                    Some((_, sum)) => *sum = (&*sum + v)?,
                    None => slopes.push((at, v.clone())),
                }
            }
        }
    }
    let mut total: Option<ThetaGrad> = None;
    let (weighed, seen): (Vec<_>, Vec<_>) = groups.into_iter().partition(|g| !g.demands.is_empty());
    for set in alike(&weighed, |g| g.at) {
        let pass = energies(energy, &set, &mut out)?;
        add(&mut total, pass)?;
    }
    for g in seen.iter().filter(|g| !g.at.is_empty()) {
        shown(g, energy.terms(g.at)?, &mut out)?;
    }
    for set in alike(&slopes, |s| s.0).iter().flat_map(|set| pieces(set, |s| s.0)) {
        let at = joined(&set.iter().map(|s| s.0).collect::<Vec<_>>())?;
        let v = match set {
            [one] => one.1.clone(),
            many => Tensor::cat(&many.iter().map(|s| &s.1).collect::<Vec<_>>(), 0)?,
        };
        add(&mut total, energy.grad_theta_slope(&at, &v)?)?;
    }
    if let Some(total) = total {
        out.grads.extend(total.grads);
    }
    Ok(out)
}

/// One `grad_theta` pass over batches laid end to end.
fn energies(energy: &dyn EnergyFn, set: &[&Group<'_>], out: &mut Fulfilled) -> Result<ThetaGrad> {
    let at = joined(&set.iter().map(|g| g.at).collect::<Vec<_>>())?;
    let weights = |rows: Range<usize>, terms: &Tensor| -> Result<Tensor> {
        let mut parts = Vec::with_capacity(set.len());
        let mut start = 0;
        for g in set {
            // The rows of the group among those asked for, counted from its first.
            let first = rows.start.clamp(start, start + g.at.len()) - start;
            let end = rows.end.clamp(start, start + g.at.len()) - start;
            if first < end {
                let own = terms.narrow(0, start + first - rows.start, end - first)?;
                parts.push(weight_of(g, first..end, &own)?);
            }
            start += g.at.len();
        }
        match &parts[..] {
            [one] => Ok(one.clone()),
            many => Ok(Tensor::cat(many, 0)?),
        }
    };
    let by_row = set.iter().all(|g| g.demands.iter().all(|(_, weight, _)| weight.is_by_row()));
    let pass = energy.grad_theta(
        &at,
        &match by_row {
            true => WeightFn::by_row(weights),
            false => WeightFn::of_all(|terms| weights(0..terms.dim(0)?, terms)),
        },
    )?;
    let mut start = 0;
    for g in set {
        let own = pass.terms.narrow(0, start, g.at.len())?;
        start += g.at.len();
        shown(g, own, out)?;
    }
    Ok(pass)
}

/// What the terms `(B, T)` of a group's batch give besides gradients in the parameters of the energy.
fn shown(g: &Group<'_>, terms: Tensor, out: &mut Fulfilled) -> Result<()> {
    for (label, _, value) in &g.demands {
        *out.values.entry((*label).clone()).or_insert(0.0) += value(&terms)?;
    }
    for (name, value) in &g.measures {
        *out.measures.entry(name.clone()).or_insert(0.0) += value(&terms)?;
    }
    for (name, grad) in &g.own {
        let (name, grad) = (format!("{OBJECTIVE}.{name}"), grad(&terms)?);
        let sum = match out.grads.get(&name) {
            Some(sum) => (sum + grad)?,
            None => grad,
        };
        out.grads.insert(name, sum);
    }
    out.terms.entry(g.rows).or_insert(terms);
    Ok(())
}

/// Sum of the weights of a group's demands for some of its rows, `(rows, T)`; all rows if a demand's weights look at all of them.
fn weight_of(g: &Group<'_>, rows: Range<usize>, terms: &Tensor) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (label, weight, _) in &g.demands {
        let w = match weight {
            WeightFn::ByRow(f) => f(rows.clone(), terms)?,
            WeightFn::OfAll(f) => f(terms)?,
        };
        if w.dims() != terms.dims() {
            let want = format!("{:?} like the terms", terms.dims());
            let hint = "the objective must weigh every sample and term";
            return Err(Error::shape(format!("weight of `{label}`"), w.dims(), want, hint));
        }
        sum = Some(match sum {
            Some(s) => (s + w)?,
            None => w,
        });
    }
    match sum {
        Some(s) => Ok(s),
        None => Ok(terms.zeros_like()?),
    }
}

fn add(total: &mut Option<ThetaGrad>, pass: ThetaGrad) -> Result<()> {
    match total {
        Some(t) => t.accumulate(&pass.grads, 1.0),
        None => {
            *total = Some(pass);
            Ok(())
        }
    }
}

/// Whether two tensors are the same values in the same memory.
fn same(a: &Tensor, b: &Tensor) -> bool {
    if a.id() == b.id() {
        return true;
    }
    if a.dims() != b.dims() || a.dtype() != b.dtype() {
        return false;
    }
    let ((s, k), (t, l)) = (a.storage_and_layout(), b.storage_and_layout());
    std::ptr::eq(&*s, &*t) && k.start_offset() == l.start_offset() && k.stride() == l.stride()
}

#[cfg(test)]
mod tests {
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
    /// With the form of the weights that it was asked with last.
    struct Counted(Autograd<Net>, AtomicUsize, AtomicUsize, AtomicBool);
    impl EnergyFn for Counted {
        fn spec(&self) -> &EnergySpec {
            self.0.spec()
        }
        fn params(&self) -> &ParamSet {
            self.0.params()
        }
        fn terms(&self, at: &Batch) -> Result<Tensor> {
            self.0.terms(at)
        }
        fn slope(&self, at: &Batch) -> Result<Slope> {
            self.0.slope(at)
        }
        fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.3.store(w.is_by_row(), Ordering::Relaxed);
            self.0.grad_theta(at, w)
        }
        fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
            self.2.fetch_add(1, Ordering::Relaxed);
            self.0.grad_theta_slope(at, v)
        }
        fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
            self.0.hvp(at, v)
        }
    }

    fn energy() -> Counted {
        let w = Tensor::new(&[[0.3f64, -0.7], [1.1, 0.2]], &Device::Cpu).unwrap();
        let params = ParamSet::new([("w".to_string(), w, Role::Trainable)]).unwrap();
        let net = Autograd::new("net", Net, EnergySpec::new(&[2], &["e"]), params);
        Counted(net, AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false))
    }

    fn batch<const N: usize>(rows: &[[f64; 2]; N]) -> Batch {
        Batch::new(Tensor::new(rows, &Device::Cpu).unwrap()).unwrap()
    }

    fn demands() -> (Demands, Batch, Batch) {
        let (data, samples) =
            (batch(&[[0.1, 0.4], [0.9, -0.3], [0.2, 0.2]]), batch(&[[1.0, 0.5], [-0.4, 0.6]]));
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
        assert_eq!((e.1.load(Ordering::Relaxed), e.2.load(Ordering::Relaxed)), (1, 1));
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
        assert_eq!((e.1.load(Ordering::Relaxed), e.2.load(Ordering::Relaxed)), (0, 4));
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
        /// Asks for three rows at a time.
        struct Parts(Counted);
        impl EnergyFn for Parts {
            fn spec(&self) -> &EnergySpec {
                self.0.spec()
            }
            fn params(&self) -> &ParamSet {
                self.0.params()
            }
            fn terms(&self, at: &Batch) -> Result<Tensor> {
                self.0.terms(at)
            }
            fn slope(&self, at: &Batch) -> Result<Slope> {
                self.0.slope(at)
            }
            fn grad_theta(&self, at: &Batch, w: &WeightFn<'_>) -> Result<ThetaGrad> {
                let WeightFn::ByRow(w) = w else { panic!("not by row") };
                self.0.grad_theta(
                    at,
                    &WeightFn::of_all(|terms| {
                        let part = |from: usize| {
                            let n = 3.min(at.len() - from);
                            w(from..from + n, &terms.narrow(0, from, n)?)
                        };
                        let parts = (0..at.len()).step_by(3).map(part).collect::<Result<Vec<_>>>()?;
                        Ok(Tensor::cat(&parts, 0)?)
                    }),
                )
            }
            fn grad_theta_slope(&self, at: &Batch, v: &Tensor) -> Result<ThetaGrad> {
                self.0.grad_theta_slope(at, v)
            }
            fn hvp(&self, at: &Batch, v: &Tensor) -> Result<Tensor> {
                self.0.hvp(at, v)
            }
        }
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
        let parts = fulfil(&Parts(energy()), &list).unwrap();
        let whole = energy();
        let all = fulfil(&whole, &list).unwrap();
        assert!(whole.3.load(Ordering::Relaxed), "all demands are by row");
        let bits = |f: &Fulfilled| f.grads["w"].to_vec2::<f64>().unwrap();
        assert_eq!(bits(&parts), bits(&all));
        // One demand that looks at all rows makes the whole pass such a one.
        let mut d = Demands::default();
        d.energy_by_row("a", "one", &one, |_, t| Ok(t.ones_like()?), |_| Ok(0.0));
        d.energy("b", "two", &two, |t| Ok(t.ones_like()?), |_| Ok(0.0));
        fulfil(&whole, &d.list).unwrap();
        assert!(!whole.3.load(Ordering::Relaxed));
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
        assert_eq!((e.1.load(Ordering::Relaxed), e.2.load(Ordering::Relaxed)), (1, 1), "no pass of its own");
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
}
