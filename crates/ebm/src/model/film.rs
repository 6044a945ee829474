//! Chains over time, as a strip and as an animation; samples beside their nearest training samples.

use std::path::Path;

use candle_core::{DType, Tensor};
use ebm_core::{Probe, Result as CoreResult, Split, Stepped};
use ebm_draw::picture;
use ebm_eval::{Features, nearest};

use crate::error::{Error, Result};
use crate::model::open::Model;
use crate::tensors::numbers;
use crate::whole_file::replace;

/// Frames that are kept at most: a strip is as wide, an animation as long.
const FRAMES: usize = 24;
/// Chains of a strip.
const ROWS: usize = 8;
/// Training samples that neighbours are looked for among.
const TRAINING: usize = 10_000;
/// Pause between the frames of an animation.
const MILLISECONDS: u32 = 120;

/// Keeps frames of a program, evenly spaced, whatever its length: when there are too many, every other one is dropped.
pub(crate) struct Film {
    wanted: bool,
    progress: Option<fn(u64)>,
    done: u64,
    every: usize,
    /// Steps and positions of each piece of chains.
    pieces: Vec<Vec<(usize, Tensor)>>,
}

impl Film {
    /// Of which frames are kept if they are `wanted`; `progress` hears how many steps were done.
    pub(crate) fn new(wanted: bool, progress: Option<fn(u64)>) -> Self {
        Film { wanted, progress, done: 0, every: 1, pieces: Vec::new() }
    }

    /// The frames of all chains, in order of their steps, which come with them.
    pub(crate) fn frames(self) -> Result<Vec<(usize, Tensor)>> {
        let Some(first) = self.pieces.first() else { return Ok(Vec::new()) };
        let steps: Vec<usize> = first.iter().map(|(k, _)| *k).collect();
        let frame = |k: usize| -> Result<(usize, Tensor)> {
            // Pieces began with the spacing of the one before, or a closer one.
            let parts: Vec<&Tensor> =
                self.pieces.iter().filter_map(|p| p.iter().find(|(i, _)| *i == k)).map(|(_, x)| x).collect();
            Ok((k, Tensor::cat(&parts, 0).map_err(ebm_core::Error::from)?))
        };
        steps.into_iter().map(frame).collect()
    }

    fn thin(&mut self) {
        self.every *= 2;
        for piece in &mut self.pieces {
            // The newest stays, or the end of a program whose length is no multiple would be lost.
            let last = piece.last().map(|(k, _)| *k);
            piece.retain(|(k, _)| k % self.every == 0 || Some(*k) == last);
        }
    }
}

impl Probe for Film {
    fn on_step(&mut self, index: usize, step: &Stepped) -> CoreResult<()> {
        self.done += 1;
        if let Some(progress) = self.progress {
            progress(self.done);
        }
        if !self.wanted {
            return Ok(());
        }
        if index == 0 {
            self.pieces.push(Vec::new());
        }
        let every = self.every;
        let Some(piece) = self.pieces.last_mut() else { return Ok(()) };
        // The last of the frames is always the newest state.
        if piece.last().is_some_and(|(k, _)| k % every != 0) {
            piece.pop();
        }
        piece.push((index, step.state.at.x.clone()));
        if piece.len() > FRAMES {
            self.thin();
        }
        Ok(())
    }

    fn wants_steps(&self) -> bool {
        self.wanted || self.progress.is_some()
    }
}

/// A row for each of the first chains, a column for each frame.
pub(crate) fn strip(frames: &[(usize, Tensor)], path: &Path) -> Result<()> {
    let Some((_, first)) = frames.first() else {
        return Err(Error::invalid("strip", path.display(), "a program with steps to show"));
    };
    let rows = ROWS.min(first.dims()[0]);
    let mut images = Vec::new();
    for row in 0..rows {
        for (_, x) in frames {
            images.push(x.narrow(0, row, 1).map_err(ebm_core::Error::from)?);
        }
    }
    let all = Tensor::cat(&images, 0).map_err(ebm_core::Error::from)?;
    replace(path, &picture::encode_rows(&all, frames.len())?)
}

/// All chains at each frame, one after the other.
pub(crate) fn animate(frames: Vec<(usize, Tensor)>, background: Option<&Tensor>, path: &Path) -> Result<()> {
    let frames: Vec<Tensor> = frames.into_iter().map(|(_, x)| x).collect();
    replace(path, &picture::animate(&frames, background, MILLISECONDS)?)
}

/// How near samples are to the training data.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Copying {
    /// Median Euclidean distance of a sample to the nearest training sample.
    pub samples: f64,
    /// The same of held-out samples, if there are any: what a fresh sample of the data would have.
    pub held_out: Option<f64>,
    /// Share of the samples that are nearer than all but 1 % of the held-out ones: 0.01 is what fresh samples of the data have, much more is
    /// copying.
    pub nearer: Option<f64>,
}

impl Model {
    /// Whether `samples` `(n, ...)` are copies: their distances to the nearest of the first 10,000 training samples, and which
    /// those are.
    ///
    /// # Errors
    /// If the data cannot be read, or there are none as stored.
    pub fn copying(&self, samples: &Tensor) -> Result<(Copying, Tensor)> {
        let data = self.data()?;
        let Some(train) = data.stored(Split::Train, TRAINING)? else {
            return Err(Error::unfit(
                data.name(),
                "has no stored training samples to look for neighbours among",
            ));
        };
        let features = |t: &Tensor| -> Result<Features> {
            let (n, d) = t.flatten_from(1).and_then(|t| t.dims2()).map_err(ebm_core::Error::from)?;
            Ok(Features::new(numbers(t)?, n, d)?)
        };
        let reference = features(&train.x)?;
        let found = nearest(&features(samples)?, &reference)?;
        let rows: Vec<u32> = found.rows.iter().map(|r| *r as u32).collect();
        let index = Tensor::new(rows, train.x.device()).map_err(ebm_core::Error::from)?;
        let images = train.x.index_select(&index, 0).map_err(ebm_core::Error::from)?;
        let mut held = match data.stored(Split::HeldOut, TRAINING)? {
            Some(held) if held.x.dims()[0] >= 100 => nearest(&features(&held.x)?, &reference)?.distances,
            _ => Vec::new(),
        };
        held.sort_by(f64::total_cmp);
        let first = held.get(held.len() / 100).copied();
        let nearer = first.map(|d| {
            found.distances.iter().filter(|x| **x < d).count() as f64 / found.distances.len().max(1) as f64
        });
        let median = crate::median::median;
        let copying =
            Copying { samples: median(found.distances).unwrap_or(f64::NAN), held_out: median(held), nearer };
        Ok((copying, images))
    }
}

/// Every sample with its nearest training sample to the right.
pub(crate) fn neighbours(model: &Model, drawn: &Tensor, path: &Path) -> Result<()> {
    let (copying, images) = model.copying(drawn)?;
    let cpu = |t: &Tensor| t.to_device(&candle_core::Device::Cpu).and_then(|t| t.to_dtype(DType::F32));
    let pairs = cpu(drawn)
        .and_then(|d| Tensor::stack(&[&d, &cpu(&images)?], 1)?.flatten(0, 1))
        .map_err(ebm_core::Error::from)?;
    let columns = 2 * ((drawn.dims()[0] as f64).sqrt() / 1.5).ceil() as usize;
    replace(path, &picture::encode_rows(&pairs, columns.max(2))?)?;
    let held = copying.held_out.map_or(String::new(), |d| format!(", of held-out samples {d:.3}"));
    let nearer = copying.nearer.map_or(String::new(), |n| {
        format!("; {:.1} % are nearer than all but 1 % of the held-out samples", 100.0 * n)
    });
    tracing::info!(
        "nearest training sample: median distance of samples {:.3}{held}{nearer}",
        copying.samples
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::Device;
    use ebm_core::{Batch, ChainState, Link};

    use super::*;

    #[test]
    fn frames_are_evenly_spaced_and_end_at_the_end() {
        for steps in [1, 5, 24, 25, 60, 450, 1001] {
            let mut film = Film::new(true, None);
            for _piece in 0..2 {
                for k in 0..steps {
                    let x = Tensor::full(k as f64, (3, 1), &Device::Cpu).unwrap();
                    let state = ChainState::new(Batch::new(x).unwrap());
                    film.on_step(k, &Stepped::new(state, Link::Identity)).unwrap();
                }
            }
            let frames = film.frames().unwrap();
            let at: Vec<usize> = frames.iter().map(|(k, _)| *k).collect();
            assert!(at.len() <= FRAMES + 1 && at.len() >= steps.min(FRAMES / 2), "{steps}: {at:?}");
            assert_eq!((at[0], at[at.len() - 1]), (0, steps - 1), "{at:?}");
            let gap = at.get(1).copied().unwrap_or(1);
            assert!(at[..at.len() - 1].windows(2).all(|w| w[1] - w[0] == gap), "{at:?}");
            for (k, x) in &frames {
                let values: Vec<f64> = x.flatten_all().unwrap().to_vec1().unwrap();
                assert_eq!(values, vec![*k as f64; 6], "{steps}");
            }
        }
    }
}
