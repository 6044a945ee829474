//! Draws of chains with their statistics as a file of NumPy, under the names of ArviZ.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::DType;
use ebm_core::{EnergyFn, Probe, Stepped, host};
use ebm_data::npy::NpyValues;
use ebm_data::npz::{self, Named};

use crate::error::{Error, Result};

/// Numbers of all draws that are kept at most: 1 GiB in f64.
const MOST: usize = 1 << 27;

/// Statistics of a draw, at most as many as any step tells.
const TOLD: usize = 16;

/// The name of the samples in the file.
const SAMPLES: &str = "x";

/// What a step says of itself, the name that ArviZ has for it, and how it is stored.
const NAMES: [(&str, &str, Stored); 6] = [
    ("accepted", "acceptance_rate", Stored::Number),
    ("divergent", "diverging", Stored::Truth),
    ("tree_depth", "tree_depth", Stored::Whole),
    ("leapfrogs", "n_steps", Stored::Whole),
    ("cut", "reached_max_treedepth", Stored::Truth),
    // The potential energy and that of the momentum; minus the first alone is `lp`.
    ("hamiltonian", "energy", Stored::Number),
];

/// Of these a step says what has another name or meaning in the file.
const LEFT_OUT: [&str; 2] = ["energy", "energy_error"];

#[derive(Clone, Copy)]
enum Stored {
    Number,
    Whole,
    Truth,
}

/// Keeps the states of chains at every `thin`-th step after `warm_up`, with what the steps say of themselves.
pub(crate) struct Draws<'a> {
    energy: &'a dyn EnergyFn,
    shape: Vec<usize>,
    single: bool,
    chains: usize,
    count: usize,
    warm_up: usize,
    thin: usize,
    x: Vec<f64>,
    stats: BTreeMap<String, Vec<f64>>,
    /// States that were kept.
    seen: usize,
}

impl<'a> Draws<'a> {
    /// For `chains` chains of `energy` with `count` draws each, the first after `warm_up` steps.
    ///
    /// # Errors
    /// If they do not fit in memory.
    pub fn new(
        energy: &'a dyn EnergyFn,
        dtype: DType,
        (chains, count): (usize, usize),
        (warm_up, thin): (usize, usize),
    ) -> Result<Self> {
        let shape = energy.spec().sample_shape.clone();
        let width = shape.iter().product::<usize>();
        let product = |w: usize| chains.checked_mul(count)?.checked_mul(w);
        let fits = product(width + TOLD).is_some_and(|n| n <= MOST);
        let Some(all) = product(width).filter(|_| fits) else {
            let wanted = format!(
                "fewer chains or steps: at most {MOST} numbers are kept, of {chains} chains of {count} draws of shape {shape:?}"
            );
            return Err(Error::unfit("draws", wanted));
        };
        let x = vec![f64::NAN; all];
        let single = dtype != DType::F64;
        let stats = BTreeMap::new();
        Ok(Draws { energy, shape, single, chains, count, warm_up, thin: thin.max(1), x, stats, seen: 0 })
    }

    /// Takes the state after step `index` of the program, if it is one to keep.
    pub fn take(&mut self, index: usize, step: &Stepped) -> ebm_core::Result<()> {
        let Some(after) = index.checked_sub(self.warm_up) else { return Ok(()) };
        let draw = after / self.thin;
        if (after + 1) % self.thin != 0 || draw >= self.count {
            return Ok(());
        }
        let at = &step.state.at;
        // The cache of a state is of its position, where a kernel keeps one.
        let energies = match &step.state.cache {
            Some(slope) => host::numbers(&slope.energy)?,
            None => host::numbers(&self.energy.energy(at)?)?,
        };
        let x = host::numbers(&at.x.flatten_all()?)?;
        let width = self.shape.iter().product::<usize>();
        let mut stats: Vec<(String, Vec<f64>)> =
            vec![("lp".into(), energies.into_iter().map(|e| -e).collect())];
        for (name, told) in &step.info {
            let known = NAMES.iter().find(|n| n.0 == *name).map(|n| n.1);
            if !LEFT_OUT.contains(name) {
                stats.push((known.unwrap_or(name).to_string(), host::numbers(told)?));
            }
        }
        for (row, id) in at.chains.ids().iter().enumerate() {
            let Some(chain) = usize::try_from(*id).ok().filter(|c| *c < self.chains) else { continue };
            let place = chain * self.count + draw;
            let (to, from) = (place * width..(place + 1) * width, row * width..(row + 1) * width);
            if let (Some(to), Some(from)) = (self.x.get_mut(to), x.get(from)) {
                to.copy_from_slice(from);
                self.seen += 1;
            }
            for (name, told) in &stats {
                // One number a row, or one for all rows.
                let Some(value) = told.get(row).or(told.last()) else { continue };
                let all = self.stats.entry(name.clone());
                let all = all.or_insert_with(|| vec![f64::NAN; self.chains * self.count]);
                all[place] = *value;
            }
        }
        Ok(())
    }

    /// Writes what was kept.
    ///
    /// # Errors
    /// If the program did not show each of its steps, or the file cannot be written.
    pub fn write(self, path: &Path) -> Result<()> {
        let wanted = self.chains * self.count;
        if self.seen != wanted {
            let what = format!(
                "showed {} of {wanted} states, wanted a program of single steps, such as `chain`",
                self.seen
            );
            return Err(Error::unfit("the generation program", what));
        }
        let dims = vec![self.chains, self.count];
        let of = |name: &str, values, dims| Named { name: name.to_string(), values, dims };
        let x = match self.single {
            true => NpyValues::F32(self.x.into_iter().map(|v| v as f32).collect()),
            false => NpyValues::F64(self.x),
        };
        let mut arrays = vec![of(SAMPLES, x, [&dims[..], &self.shape].concat())];
        for (name, told) in self.stats {
            // A statistic that only some draws have is none of them all.
            if told.iter().any(|v| v.is_nan()) {
                continue;
            }
            let stored = NAMES.iter().find(|n| n.1 == name).map_or(Stored::Number, |n| n.2);
            let values = match stored {
                Stored::Number => NpyValues::F64(told),
                Stored::Whole => NpyValues::I64(told.into_iter().map(|v| v as i64).collect()),
                Stored::Truth => NpyValues::Bool(told.into_iter().map(|v| u8::from(v > 0.0)).collect()),
            };
            arrays.push(of(&name, values, dims.clone()));
        }
        Ok(npz::write(path, &arrays)?)
    }
}

/// Draws that are kept beside a probe that looks at what it likes.
pub(crate) struct Kept<'a, 'b> {
    inner: &'a mut dyn Probe,
    draws: Option<Draws<'b>>,
}

impl<'a, 'b> Kept<'a, 'b> {
    pub fn beside(inner: &'a mut dyn Probe, draws: Option<Draws<'b>>) -> Self {
        Kept { inner, draws }
    }

    /// What was kept, if anything was to be.
    pub fn draws(self) -> Option<Draws<'b>> {
        self.draws
    }
}

impl Probe for Kept<'_, '_> {
    fn on_step(&mut self, index: usize, step: &Stepped) -> ebm_core::Result<()> {
        if let Some(draws) = &mut self.draws {
            draws.take(index, step)?;
        }
        self.inner.on_step(index, step)
    }

    fn wants_steps(&self) -> bool {
        self.draws.is_some() || self.inner.wants_steps()
    }
}

/// Checks what a file's name ends in.
pub(crate) fn ending(setting: &'static str, path: &Path, ending: &str) -> Result<()> {
    match path.extension().and_then(|e| e.to_str()) == Some(ending) {
        true => Ok(()),
        false => Err(Error::invalid(setting, path.display(), format!("a file ending in .{ending}"))),
    }
}
