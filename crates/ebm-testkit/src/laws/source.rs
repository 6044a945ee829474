//! Everything that is asked of a data source.

use std::collections::BTreeSet;

use ebm_core::{DataSource, Key, Split};

use super::targets::numbers;
use crate::{Failure, Verdict, check_source};

/// Checks `source`: all of [`check_source`], and
///
/// 1. a batch larger than the set has as many rows as were asked for, each a chain of its own;
/// 2. the key, or at least the epoch, chooses the order of the samples or their noise;
/// 3. held-out samples are others than those of training;
/// 4. values are of the domain that it states, labels are classes, and counts of classes add up to the samples.
///
/// # Errors
/// Names the first law that fails.
pub fn source(source: &dyn DataSource) -> Verdict {
    check_source(source)?;
    let name = source.name();
    let unless =
        |holds: bool, text: &dyn Fn() -> String| Failure::unless(holds, || format!("{name}: {}", text()));
    let key = Key::root(29);
    let size = source.len().min(300) + 3;
    if size > source.len() {
        let at = source.batch(0, 0, size, key).map_err(|e| {
            Failure::new(format!("{name}: a batch of {size} of {} samples: {e}", source.len()))
        })?;
        let ids: BTreeSet<u64> = at.chains.ids().iter().copied().collect();
        unless(at.len() == size && ids.len() == size, &|| {
            format!(
                "a batch of {size} of {} samples has {} rows of {} chains; samples come again, chains do not: they are the places \
                 index·size .. of the epoch, and share their noise if they are alike",
                source.len(),
                at.len(),
                ids.len()
            )
        })?;
    }
    let size = source.len().min(64);
    if size > 1 {
        let one = numbers(&source.batch(0, 0, size, key)?.x)?;
        let others = [(0, Key::root(30)), (1, key)];
        let mut moved = false;
        for (epoch, key) in others {
            moved |= numbers(&source.batch(epoch, 0, size, key)?.x)? != one;
        }
        unless(moved, &|| {
            "neither another key nor another epoch changes the first batch; order and noise come from `key.at(epoch)`".into()
        })?;
    }
    let rows = |split: Split| -> Verdict<Vec<Vec<u64>>> {
        let Some(stored) = source.stored(split, 400)? else { return Ok(Vec::new()) };
        let per: usize = source.sample_shape().iter().product::<usize>().max(1);
        let all = numbers(&stored.x)?;
        Ok(all.chunks(per).map(|row| row.iter().map(|v| v.to_bits()).collect()).collect())
    };
    let train: BTreeSet<Vec<u64>> = rows(Split::Train)?.into_iter().collect();
    let held = rows(Split::HeldOut)?;
    let twins = held.iter().filter(|row| train.contains(*row)).count();
    // Few values or coarse samples repeat by chance; most of a split do not.
    unless(held.len() < 3 || 2 * twins <= held.len(), &|| {
        format!("{twins} of {} held-out samples are among those of training; the splits are one", held.len())
    })?;
    unless(source.held_out()? >= held.len().min(400), &|| {
        format!("states {} held-out samples, but stores {}", source.held_out().unwrap_or(0), held.len())
    })?;
    let batch = source.batch(0, 0, size.max(1), key)?;
    let values: Vec<f32> = numbers(&batch.x)?.into_iter().map(|v| v as f32).collect();
    let outside = source.domain().outside(&values, source.sample_shape().iter().product());
    unless(outside == 0, &|| {
        format!("{outside} values of a batch are none of its domain {:?}", source.domain())
    })?;
    if let (Some(stored), classes @ 1..) = (source.stored(Split::Train, 400)?, source.condition()) {
        let wrong = stored.labels.iter().flatten().find(|l| **l as usize >= classes);
        unless(wrong.is_none(), &|| format!("a label is {wrong:?}, of {classes} classes"))?;
        let counts = source.class_counts()?;
        let total: u64 = counts.iter().sum();
        unless(counts.is_empty() || total == source.len() as u64, &|| {
            format!("counts of classes add up to {total}, it has {} samples", source.len())
        })?;
    }
    Ok(())
}
