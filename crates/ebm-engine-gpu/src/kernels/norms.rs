//! Norms with what follows them, both ways, and their derivatives along a direction.

use candle_core::{DType, Result, Tensor};
use ebm_core::operators::{NormAct, NormOps, Parts, TangentGrads, TangentOps};

use super::args::function;
use super::planes::Planes;
use super::{Kernels, whole};
use crate::launcher::{Arg, Launcher};

impl<L: Launcher> Kernels<L> {
    /// Runs a pass of [`NormAct`]: shape, settings, x, the affine maps, then `more`.
    ///
    /// # Safety
    /// `more` must be the kernel's last arguments, of tensors like x and of means and scales of the groups.
    unsafe fn norm_pass(
        &self,
        kernel: &'static str,
        at: &Planes,
        what: &NormAct,
        x: &Tensor,
        (blocks, threads): (usize, u32),
        more: &[Arg<'_>],
    ) -> Result<()> {
        let (f, slope) = function(what.function);
        let number = |n: usize| Arg::U32(n as u32); // counted in `Planes::of`
        let part = |t: &Option<Tensor>| t.as_ref().map(whole).transpose();
        let parts = [part(&what.gain)?, part(&what.shift)?, part(&what.gain2)?, part(&what.shift2)?];
        let mut args = vec![number(at.channels), number(at.groups), number(at.space)];
        args.extend([i32::from(what.norm.is_some()).into(), f.into(), slope.into(), Arg::In(x)]);
        args.extend(parts.iter().map(|t| Arg::from(t.as_ref())));
        args.extend(more);
        // SAFETY: blocks × entries of each are the entries of x; `Planes::of` checked the lengths of the parts.
        unsafe { self.launch(kernel, blocks, threads, &args) }
    }

    /// So many places for each group, or one that nobody writes or reads where there is no norm.
    fn kept(&self, places: usize, at: &Planes, what: &NormAct, x: &Tensor) -> Result<Tensor> {
        self.empty(&[what.norm.map_or(1, |_| places * at.samples * at.groups)], x.device())
    }
}

fn epsilon(what: &NormAct) -> Arg<'static> {
    what.norm.map_or(0.0, |(_, epsilon)| epsilon).into()
}

impl<L: Launcher> NormOps for Kernels<L> {
    fn norm_act(&self, x: &Tensor, what: &NormAct) -> Result<Option<(Tensor, Tensor)>> {
        let Some(at) = Planes::of(x, what)?.filter(|_| x.dtype() == DType::F32) else { return Ok(None) };
        let x = whole(x)?;
        let y = self.empty(x.dims(), x.device())?;
        // Mean and scale of each group.
        let kept = self.kept(2, &at, what, &x)?;
        let skip = what.skip.as_ref().map(whole).transpose()?;
        let more = [skip.as_ref().into(), Arg::Out(&y), Arg::Out(&kept), epsilon(what)];
        // SAFETY: y and the skip are like x.
        unsafe { self.norm_pass("norm_act", &at, what, &x, at.by_group(), &more)? };
        Ok(Some((y, kept)))
    }

    fn back(
        &self,
        x: &Tensor,
        what: &NormAct,
        kept: &Tensor,
        g: Parts<'_>,
        total: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let at = Planes::with_gradient(x, what, g.0)?;
        if let Some(more) = g.1 {
            Planes::with_gradient(x, what, more)?;
        }
        let (x, g, more_g) = (whole(x)?, whole(g.0)?, g.1.map(whole).transpose()?);
        let gx = self.empty(x.dims(), x.device())?;
        // One part is the whole already.
        let sum = if total && more_g.is_some() { Some(self.empty(x.dims(), x.device())?) } else { None };
        let sums = sum.as_ref().map_or(Arg::Null, Arg::Out);
        let more = [Arg::In(kept), Arg::In(&g), more_g.as_ref().into(), Arg::Out(&gx), sums];
        // SAFETY: both parts, their sum and the result are like x; the forward pass made `kept`.
        unsafe { self.norm_pass("norm_act_back", &at, what, &x, at.by_group(), &more)? };
        Ok((gx, total.then(|| sum.unwrap_or(g))))
    }

    fn affine_back(&self, x: &Tensor, what: &NormAct, kept: &Tensor, g: &Tensor) -> Result<Tensor> {
        let at = Planes::with_gradient(x, what, g)?;
        let (x, g) = (whole(x)?, whole(g)?);
        let out = self.empty(&[2, at.samples, at.channels], x.device())?;
        let more = [Arg::In(kept), Arg::In(&g), Arg::Out(&out)];
        // SAFETY: g is like x, a block a channel of a sample, each of which has two places in the result; the forward pass made `kept`.
        unsafe { self.norm_pass("norm_act_affine", &at, what, &x, at.by_channel(), &more)? };
        Ok(out)
    }
}

impl<L: Launcher> TangentOps for Kernels<L> {
    fn tangent(&self, x: &Tensor, what: &NormAct, dx: &Tensor) -> Result<Option<(Tensor, Tensor)>> {
        let like = dx.dims() == x.dims() && [x, dx].into_iter().all(|t| t.dtype() == DType::F32);
        let Some(at) = Planes::of(x, what)?.filter(|_| like) else { return Ok(None) };
        let (x, dx) = (whole(x)?, whole(dx)?);
        let dy = self.empty(x.dims(), x.device())?;
        let kept = self.kept(4, &at, what, &x)?;
        let more = [Arg::In(&dx), Arg::Out(&dy), Arg::Out(&kept), epsilon(what)];
        // SAFETY: dx and dy are like x, and there are four places for each group with a norm.
        unsafe { self.norm_pass("norm_act_tangent", &at, what, &x, at.by_group(), &more)? };
        Ok(Some((dy, kept)))
    }

    fn back(
        &self,
        x: &Tensor,
        what: &NormAct,
        dx: &Tensor,
        kept: &Tensor,
        g: &Tensor,
        affine: bool,
    ) -> Result<TangentGrads> {
        let at = Planes::with_gradient(x, what, g)?;
        let (x, dx, g) = (whole(x)?, whole(dx)?, whole(g)?);
        let (gx, gdx) = (self.empty(x.dims(), x.device())?, self.empty(x.dims(), x.device())?);
        let given = [Arg::In(kept), Arg::In(&dx), Arg::In(&g)];
        let more = [&given[..], &[Arg::Out(&gx), Arg::Out(&gdx)]].concat();
        // SAFETY: all images are like x; the forward pass made `kept`.
        unsafe { self.norm_pass("norm_act_tangent_back", &at, what, &x, at.by_group(), &more)? };
        let mut out = None;
        if affine {
            let both = self.empty(&[2, at.samples, at.channels], x.device())?;
            let more = [&given[..], &[Arg::Out(&both)]].concat();
            // SAFETY: as above, with two places for each channel of a sample, a block each.
            unsafe { self.norm_pass("norm_act_tangent_affine", &at, what, &x, at.by_channel(), &more)? };
            out = Some(both);
        }
        Ok(TangentGrads { x: gx, dx: gdx, affine: out })
    }
}
