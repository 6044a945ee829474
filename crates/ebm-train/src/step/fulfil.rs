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
        let w = weight.of_rows(rows.clone(), terms)?;
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
mod tests;
