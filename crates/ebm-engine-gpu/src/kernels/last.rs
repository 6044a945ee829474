//! Images whose channels come last: kernels that take 16 bytes at a time where the channels are whole packs.

use candle_core::{DType, Result, Tensor};
use ebm_core::operators::{LastOps, NormAct, Parts};
use ebm_core::plan::{Activation, Pool, Products};

use super::args::{BLOCK, count, function, rule, side};
use super::{Kernels, whole};
use crate::launcher::{Arg, Launcher};

/// Channels that a block takes where they can be parted, so that there are many blocks and each reads whole lines of memory.
const CHUNK: usize = 64;

/// How a kernel takes numbers: one by one or by packs of 16 bytes.
#[derive(Clone, Copy)]
enum Kind {
    F1,
    F4,
    B1,
    B8,
}

impl Kind {
    fn of(dtype: DType, channels: usize) -> Option<Kind> {
        match dtype {
            DType::F32 if channels.is_multiple_of(4) => Some(Kind::F4),
            DType::F32 => Some(Kind::F1),
            DType::BF16 if channels.is_multiple_of(8) => Some(Kind::B8),
            DType::BF16 => Some(Kind::B1),
            _ => None,
        }
    }

    /// Numbers of a pack.
    fn pack(self) -> usize {
        match self {
            Kind::F1 | Kind::B1 => 1,
            Kind::F4 => 4,
            Kind::B8 => 8,
        }
    }

    fn pick(self, names: [&'static str; 4]) -> &'static str {
        names[self as usize]
    }
}

macro_rules! kinds {
    ($name:literal) => {
        [concat!($name, "_f1"), concat!($name, "_f4"), concat!($name, "_b1"), concat!($name, "_b8")]
    };
}

/// Images `(B, H, W, C)` as the kernels count them.
struct Images {
    kind: Kind,
    samples: usize,
    sides: (usize, usize),
    channels: usize,
}

impl Images {
    /// `None` for what the kernels do not take.
    fn of(x: &Tensor) -> Result<Option<Images>> {
        let (samples, h, w, channels) = x.dims4()?;
        let small = count(h * w * channels).is_some() && count(samples).is_some() && x.elem_count() > 0;
        let kind = Kind::of(x.dtype(), channels).filter(|_| small);
        Ok(kind.map(|kind| Images { kind, samples, sides: (h, w), channels }))
    }

    fn space(&self) -> usize {
        self.sides.0 * self.sides.1
    }

    /// Channels of a block: whole packs and whole groups of `per` channels, parting all channels; `None` if a block has too few threads.
    fn chunk(&self, per: usize) -> Option<usize> {
        let step = self.kind.pack();
        let fits = |n: usize| {
            self.channels.is_multiple_of(n)
                && n.is_multiple_of(step)
                && n.is_multiple_of(per)
                && n / step <= BLOCK
        };
        let most = CHUNK.max(per).min(self.channels);
        (1..=most).rev().find(|n| fits(*n)).or_else(|| Some(self.channels).filter(|n| fits(*n)))
    }

    /// Blocks of a kernel with a thread a pack of an image of these sides.
    fn packs(&self, (h, w): (usize, usize)) -> usize {
        (self.samples * h * w * self.channels / self.kind.pack()).div_ceil(BLOCK)
    }
}

/// The tensor in one piece whose packs begin at multiples of their length.
pub(super) fn packed(t: &Tensor) -> Result<Tensor> {
    let t = whole(t)?;
    let aligned = (t.layout().start_offset() * t.dtype().size_in_bytes()).is_multiple_of(16);
    if aligned { Ok(t) } else { t.force_contiguous() }
}

pub(super) fn uncovered(what: &str, t: &Tensor) -> candle_core::Error {
    candle_core::Error::Msg(format!("{what} of images {:?} in {:?}: not covered", t.dims(), t.dtype()))
}

fn number(n: usize) -> Arg<'static> {
    Arg::U32(n as u32) // counted in `Images::of`
}

impl<L: Launcher> Kernels<L> {
    pub(super) fn like(&self, t: &Tensor, shape: &[usize]) -> Result<Tensor> {
        // SAFETY: every kernel writes all entries of its results, which nobody reads before.
        unsafe { Tensor::empty(shape, t.dtype(), t.device()) }
    }

    /// Shape, settings, operand, maps and `more` of one of the two passes of a norm.
    ///
    /// # Safety
    /// `more` must be the kernel's last arguments, of images like `x` and of means and scales of the groups.
    unsafe fn last_norm(
        &self,
        names: [&'static str; 4],
        (at, groups, chunk): (&Images, usize, usize),
        x: &Tensor,
        before: Option<&Tensor>,
        what: &NormAct,
        more: &[Arg<'_>],
    ) -> Result<()> {
        let (f, slope) = function(what.function);
        let all =
            [before, what.gain.as_ref(), what.shift.as_ref(), what.gain2.as_ref(), what.shift2.as_ref()];
        let parts = all.iter().map(|t| t.map(whole).transpose()).collect::<Result<Vec<_>>>()?;
        let mut args = vec![number(at.channels), number(groups), number(at.space()), number(chunk)];
        args.extend([i32::from(what.norm.is_some()).into(), f.into(), slope.into(), Arg::In(x)]);
        args.extend(parts.iter().map(|t| Arg::from(t.as_ref())));
        args.extend(more);
        let blocks = at.samples * (at.channels / chunk);
        // SAFETY: passed on; `grouped` checked the lengths of the parts.
        unsafe { self.launch(at.kind.pick(names), blocks, BLOCK as u32, &args) }
    }

    /// Groups of a norm and channels of a block, if the kernels take them.
    fn grouped(at: &Images, before: Option<&Tensor>, what: &NormAct) -> Option<(usize, usize)> {
        let groups = what.norm.map_or(at.channels, |(groups, _)| groups);
        if groups == 0 || !at.channels.is_multiple_of(groups) {
            return None;
        }
        let each = at.samples * at.channels;
        let given = [
            (before, at.channels),
            (what.gain.as_ref(), at.channels),
            (what.shift.as_ref(), at.channels),
            (what.gain2.as_ref(), each),
            (what.shift2.as_ref(), each),
        ];
        let right = |(t, n): &(Option<&Tensor>, usize)| {
            t.is_none_or(|t| t.elem_count() == *n && t.dtype() == DType::F32)
        };
        let chunk = at.chunk(at.channels / groups).filter(|_| given.iter().all(right));
        chunk.map(|chunk| (groups, chunk))
    }

    fn last_pooling(
        &self,
        names: [&'static str; 4],
        at: &Images,
        (by, f): (&Pool, Option<Activation>),
        [full, pooled, result]: [(usize, usize); 3],
        tensors: &[Arg<'_>],
    ) -> Result<()> {
        let ((rule, size), (f, slope)) = (rule(by), function(f));
        let mut args = vec![number(at.samples), number(at.channels), rule.into(), size.into()];
        args.extend([full.0, full.1, pooled.0, pooled.1].map(|n| Arg::I32(side(n))));
        let of_f: [Arg<'_>; 2] = [f.into(), slope.into()];
        args.extend(of_f);
        args.extend(tensors);
        // SAFETY: the sides are those of the tensors, which the callers made or checked.
        unsafe { self.launch(at.kind.pick(names), at.packs(result), BLOCK as u32, &args) }
    }

    fn between(
        &self,
        names: [&'static str; 2],
        low: bool,
        sizes: [usize; 3],
        x: &Tensor,
        out: &Tensor,
    ) -> Result<()> {
        let [b, c, p] = sizes;
        if [b, c, p].into_iter().any(|n| count(n).is_none()) {
            return Err(uncovered("another order", x));
        }
        let args = [number(b), number(c), number(p), Arg::In(x), Arg::Out(out)];
        // SAFETY: both have b × c × p entries.
        unsafe { self.launch(names[usize::from(low)], out.elem_count().div_ceil(BLOCK), BLOCK as u32, &args) }
    }
}

impl<L: Launcher> LastOps for Kernels<L> {
    fn stored(&self, products: Products) -> Option<DType> {
        let dtype = if products == Products::Bf16 { DType::BF16 } else { DType::F32 };
        self.launcher.channels_last(products).then_some(dtype)
    }

    fn enter(&self, x: &Tensor, to: DType) -> Result<Tensor> {
        let (b, c, h, w) = x.dims4()?;
        if x.dtype() != DType::F32 || Kind::of(to, 1).is_none() {
            return Err(uncovered("another order", x));
        }
        // SAFETY: the kernel writes all entries.
        let out = unsafe { Tensor::empty((b, h, w, c), to, x.device())? };
        let names = ["last_enter_f1", "last_enter_b1"];
        self.between(names, to == DType::BF16, [b, c, h * w], &whole(x)?, &out)?;
        Ok(out)
    }

    fn leave(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        if Kind::of(x.dtype(), 1).is_none() {
            return Err(uncovered("another order", x));
        }
        let out = self.empty(&[b, c, h, w], x.device())?;
        let names = ["last_leave_f1", "last_leave_b1"];
        self.between(names, x.dtype() == DType::BF16, [b, c, h * w], &whole(x)?, &out)?;
        Ok(out)
    }

    fn norm_act(
        &self,
        x: &Tensor,
        before: Option<&Tensor>,
        what: &NormAct,
    ) -> Result<Option<(Tensor, Tensor)>> {
        let Some(at) = Images::of(x)? else { return Ok(None) };
        let alike = what.skip.as_ref().is_none_or(|s| s.dims() == x.dims() && s.dtype() == x.dtype());
        let Some((groups, chunk)) = Self::grouped(&at, before, what).filter(|_| alike) else {
            return Ok(None);
        };
        let x = packed(x)?;
        let y = self.like(&x, x.dims())?;
        // Mean and scale of each group.
        let kept = self.empty(&[what.norm.map_or(1, |_| 2 * at.samples * groups)], x.device())?;
        let skip = what.skip.as_ref().map(packed).transpose()?;
        let epsilon = what.norm.map_or(0.0, |(_, epsilon)| epsilon);
        let more = [skip.as_ref().into(), Arg::Out(&y), Arg::Out(&kept), epsilon.into()];
        let names = kinds!("last_norm_act");
        // SAFETY: y and the skip are like x, and there are two places for each group with a norm.
        unsafe { self.last_norm(names, (&at, groups, chunk), &x, before, what, &more)? };
        Ok(Some((y, kept)))
    }

    fn norm_act_back(
        &self,
        x: &Tensor,
        before: Option<&Tensor>,
        what: &NormAct,
        kept: &Tensor,
        g: Parts<'_>,
        total: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let like = |g: &Tensor| g.dims() == x.dims() && g.dtype() == x.dtype();
        let at = Images::of(x)?.filter(|_| like(g.0) && g.1.is_none_or(like));
        let at = at.ok_or_else(|| uncovered("a gradient", g.0))?;
        let (groups, chunk) = Self::grouped(&at, before, what).ok_or_else(|| uncovered("a norm", x))?;
        let (x, g, more_g) = (packed(x)?, packed(g.0)?, g.1.map(packed).transpose()?);
        let gx = self.like(&x, x.dims())?;
        // One part is the whole already.
        let sum = if total && more_g.is_some() { Some(self.like(&x, x.dims())?) } else { None };
        let sums = sum.as_ref().map_or(Arg::Null, Arg::Out);
        let more = [Arg::In(kept), Arg::In(&g), more_g.as_ref().into(), Arg::Out(&gx), sums];
        let names = kinds!("last_norm_act_back");
        // SAFETY: all images are like x; the forward pass made `kept`.
        unsafe { self.last_norm(names, (&at, groups, chunk), &x, before, what, &more)? };
        Ok((gx, total.then(|| sum.unwrap_or(g))))
    }

    fn pool(
        &self,
        x: &Tensor,
        before: Option<&Tensor>,
        by: &Pool,
        f: Option<Activation>,
    ) -> Result<Option<(Tensor, Option<Tensor>)>> {
        let Some(at) = Images::of(x)? else { return Ok(None) };
        if before.is_some_and(|t| t.elem_count() != at.channels || t.dtype() != DType::F32) {
            return Ok(None);
        }
        let pooled = (by.length(at.sides.0), by.length(at.sides.1));
        let (x, shape) = (packed(x)?, [at.samples, pooled.0, pooled.1, at.channels]);
        let before = before.map(whole).transpose()?;
        let (y, z) = (self.like(&x, &shape)?, f.map(|_| self.like(&x, &shape)).transpose()?);
        let kept = z.as_ref().map_or(Arg::Null, Arg::Out);
        let tensors = [Arg::In(&x), before.as_ref().into(), Arg::Out(&y), kept];
        self.last_pooling(kinds!("last_pool"), &at, (by, f), [at.sides, pooled, pooled], &tensors)?;
        Ok(Some((y, z)))
    }

    fn pool_back(
        &self,
        kept: Option<&Tensor>,
        by: &Pool,
        f: Option<Activation>,
        size: (usize, usize),
        g: Parts<'_>,
    ) -> Result<Tensor> {
        let like = |t: &Tensor| t.dims() == g.0.dims() && t.dtype() == g.0.dtype();
        let right = kept.is_some() == f.is_some() && kept.is_none_or(like) && g.1.is_none_or(like);
        let small = count(size.0 * size.1).is_some();
        let at = Images::of(g.0)?.filter(|_| right && small);
        let at = at.ok_or_else(|| uncovered("a gradient", g.0))?;
        let pooled = at.sides;
        let (kept, first, second) =
            (kept.map(packed).transpose()?, packed(g.0)?, g.1.map(packed).transpose()?);
        let gx = self.like(&first, &[at.samples, size.0, size.1, at.channels])?;
        let tensors = [kept.as_ref().into(), Arg::In(&first), second.as_ref().into(), Arg::Out(&gx)];
        self.last_pooling(kinds!("last_pool_back"), &at, (by, f), [size, pooled, size], &tensors)?;
        Ok(gx)
    }

    fn attention(
        &self,
        x: &Tensor,
        all: &Tensor,
        bias: &Tensor,
        gamma: &Tensor,
    ) -> Result<Option<(Tensor, Tensor)>> {
        self.attended(x, all, bias, gamma)
    }

    fn attention_back(
        &self,
        all: &Tensor,
        bias: &Tensor,
        gamma: &Tensor,
        kept: &Tensor,
        g: Parts<'_>,
    ) -> Result<(Tensor, Tensor)> {
        self.attended_back(all, bias, gamma, kept, g)
    }

    fn space(&self, x: &Tensor, f: Option<Activation>, factor: f64) -> Result<Option<Tensor>> {
        let Some(at) = Images::of(x)? else { return Ok(None) };
        let Some(chunk) = at.chunk(1) else { return Ok(None) };
        let (x, out) = (packed(x)?, self.empty(&[at.samples, at.channels], x.device())?);
        let (f, slope) = function(f);
        let args = [
            number(at.channels),
            number(at.space()),
            number(chunk),
            factor.into(),
            f.into(),
            slope.into(),
            Arg::In(&x),
            Arg::Out(&out),
        ];
        let blocks = at.samples * (at.channels / chunk);
        // SAFETY: a block a chunk of a sample, each of whose channels has a place in the result.
        unsafe { self.launch(at.kind.pick(kinds!("last_space")), blocks, BLOCK as u32, &args)? };
        Ok(Some(out))
    }

    fn space_back(&self, x: &Tensor, f: Option<Activation>, factor: f64, g: &Tensor) -> Result<Tensor> {
        let right = |at: &Images| g.dims() == [at.samples, at.channels] && g.dtype() == DType::F32;
        let at = Images::of(x)?.filter(right).ok_or_else(|| uncovered("a gradient", g))?;
        let (x, g) = (packed(x)?, whole(g)?);
        let gx = self.like(&x, x.dims())?;
        let (f, slope) = function(f);
        let mut args = vec![number(at.samples), number(at.channels), number(at.space())];
        args.extend([factor.into(), f.into(), slope.into(), Arg::In(&x), Arg::In(&g), Arg::Out(&gx)]);
        // SAFETY: gx is like x, and g has a number for each channel of a sample.
        unsafe {
            self.launch(at.kind.pick(kinds!("last_space_back")), at.packs(at.sides), BLOCK as u32, &args)?;
        }
        Ok(gx)
    }
}
