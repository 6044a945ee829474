//! What the energy of a trained model says: histograms over sets of samples, and its surface over the plane.

use candle_core::{DType, Device, Tensor};
use ebm_core::{Batch, Key, Split};
use ebm_eval::PlaneGrid;

use crate::error::Result;
use crate::model::energies::{on_grid, without_condition};
use crate::model::open::Model;

/// Samples of each set.
const SAMPLES: usize = 512;
/// Bins of a histogram.
const BINS: usize = 60;
/// Name of the set of uniform noise.
const NOISE: &str = "uniform noise";
/// Cells a side of a surface.
const CELLS: usize = 120;

/// Counts of the energies of several sets in common bins.
#[derive(Clone, Debug)]
pub(super) struct Histograms {
    /// What is in them.
    pub title: &'static str,
    /// One more than there are bins; nats.
    pub edges: Vec<f64>,
    /// Name and counts of each set.
    pub sets: Vec<(String, Vec<u64>)>,
}

/// Energies over a square of the plane.
#[derive(Clone, Debug)]
pub(super) struct Surface {
    /// The square is [-half, half]².
    pub half: f64,
    /// Cells a side.
    pub cells: usize,
    /// Of cell (i, j), centre (x₀ᵢ, x₁ⱼ), at i · cells + j; nats.
    pub energies: Vec<f32>,
    /// Points of the data.
    pub data: Vec<[f32; 2]>,
    /// Chains of the replay buffer, if there is one.
    pub chains: Vec<[f32; 2]>,
}

/// Samples whose energies are shown, `(n, ...)` each, as far as they are at hand.
#[derive(Default)]
pub(super) struct Seen {
    training: Option<Tensor>,
    held_out: Option<Tensor>,
    chains: Option<Tensor>,
}

impl Seen {
    /// The data of a run and the chains of its buffer; what cannot be read is a note.
    pub fn of(model: &Model, notes: &mut Vec<String>) -> Self {
        let stored =
            |split| -> Result<Option<Tensor>> { Ok(model.data()?.stored(split, SAMPLES)?.map(|l| l.x)) };
        let data = || -> Result<_> { Ok((stored(Split::Train)?, stored(Split::HeldOut)?)) };
        let (training, held_out) = data().unwrap_or_else(|e| {
            notes.push(format!("Energies of the data are not shown: {e}"));
            (None, None)
        });
        let chains = model.path().map_or(Ok(None), |checkpoint| {
            ebm_train::buffered(checkpoint, SAMPLES, Key::root(0).at("report-chains"))
        });
        let chains = chains.unwrap_or_else(|e| {
            notes.push(format!("Chains of the buffer are not shown: {e}"));
            None
        });
        Seen { training, held_out, chains }
    }
}

/// Histograms of the energies of training data, held-out data and chains of the replay buffer; and, since noise lies
/// far from them where training went well, of all these and noise in wider bins.
pub(super) fn histograms(model: &Model, seen: &Seen) -> Result<Vec<Histograms>> {
    let named = [
        ("training data", &seen.training),
        ("held-out data", &seen.held_out),
        ("replay buffer", &seen.chains),
    ];
    let mut sets: Vec<(&str, Tensor)> =
        named.into_iter().filter_map(|(name, x)| Some((name, x.clone()?))).collect();
    if let (Some((low, high)), Some((_, x))) = (model.facts().range, sets.first()) {
        let key = Key::root(0).at("report-noise");
        let chains = Batch::new(x.clone())?.chains;
        let noise = key.uniform(&chains, &x.dims()[1..], DType::F32, &Device::Cpu)?;
        sets.push((NOISE, noise.affine(high - low, low).map_err(ebm_core::Error::from)?));
    }
    let own = without_condition(model)?;
    let of = model.energies_of(own.as_ref())?;
    let mut energies = Vec::new();
    for (name, x) in &sets {
        energies.push((name.to_string(), of.at(x)?));
    }
    let near = energies.iter().filter(|(name, _)| name != NOISE).cloned().collect();
    let mut all = vec![binned("data and chains", near)];
    if energies.iter().any(|(name, _)| name == NOISE) {
        all.push(binned("with noise", energies));
    }
    Ok(all)
}

/// The energies of sets in common bins between the least and the greatest.
fn binned(title: &'static str, sets: Vec<(String, Vec<f64>)>) -> Histograms {
    let all = || sets.iter().flat_map(|(_, e)| e.iter().copied()).filter(|e| e.is_finite());
    let (low, high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), e| (l.min(e), h.max(e)));
    let (low, high) = match low <= high {
        true if low < high => (low, high),
        true => (low - 0.5, high + 0.5),
        false => (0.0, 1.0),
    };
    let width = (high - low) / BINS as f64;
    let count = |energies: &[f64]| {
        let mut counts = vec![0; BINS];
        for e in energies.iter().filter(|e| e.is_finite()) {
            counts[(((e - low) / width) as usize).min(BINS - 1)] += 1;
        }
        counts
    };
    Histograms {
        title,
        edges: (0..=BINS).map(|i| low + width * i as f64).collect(),
        sets: sets.iter().map(|(name, e)| (name.clone(), count(e))).collect(),
    }
}

/// The surface of an energy of the plane; `None` for other samples.
pub(super) fn surface(model: &Model, seen: &Seen) -> Result<Option<Surface>> {
    if model.sample_shape() != [2] {
        return Ok(None);
    }
    let points = |x: &Option<Tensor>| -> Result<Vec<[f32; 2]>> {
        let Some(x) = x else { return Ok(Vec::new()) };
        let rows = x.to_dtype(DType::F32).and_then(|x| x.to_vec2::<f32>()).map_err(ebm_core::Error::from)?;
        Ok(rows.into_iter().map(|r| [r[0], r[1]]).collect())
    };
    let (data, chains) = (points(&seen.training)?, points(&seen.chains)?);
    let reach = data
        .iter()
        .chain(if data.is_empty() { &chains[..] } else { &[] })
        .flatten()
        .fold(0.0f32, |m, v| m.max(v.abs()));
    let half = f64::from(if reach > 0.0 { 1.2 * reach } else { 4.0 });
    let grid = PlaneGrid::new(half, CELLS)?;
    let own = without_condition(model)?;
    let energies = on_grid(model.energies_of(own.as_ref())?, &grid)?.into_iter().map(|e| e as f32).collect();
    Ok(Some(Surface { half, cells: CELLS, energies, data, chains }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_energy_is_counted_once() {
        let sets = vec![("a".to_string(), vec![0.0, 1.0, 0.5, f64::NAN]), ("b".to_string(), vec![-1.0; 7])];
        let h = binned("sets", sets);
        assert_eq!((h.edges.len(), h.edges[0], h.edges[BINS]), (BINS + 1, -1.0, 1.0));
        assert_eq!(h.sets[0].1.iter().sum::<u64>(), 3);
        assert_eq!((h.sets[1].1[0], h.sets[1].1.iter().sum::<u64>()), (7, 7));
        assert_eq!(binned("one", vec![("one".into(), vec![2.0; 3])]).sets[0].1.iter().sum::<u64>(), 3);
        assert_eq!(binned("none", Vec::new()).sets.len(), 0);
    }
}
