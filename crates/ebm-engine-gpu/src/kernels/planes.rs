//! The images of a norm and what follows it.

use candle_core::{DType, Result, Tensor};
use ebm_core::operators::NormAct;

use super::args::{count, threads_for};

/// Shape of images in [`NormAct`]: samples, channels, groups, entries of a channel.
pub(super) struct Planes {
    pub samples: usize,
    pub channels: usize,
    pub groups: usize,
    pub space: usize,
}

impl Planes {
    pub fn of(x: &Tensor, what: &NormAct) -> Result<Option<Planes>> {
        let (samples, channels, h, w) = x.dims4()?;
        // Without a norm every channel is a group, so that there are many blocks.
        let groups = what.norm.map_or(channels, |(groups, _)| groups);
        let whole = groups > 0 && channels % groups == 0;
        let each = channels / groups.max(1) * h * w;
        let fits = whole && count(each).is_some() && count(samples * groups).is_some();
        let given = [
            (&what.gain, channels),
            (&what.shift, channels),
            (&what.gain2, samples * channels),
            (&what.shift2, samples * channels),
        ];
        let right = given
            .into_iter()
            .all(|(t, n)| t.as_ref().is_none_or(|t| t.elem_count() == n && t.dtype() == DType::F32));
        let skip = what.skip.as_ref().is_none_or(|t| t.dims() == x.dims() && t.dtype() == DType::F32);
        Ok((fits && right && skip).then_some(Planes { samples, channels, groups, space: h * w }))
    }

    /// The same for passes back.
    pub fn with_gradient(x: &Tensor, what: &NormAct, g: &Tensor) -> Result<Planes> {
        let at = Planes::of(x, what)?.filter(|_| g.dims() == x.dims() && g.dtype() == DType::F32);
        at.ok_or_else(|| {
            candle_core::Error::Msg(format!("norm_act: a gradient {:?} of an image {:?}", g.dims(), x.dims()))
        })
    }

    /// Blocks and threads of a pass with a block a group.
    pub fn by_group(&self) -> (usize, u32) {
        (self.samples * self.groups, threads_for(self.channels / self.groups * self.space))
    }

    /// Of one with a block a channel.
    pub fn by_channel(&self) -> (usize, u32) {
        (self.samples * self.channels, threads_for(self.space))
    }
}
