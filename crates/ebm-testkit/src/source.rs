//! The laws of a data source: random access, shapes, range, and what is stored.

use ebm_core::candle::{DType, Tensor};
use ebm_core::{Batch, DataSource, Key, Split};

use crate::difference::relative_gap;
use crate::{Failure, Verdict};

/// Checks a source of training samples:
///
/// 1. batches have the shape and the condition that it states, and chains that are their places in the epoch;
/// 2. a batch is a function of epoch, index and key, in whatever order batches are asked for;
/// 3. rows of a batch are those of the whole batch;
/// 4. values are numbers, within the range if it states one, as drawn and as stored;
/// 5. stored samples are as many as asked at most, have the shape, and a label each if any.
///
/// # Errors
/// Names the first law that fails.
pub fn check_source(source: &dyn DataSource) -> Verdict {
    let name = source.name();
    let unless =
        |holds: bool, text: &dyn Fn() -> String| Failure::unless(holds, || format!("{name}: {}", text()));
    unless(!source.is_empty(), &|| "has no samples".into())?;
    let (size, key) = (source.len().min(5), Key::root(23));
    let count = source.batches(size);
    unless(count >= 1 && count * size <= source.len().max(size), &|| format!("{count} batches of {size}"))?;
    let get = |epoch, index| source.batch(epoch, index, size, key);
    let (first, last) = (get(0, 0)?, get(1, count - 1)?);
    for (at, index) in [(&first, 0), (&last, count - 1)] {
        let mut shape = vec![size];
        shape.extend_from_slice(source.sample_shape());
        unless(at.x.dims() == shape, &|| format!("a batch has shape {:?}, expected {shape:?}", at.x.dims()))?;
        let condition = at.cond.as_ref().map_or(0, |c| c.dims().last().copied().unwrap_or(0));
        unless(condition == source.condition(), &|| {
            format!("conditions have length {condition}, it states {}", source.condition())
        })?;
        let places = (index * size) as u64..((index + 1) * size) as u64;
        unless(at.chains.ids().iter().copied().eq(places), &|| format!("chains are {:?}", at.chains.ids()))?;
        values(source, &at.x).map_err(|e| Failure::new(format!("{name}: a batch {e}")))?;
    }
    unless(same(&first, &get(0, 0)?)? && same(&last, &get(1, count - 1)?)?, &|| {
        "the same epoch, index and key gave another batch".into()
    })?;
    let part = source.rows(1, count - 1, size, size / 2, size - size / 2, key)?;
    unless(same(&part, &last.narrow(size / 2, size - size / 2)?)?, &|| {
        "rows of a batch are not those of the whole batch".into()
    })?;
    for split in [Split::Train, Split::HeldOut] {
        let Some(stored) = source.stored(split, 3)? else {
            unless(split == Split::HeldOut, &|| "stores no training samples".into())?;
            continue;
        };
        let n = stored.x.dims()[0];
        unless(n <= 3 && stored.x.dims()[1..] == *source.sample_shape(), &|| {
            format!("asked for 3 stored samples, got {:?}", stored.x.dims())
        })?;
        unless(stored.labels.as_ref().is_none_or(|l| l.len() == n), &|| {
            "labels are not one a sample".into()
        })?;
        values(source, &stored.x).map_err(|e| Failure::new(format!("{name}: what is stored {e}")))?;
    }
    Ok(())
}

fn same(a: &Batch, b: &Batch) -> Verdict<bool> {
    let cond = match (&a.cond, &b.cond) {
        (Some(a), Some(b)) => relative_gap(a, b)? == 0.0,
        (a, b) => a.is_none() && b.is_none(),
    };
    Ok(cond && a.chains == b.chains && relative_gap(&a.x, &b.x)? == 0.0)
}

fn values(source: &dyn DataSource, x: &Tensor) -> Verdict {
    let all = x.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let (low, high) = source.range().unwrap_or((f64::MIN, f64::MAX));
    match all.iter().find(|v| !(low..=high).contains(*v)) {
        Some(v) => Err(Failure::new(format!("holds {v}, outside of [{low}, {high}]"))),
        None => Ok(()),
    }
}
