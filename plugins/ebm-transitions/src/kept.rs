//! What a transition keeps by row, for one that only some of the rows take at a time.

use std::collections::BTreeMap;

use ebm_core::candle::Tensor;
use ebm_core::{Result, Transition, host};

/// Entries of a chain's state by name, without the name of the transition they belong to.
type Aux = BTreeMap<String, Tensor>;

/// The entry with 1 for each row that took the transition before.
const TAKEN: &str = "taken";

/// How what one transition keeps is shared out among `rows` rows: momenta, but not what outlives a program, such as step sizes.
pub(crate) struct Kept {
    carried: Vec<String>,
    rows: usize,
}

impl Kept {
    pub(crate) fn of(transition: &dyn Transition, rows: usize) -> Self {
        Kept { carried: transition.carried(), rows }
    }

    fn by_row(&self, name: &str, t: &Tensor, rows: usize) -> bool {
        t.dims().first() == Some(&rows) && name != TAKEN && !self.carried.iter().any(|c| c == name)
    }

    fn taken(&self, aux: &Aux) -> Result<Vec<bool>> {
        match aux.get(TAKEN) {
            Some(t) if t.dims() == [self.rows] => {
                Ok(host::numbers(t)?.into_iter().map(|v| v != 0.0).collect())
            }
            _ => Ok(vec![false; self.rows]),
        }
    }

    /// Of the rows `mine` those that took it before and those that did not, if it matters, each with what it keeps for them.
    pub(crate) fn parts(&self, aux: &Aux, mine: &[u32]) -> Result<Vec<(Vec<u32>, Aux)>> {
        if !aux.iter().any(|(name, t)| self.by_row(name, t, self.rows)) {
            return Ok(vec![(mine.to_vec(), aux.clone())]);
        }
        let taken = self.taken(aux)?;
        let mut parts = Vec::new();
        for before in [true, false] {
            let of: Vec<u32> = mine.iter().copied().filter(|row| taken[*row as usize] == before).collect();
            if of.is_empty() {
                continue;
            }
            let mut own = Aux::new();
            for (name, t) in aux.iter().filter(|(name, _)| *name != TAKEN) {
                if !self.by_row(name, t, self.rows) {
                    own.insert(name.clone(), t.clone());
                } else if before {
                    let index = Tensor::from_slice(&of, of.len(), t.device())?;
                    own.insert(name.clone(), t.index_select(&index, 0)?);
                }
            }
            parts.push((of, own));
        }
        Ok(parts)
    }

    /// What is kept for all rows after the rows `of` left `own` behind.
    pub(crate) fn joined(&self, aux: &Aux, of: &[u32], own: Aux) -> Result<Aux> {
        let mut place: Vec<u32> = (0u32..).take(self.rows).collect();
        (0u32..).zip(of).for_each(|(k, row)| place[*row as usize] = self.rows as u32 + k);
        let mut all: Aux = aux.clone();
        all.retain(|name, t| own.contains_key(name) || name == TAKEN || self.by_row(name, t, self.rows));
        let mut any = None;
        for (name, t) in own {
            if !self.by_row(&name, &t, of.len()) {
                all.insert(name, t);
                continue;
            }
            let dims = [&[self.rows], &t.dims()[1..]].concat();
            let old = match aux.get(&name) {
                Some(old) if old.dims() == dims => old.clone(),
                _ => Tensor::zeros(dims, t.dtype(), t.device())?,
            };
            let index = Tensor::from_slice(&place, self.rows, t.device())?;
            any = Some(t.device().clone());
            all.insert(name, Tensor::cat(&[&old, &t], 0)?.index_select(&index, 0)?);
        }
        if let Some(device) = any {
            let mut taken = self.taken(aux)?;
            of.iter().for_each(|row| taken[*row as usize] = true);
            let taken: Vec<u8> = taken.into_iter().map(u8::from).collect();
            all.insert(TAKEN.into(), Tensor::from_slice(&taken, self.rows, &device)?);
        }
        Ok(all)
    }
}
