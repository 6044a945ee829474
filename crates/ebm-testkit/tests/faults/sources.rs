//! Data sources: points on a line, with one line wrong.

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Batch, Chains, DataSource, Domain, Key, Labelled, Result, Split};
use ebm_testkit::{Verdict, laws};

use crate::{Planted, planted};

const TRAIN: usize = 40;

struct Line(&'static str);

impl Line {
    fn points(&self, split: Split) -> Vec<f32> {
        let first = if split == Split::Train || self.0 == "splits" { 0 } else { TRAIN };
        let n = if split == Split::Train { TRAIN } else { 10 };
        (first..first + n).map(|i| (i as f32 * 0.618).fract()).collect()
    }
}

impl DataSource for Line {
    fn len(&self) -> usize {
        TRAIN
    }
    fn sample_shape(&self) -> &[usize] {
        &[2]
    }
    fn condition(&self) -> usize {
        if self.0 == "condition" { 3 } else { 0 }
    }
    fn batch(&self, epoch: u64, index: usize, size: usize, key: Key) -> Result<Batch> {
        let points = self.points(Split::Train);
        let key = match self.0 {
            "clock" => Key::root(1).at(format!("{:?}", std::time::Instant::now()).as_str()),
            "key" => Key::root(1),
            _ => key.at(epoch),
        };
        let order = key.permutation(TRAIN);
        let place = |k: usize| (index * size + k) % TRAIN;
        let some: Vec<f32> = (0..size).map(|k| points[order[place(k)]]).collect();
        let some = match self.0 {
            "range" => some.into_iter().map(|v| 1.2 * v).collect(),
            "nan" => some.into_iter().enumerate().map(|(k, v)| if k == 1 { f32::NAN } else { v }).collect(),
            _ => some,
        };
        let both: Vec<f32> = some.iter().flat_map(|v| [*v, 1.0 - v.min(1.0)]).collect();
        let x = Tensor::from_vec(both, (size, 2), &Device::Cpu)?;
        let x = if self.0 == "shape" { x.unsqueeze(1)? } else { x };
        let x = if self.0 == "discrete" { x.affine(0.5, 0.1)? } else { x };
        let ids = (0..size)
            .map(|k| match self.0 {
                // The sample, not the place in the epoch.
                "samples" => order[place(k)] as u64,
                "wraps" => place(k) as u64,
                "repeat" => k as u64,
                _ => (index * size + k) as u64,
            })
            .collect();
        Ok(Batch::new(x)?.with_chains(Chains::from_ids(ids)))
    }
    fn rows(
        &self,
        epoch: u64,
        index: usize,
        size: usize,
        first: usize,
        count: usize,
        key: Key,
    ) -> Result<Batch> {
        let first = if self.0 == "rows" { 0 } else { first };
        self.batch(epoch, index, size, key)?.narrow(first, count)
    }
    fn stored(&self, split: Split, limit: usize) -> Result<Option<Labelled>> {
        let points = self.points(split);
        let n = if self.0 == "limit" { points.len() } else { points.len().min(limit) };
        let both: Vec<f32> = points[..n].iter().flat_map(|v| [*v, 1.0 - v]).collect();
        let labels = (self.0 == "labels").then(|| vec![0; 2]);
        Ok(Some(Labelled { x: Tensor::from_vec(both, (n, 2), &Device::Cpu)?, labels }))
    }
    fn held_out(&self) -> Result<usize> {
        Ok(if self.0 == "count" { 0 } else { 10 })
    }
    fn range(&self) -> Option<(f64, f64)> {
        Some((0.0, 1.0))
    }
    fn domain(&self) -> Domain {
        if self.0 == "discrete" { Domain::Binary } else { Domain::Box(0.0, 1.0) }
    }
    fn name(&self) -> String {
        "line".into()
    }
}

fn line(what: &'static str) -> Verdict {
    laws::source(&Line(what))
}

pub(crate) fn all() -> Vec<Planted> {
    let p = |fault, says, run: fn() -> Verdict| planted("data", fault, says, run);
    vec![
        p("sound line", "", || line("")),
        p("order by the clock", "gave another batch", || line("clock")),
        p("neither key nor epoch in the order", "neither another key", || line("key")),
        p("chains are numbers of samples", "chains are", || line("samples")),
        p("chains repeat in every batch", "chains are", || line("repeat")),
        p("chains share their number where the batch is larger than the set", "chains do not", || {
            line("wraps")
        }),
        p("rows of a part are the first", "rows of a batch", || line("rows")),
        p("held-out samples are those of training", "the splits are one", || line("splits")),
        p("values outside of the range", "outside of", || line("range")),
        p("a value that is none", "outside of", || line("nan")),
        p("a batch of another shape", "a batch has shape", || line("shape")),
        p("a condition stated and not given", "conditions have length", || line("condition")),
        p("more stored than asked for", "asked for 3", || line("limit")),
        p("labels of two samples", "labels are not one", || line("labels")),
        p("held-out samples miscounted", "held-out samples, but stores", || line("count")),
        p("values outside of the domain", "none of its domain", || line("discrete")),
    ]
}
