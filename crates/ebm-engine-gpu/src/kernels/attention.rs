//! Self attention over the places of an image, whose scores are never written.

use candle_core::{DType, Result, Tensor};
use ebm_core::operators::Parts;

use super::args::{BLOCK, count};
use super::last::{packed, uncovered};
use super::{Kernels, whole};
use crate::launcher::{Arg, Launcher};

// What the tiles of attention.cuh have room for.
const MOST_QUERIES: usize = 32;
const MOST_CHANNELS: usize = 256;
/// Places of a tile.
const TILE: usize = 16;

struct Sizes {
    samples: usize,
    places: usize,
    q: usize,
    channels: usize,
}

impl Sizes {
    /// `None` for what the kernels do not take.
    fn of(image: &Tensor, all: &Tensor, bias: &Tensor, gamma: &Tensor) -> Result<Option<Sizes>> {
        let ((samples, h, w, channels), (b, places, width)) = (image.dims4()?, all.dims3()?);
        let q = width.saturating_sub(channels) / 2;
        let single = [all, bias, gamma].into_iter().all(|t| t.dtype() == DType::F32);
        let right = b == samples && places == h * w && width == 2 * q + channels;
        let given = bias.elem_count() == width && gamma.elem_count() == 1;
        let room = (1..=MOST_QUERIES).contains(&q) && channels <= MOST_CHANNELS && places > 0;
        let small = count(samples * places.div_ceil(TILE)).is_some();
        let image = matches!(image.dtype(), DType::F32 | DType::BF16);
        let fits = single && right && given && room && small && image;
        Ok(fits.then_some(Sizes { samples, places, q, channels }))
    }
}

impl<L: Launcher> Kernels<L> {
    /// # Safety
    /// `more` must be the kernel's last arguments.
    unsafe fn attend(
        &self,
        names: [&'static str; 2],
        (at, low): (&Sizes, bool),
        given: [&Tensor; 3],
        more: &[Arg<'_>],
    ) -> Result<()> {
        let given = given.into_iter().map(whole).collect::<Result<Vec<_>>>()?;
        let mut args: Vec<Arg<'_>> =
            [at.places, at.q, at.channels].map(|n| Arg::U32(n as u32)).into_iter().collect(); // counted in `Sizes::of`
        args.extend(given.iter().map(Arg::In));
        args.extend(more);
        let blocks = at.samples * at.places.div_ceil(TILE);
        // SAFETY: passed on; `Sizes::of` checked what is given.
        unsafe { self.launch(names[usize::from(low)], blocks, BLOCK as u32, &args) }
    }

    pub(super) fn attended(
        &self,
        x: &Tensor,
        all: &Tensor,
        bias: &Tensor,
        gamma: &Tensor,
    ) -> Result<Option<(Tensor, Tensor)>> {
        let Some(at) = Sizes::of(x, all, bias, gamma)? else { return Ok(None) };
        let (x, low) = (packed(x)?, x.dtype() == DType::BF16);
        let (y, kept) = (self.like(&x, x.dims())?, self.empty(&[at.samples, at.places, 3], x.device())?);
        let more = [Arg::In(&x), Arg::Out(&y), Arg::Out(&kept)];
        // SAFETY: y is like x, and there are three places for each row.
        unsafe { self.attend(["attention_f1", "attention_b1"], (&at, low), [all, bias, gamma], &more)? };
        Ok(Some((y, kept)))
    }

    pub(super) fn attended_back(
        &self,
        all: &Tensor,
        bias: &Tensor,
        gamma: &Tensor,
        kept: &Tensor,
        g: Parts<'_>,
    ) -> Result<(Tensor, Tensor)> {
        let like = |t: &Tensor| t.dims() == g.0.dims() && t.dtype() == g.0.dtype();
        let at = Sizes::of(g.0, all, bias, gamma)?.filter(|_| g.1.is_none_or(like));
        let at = at.ok_or_else(|| uncovered("a gradient", g.0))?;
        let (first, second) = (packed(g.0)?, g.1.map(packed).transpose()?);
        let low = first.dtype() == DType::BF16;
        let out = self.empty(all.dims(), all.device())?;
        let rows = self.empty(&[at.samples, at.places, 2], all.device())?;
        // One part is the whole already.
        let sum = second.as_ref().map(|_| self.like(&first, first.dims())).transpose()?;
        let (g, more_g) = (Arg::In(&first), second.as_ref().into());
        let total = sum.as_ref().map_or(Arg::Null, Arg::Out);
        let given = [all, bias, gamma];
        let more = [Arg::In(kept), g, more_g, Arg::Out(&rows), Arg::Out(&out), total];
        // SAFETY: both parts are images of these sizes, the result is like `all`, there are two places for each row; the forward pass made `kept`.
        unsafe {
            self.attend(["attention_queries_f1", "attention_queries_b1"], (&at, low), given, &more)?;
        }
        let more = [Arg::In(kept), Arg::In(&rows), g, more_g, Arg::Out(&out)];
        // SAFETY: as above.
        unsafe { self.attend(["attention_keys_f1", "attention_keys_b1"], (&at, low), given, &more)? };
        Ok((out, sum.unwrap_or(first)))
    }
}
