//! The operators out of our own kernels, whatever launches them: `kernels/operators.cu` on a GPU, the same file compiled for the
//! processor in tests.

mod args;
mod planes;

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Result, Tensor};
use ebm_core::operators::{
    AdamNew, AdamStep, Convolution, Law, Nearest, NormAct, Operators, Source, TangentGrads, Tape,
};
use ebm_core::plan::Pool;
use ebm_core::{Chains, RowStep};

use args::{Arg, BLOCK, count, function, rule, side, threads_for};
use planes::Planes;

/// Starts kernels, and convolves by the vendor's library.
pub(crate) trait Launcher: Send + Sync {
    /// Name of the whole in logs.
    fn name(&self) -> &'static str;

    /// Where the numbers of `t` begin, which is contiguous and on this device.
    fn address(&self, t: &Tensor) -> Result<u64>;

    /// Starts `kernel` on so many blocks of so many threads; `args` point to its arguments in order.
    ///
    /// # Safety
    /// They must be those of the kernel, and every address among them must hold as many numbers as the kernel uses.
    unsafe fn launch(
        &self,
        kernel: &'static str,
        blocks: u32,
        threads: u32,
        args: &mut [*mut c_void],
    ) -> Result<()>;

    /// See [`Operators::repeat`].
    fn repeat(&self, times: usize, step: &mut dyn FnMut() -> ebm_core::Result<()>) -> ebm_core::Result<()> {
        (0..times).try_for_each(|_| step())
    }

    /// See [`Operators::convolution`]; the operands are contiguous.
    fn convolution(&self, what: Convolution, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        let _ = (what, a, b);
        Ok(None)
    }
}

/// Operators on the device of a launcher.
pub(crate) struct Kernels<L> {
    launcher: L,
    /// Indices of the chains that were asked for last, on the device: a chain keeps its index for all steps.
    chains: Mutex<Option<(Chains, Tensor)>>,
}

impl<L: Launcher> Kernels<L> {
    pub fn new(launcher: L) -> Self {
        Kernels { launcher, chains: Mutex::new(None) }
    }

    fn empty(&self, shape: &[usize], like: &Device) -> Result<Tensor> {
        // SAFETY: every kernel writes all entries of its results, which nobody reads before.
        unsafe { Tensor::empty(shape, DType::F32, like) }
    }

    fn at(&self, t: &Tensor) -> Result<Arg> {
        Ok(Arg::U64(self.launcher.address(t)?))
    }

    /// Null where there is none.
    fn maybe(&self, t: Option<&Tensor>) -> Result<Arg> {
        t.map_or(Ok(Arg::U64(0)), |t| self.at(t))
    }

    /// # Safety
    /// As [`Launcher::launch`].
    unsafe fn launch(
        &self,
        kernel: &'static str,
        blocks: usize,
        threads: u32,
        mut args: Vec<Arg>,
    ) -> Result<()> {
        if blocks == 0 {
            return Ok(());
        }
        let blocks = count(blocks)
            .ok_or_else(|| candle_core::Error::Msg(format!("{kernel}: {blocks} blocks are too many")))?;
        let mut pointers: Vec<*mut c_void> = args.iter_mut().map(Arg::pointer).collect();
        // SAFETY: passed on.
        unsafe { self.launcher.launch(kernel, blocks, threads, &mut pointers) }
    }

    fn indices(&self, chains: &Chains, device: &Device) -> Result<Tensor> {
        let mut held = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, t)) = &*held
            && known == chains
        {
            return Ok(t.clone());
        }
        let ids: Vec<i64> = chains.ids().iter().map(|&i| i.cast_signed()).collect();
        let t = Tensor::from_vec(ids, chains.len(), device)?;
        *held = Some((chains.clone(), t.clone()));
        Ok(t)
    }

    /// Runs one of the kernels that go over quads of rows: rows, width, the key, `more`, chains, `inputs`, `out` or a new result.
    #[allow(clippy::too_many_arguments)]
    fn rows(
        &self,
        kernel: &'static str,
        width: usize,
        from: Source<'_>,
        chains: &Chains,
        device: &Device,
        more: Vec<Arg>,
        inputs: &[&Tensor],
        out: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let (Some(rows), Some(columns)) = (count(chains.len()), count(width)) else { return Ok(None) };
        let shape = inputs.first().map_or_else(|| vec![chains.len(), width], |x| x.dims().to_vec());
        let out = match out {
            Some(t) if t.dims() == shape && t.is_contiguous() => t.clone(),
            Some(_) => return Ok(None),
            None => self.empty(&shape, device)?,
        };
        let mut args: Vec<Arg> = vec![rows.into(), columns.into()];
        let ids = match from {
            Source::Key(key) => {
                let [k0, k1] = key.words();
                args.extend([k0.into(), k1.into(), Arg::U64(0), Arg::U64(0)]);
                self.indices(chains, device)?
            }
            Source::Tape(tape) => {
                args.extend([0u32.into(), 0u32.into(), self.at(&tape.keys)?, self.at(&tape.step)?]);
                tape.chains.clone()
            }
        };
        args.extend(more);
        args.push(self.at(&ids)?);
        for x in inputs {
            args.push(self.at(x)?);
        }
        args.push(self.at(&out)?);
        let blocks = (chains.len() * width.div_ceil(4)).div_ceil(BLOCK);
        // SAFETY: the arguments are the kernel's; all tensors have rows × width entries, there are as many chains as rows.
        unsafe { self.launch(kernel, blocks, BLOCK as u32, args)? };
        Ok(Some(out))
    }

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
        more: Vec<Arg>,
    ) -> Result<()> {
        let (f, slope) = function(what.function);
        let number = |n: usize| Arg::U32(n as u32); // counted in `Planes::of`
        let mut args = vec![number(at.channels), number(at.groups), number(at.space)];
        args.extend([i32::from(what.norm.is_some()).into(), f.into(), slope.into(), self.at(x)?]);
        let part = |t: &Option<Tensor>| t.as_ref().map(whole).transpose();
        let parts = [part(&what.gain)?, part(&what.shift)?, part(&what.gain2)?, part(&what.shift2)?];
        for part in &parts {
            args.push(self.maybe(part.as_ref())?);
        }
        args.extend(more);
        // SAFETY: blocks × entries of each are the entries of x; `Planes::of` checked the lengths of the parts.
        unsafe { self.launch(kernel, blocks, threads, args) }
    }
}

/// Number and length of the rows of `x`; `None` for what the kernels do not take.
fn row_shape(x: &Tensor) -> Option<(usize, u32)> {
    let width = *x.dims().last()?;
    let rows = x.elem_count() / width.max(1);
    let fits = x.dtype() == DType::F32 && rows > 0 && count(rows).is_some();
    count(width).filter(|_| fits).map(|width| (rows, width))
}

/// The tensor in one piece; the kernels know no strides.
fn whole(t: &Tensor) -> Result<Tensor> {
    t.contiguous()
}

impl<L: Launcher> Operators for Kernels<L> {
    fn name(&self) -> &str {
        self.launcher.name()
    }

    fn random(
        &self,
        law: Law,
        key: ebm_core::Key,
        chains: &Chains,
        width: usize,
        device: &Device,
    ) -> Result<Option<Tensor>> {
        let kernel = match law {
            Law::Normal => "normal_rows",
            Law::Uniform => "uniform_rows",
        };
        self.rows(kernel, width, key.into(), chains, device, vec![], &[], None)
    }

    fn add_noise(&self, x: &Tensor, sigma: f64, chains: &Chains, from: Source<'_>) -> Result<Option<Tensor>> {
        if x.dtype() != DType::F32 || x.dims().first() != Some(&chains.len()) || chains.is_empty() {
            return Ok(None);
        }
        let width = x.elem_count() / chains.len();
        self.rows("add_noise", width, from, chains, x.device(), vec![sigma.into()], &[&whole(x)?], None)
    }

    fn advance(
        &self,
        step: &RowStep,
        hat: &Tensor,
        grad: &Tensor,
        chains: &Chains,
        from: Source<'_>,
    ) -> Result<Option<Tensor>> {
        let same = hat.dims() == grad.dims() && hat.dtype() == DType::F32 && grad.dtype() == DType::F32;
        if !same || hat.dims().first() != Some(&chains.len()) || chains.is_empty() {
            return Ok(None);
        }
        let sigma = if step.noise_first { 0.0 } else { step.noise };
        let (low, high) = step.clamp.unwrap_or((0.0, 0.0));
        let more = vec![
            step.step_size.into(),
            step.move_limit.unwrap_or(-1.0).into(),
            sigma.into(),
            i32::from(step.clamp.is_some()).into(),
            low.into(),
            high.into(),
        ];
        let width = hat.elem_count() / chains.len();
        let out = match from {
            Source::Key(_) => None,
            Source::Tape(tape) => Some(&tape.x),
        };
        let inputs = [&whole(hat)?, &whole(grad)?];
        self.rows("row_advance", width, from, chains, hat.device(), more, &inputs, out)
    }

    fn log_step(&self, tape: &Tape, energy: &Tensor, grad: &Tensor) -> Result<bool> {
        let Some(square) = self.row_mean_square(grad)? else { return Ok(false) };
        let (_, b) = tape.energy.dims2()?;
        let Some(rows) = count(b).filter(|_| energy.dims() == [b] && square.dims() == [b]) else {
            return Ok(false);
        };
        let energy = whole(energy)?;
        let mut args = vec![rows.into(), self.at(&tape.step)?, self.at(&energy)?, self.at(&square)?];
        args.extend([self.at(&tape.energy)?, self.at(&tape.grad_square)?]);
        // SAFETY: energies and squares have as many entries as a row of the tape, which has a row for each of its steps.
        unsafe { self.launch("log_step", 1, threads_for(b), args)? };
        Ok(true)
    }

    fn next_step(&self, tape: &Tape) -> Result<()> {
        let args = vec![self.at(&tape.step)?];
        // SAFETY: one thread counts one number on.
        unsafe { self.launch("next_step", 1, 1, args) }
    }

    fn repeat(&self, times: usize, step: &mut dyn FnMut() -> ebm_core::Result<()>) -> ebm_core::Result<()> {
        self.launcher.repeat(times, step)
    }

    fn row_mean_square(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let rows = x.dims().first().copied().unwrap_or(0);
        let width = x.elem_count() / rows.max(1);
        let Some(columns) = count(width).filter(|_| x.dtype() == DType::F32 && rows > 0 && width > 0) else {
            return Ok(None);
        };
        let (x, out) = (whole(x)?, self.empty(&[rows], x.device())?);
        let args = vec![columns.into(), self.at(&x)?, self.at(&out)?];
        // SAFETY: x has rows × width entries, out has rows, one a block.
        unsafe { self.launch("row_mean_square", rows, threads_for(width), args)? };
        Ok(Some(out))
    }

    fn convolution(&self, what: Convolution, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        self.launcher.convolution(what, &whole(a)?, &whole(b)?)
    }

    fn pool(&self, x: &Tensor, by: &Pool) -> Result<Option<Tensor>> {
        let (b, c, h, w) = x.dims4()?;
        let (m, k) = (by.length(h), by.length(w));
        self.pooling("pool", x, by, (b, c), (h, w), (m, k), (m, k))
    }

    fn pool_input(&self, g: &Tensor, by: &Pool, (h, w): (usize, usize)) -> Result<Option<Tensor>> {
        let (b, c, m, k) = g.dims4()?;
        self.pooling("pool_back", g, by, (b, c), (h, w), (m, k), (h, w))
    }

    fn norm_act(&self, x: &Tensor, what: &NormAct) -> Result<Option<(Tensor, Tensor)>> {
        let Some(at) = Planes::of(x, what)?.filter(|_| x.dtype() == DType::F32) else { return Ok(None) };
        let x = whole(x)?;
        let y = self.empty(x.dims(), x.device())?;
        // Mean and scale of each group; one place that nobody writes or reads where there is no norm.
        let kept = self.empty(&[what.norm.map_or(1, |_| 2 * at.samples * at.groups)], x.device())?;
        let skip = what.skip.as_ref().map(whole).transpose()?;
        let epsilon = what.norm.map_or(0.0, |(_, epsilon)| epsilon);
        let more = vec![self.maybe(skip.as_ref())?, self.at(&y)?, self.at(&kept)?, epsilon.into()];
        // SAFETY: y and the skip are like x.
        unsafe { self.norm_pass("norm_act", &at, what, &x, at.by_group(), more)? };
        Ok(Some((y, kept)))
    }

    fn norm_act_input(&self, x: &Tensor, what: &NormAct, kept: &Tensor, g: &Tensor) -> Result<Tensor> {
        let at = Planes::with_gradient(x, what, g)?;
        let (x, g) = (whole(x)?, whole(g)?);
        let gx = self.empty(x.dims(), x.device())?;
        let more = vec![self.at(kept)?, self.at(&g)?, self.at(&gx)?];
        // SAFETY: g and its result are like x; the forward pass made `kept`.
        unsafe { self.norm_pass("norm_act_back", &at, what, &x, at.by_group(), more)? };
        Ok(gx)
    }

    fn norm_act_affine(&self, x: &Tensor, what: &NormAct, kept: &Tensor, g: &Tensor) -> Result<Tensor> {
        let at = Planes::with_gradient(x, what, g)?;
        let (x, g) = (whole(x)?, whole(g)?);
        let out = self.empty(&[2, at.samples, at.channels], x.device())?;
        let more = vec![self.at(kept)?, self.at(&g)?, self.at(&out)?];
        // SAFETY: g is like x, a block a channel of a sample, each of which has two places in the result; the forward pass made `kept`.
        unsafe { self.norm_pass("norm_act_affine", &at, what, &x, at.by_channel(), more)? };
        Ok(out)
    }

    fn norm_act_tangent(&self, x: &Tensor, what: &NormAct, dx: &Tensor) -> Result<Option<(Tensor, Tensor)>> {
        let like = dx.dims() == x.dims() && [x, dx].into_iter().all(|t| t.dtype() == DType::F32);
        let Some(at) = Planes::of(x, what)?.filter(|_| like) else { return Ok(None) };
        let (x, dx) = (whole(x)?, whole(dx)?);
        let dy = self.empty(x.dims(), x.device())?;
        let kept = self.empty(&[what.norm.map_or(1, |_| 4 * at.samples * at.groups)], x.device())?;
        let epsilon = what.norm.map_or(0.0, |(_, epsilon)| epsilon);
        let more = vec![self.at(&dx)?, self.at(&dy)?, self.at(&kept)?, epsilon.into()];
        // SAFETY: dx and dy are like x, and there are four places for each group with a norm.
        unsafe { self.norm_pass("norm_act_tangent", &at, what, &x, at.by_group(), more)? };
        Ok(Some((dy, kept)))
    }

    fn norm_act_tangent_back(
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
        let given = || Ok::<_, candle_core::Error>([self.at(kept)?, self.at(&dx)?, self.at(&g)?]);
        let mut more: Vec<Arg> = given()?.into();
        more.extend([self.at(&gx)?, self.at(&gdx)?]);
        // SAFETY: all images are like x; the forward pass made `kept`.
        unsafe { self.norm_pass("norm_act_tangent_back", &at, what, &x, at.by_group(), more)? };
        let mut grads = TangentGrads { x: gx, dx: gdx, affine: None };
        if affine {
            let out = self.empty(&[2, at.samples, at.channels], x.device())?;
            let mut more: Vec<Arg> = given()?.into();
            more.push(self.at(&out)?);
            // SAFETY: as above, with two places for each channel of a sample, a block each.
            unsafe { self.norm_pass("norm_act_tangent_affine", &at, what, &x, at.by_channel(), more)? };
            grads.affine = Some(out);
        }
        Ok(grads)
    }

    fn softmax(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let Some((rows, width)) = row_shape(x) else { return Ok(None) };
        let (x, y) = (whole(x)?, self.empty(x.dims(), x.device())?);
        let args = vec![width.into(), self.at(&x)?, self.at(&y)?];
        // SAFETY: x and y have rows × width entries, a block a row.
        unsafe { self.launch("softmax", rows, threads_for(width as usize), args)? };
        Ok(Some(y))
    }

    fn softmax_input(&self, y: &Tensor, g: &Tensor) -> Result<Tensor> {
        let fits = g.dims() == y.dims() && g.dtype() == DType::F32;
        let Some((rows, width)) = row_shape(y).filter(|_| fits) else {
            candle_core::bail!("softmax: a gradient {:?} of shares {:?}", g.dims(), y.dims())
        };
        let (y, g, gx) = (whole(y)?, whole(g)?, self.empty(y.dims(), y.device())?);
        let args = vec![width.into(), self.at(&y)?, self.at(&g)?, self.at(&gx)?];
        // SAFETY: as in `softmax`.
        unsafe { self.launch("softmax_back", rows, threads_for(width as usize), args)? };
        Ok(gx)
    }

    fn nearest(&self, x: &Tensor, bank: &Tensor, k: usize, exclude: f64) -> Result<Option<Nearest>> {
        let ((n, width), (m, other)) = (x.dims2()?, bank.dims2()?);
        let single = [x, bank].into_iter().all(|t| t.dtype() == DType::F32);
        let counts = (count(n), count(m), count(width), count(k));
        let (Some(rows), Some(many), Some(columns), Some(which)) = counts else { return Ok(None) };
        if !single || width != other || n == 0 || m == 0 || k == 0 {
            return Ok(None);
        }
        let (x, bank, device) = (whole(x)?, whole(bank)?, x.device());
        let all = self.empty(&[n, m], device)?;
        let across = m.div_ceil(16);
        let mut args: Vec<Arg> = vec![rows.into(), many.into(), columns.into(), (across as u32).into()];
        args.extend([self.at(&x)?, self.at(&bank)?, self.at(&all)?]);
        // SAFETY: the shapes are those of the tensors; 16 × 16 threads, a tile a block.
        unsafe { self.launch("row_distances", n.div_ceil(16) * across, 256, args)? };
        let distance = self.empty(&[n], device)?;
        // SAFETY: the kernel writes all entries.
        let whole_numbers = || unsafe { Tensor::empty(n, DType::U32, device) };
        let (row, counted) = (whole_numbers()?, whole_numbers()?);
        let mut args: Vec<Arg> = vec![many.into(), which.into(), exclude.into(), self.at(&all)?];
        args.extend([self.at(&distance)?, self.at(&row)?, self.at(&counted)?]);
        // SAFETY: n rows of m distances, a block each, and n places in each result.
        unsafe { self.launch("kth_smallest", n, threads_for(m), args)? };
        Ok(Some(Nearest { distance, row, counted }))
    }

    fn adam(
        &self,
        step: &AdamStep,
        p: &Tensor,
        g: &Tensor,
        m: Option<&Tensor>,
        v: &Tensor,
        average: Option<&Tensor>,
    ) -> Result<Option<AdamNew>> {
        let inputs = [Some(p), Some(g), m, Some(v), average];
        if inputs.into_iter().flatten().any(|t| t.dims() != p.dims() || t.dtype() != DType::F32) {
            return Ok(None);
        }
        let inputs = inputs.map(|t| t.map(whole).transpose());
        let new = |given: bool| given.then(|| self.empty(p.dims(), p.device())).transpose();
        let (p2, v2) = (self.empty(p.dims(), p.device())?, self.empty(p.dims(), p.device())?);
        let (m2, a2) = (new(m.is_some())?, new(average.is_some())?);
        let mut args = vec![Arg::U64(p.elem_count() as u64)];
        let s = step;
        args.extend(
            [s.clip, s.b1, 1.0 - s.b1, s.b2, 1.0 - s.b2, s.root, s.step, s.epsilon, s.keep, s.decay]
                .map(Arg::from),
        );
        let mut held = Vec::new();
        for t in inputs {
            let t = t?;
            args.push(self.maybe(t.as_ref())?);
            held.push(t);
        }
        args.extend([self.at(&p2)?, self.maybe(m2.as_ref())?, self.at(&v2)?, self.maybe(a2.as_ref())?]);
        // SAFETY: all tensors have as many entries as p; the moments and the average are null in and out together.
        unsafe { self.launch("adam", p.elem_count().div_ceil(BLOCK), BLOCK as u32, args)? };
        Ok(Some(AdamNew { p: p2, m: m2, v: v2, average: a2 }))
    }
}

impl<L: Launcher> Kernels<L> {
    #[allow(clippy::too_many_arguments)]
    fn pooling(
        &self,
        kernel: &'static str,
        x: &Tensor,
        by: &Pool,
        (b, c): (usize, usize),
        (h, w): (usize, usize),
        (m, k): (usize, usize),
        (out_h, out_w): (usize, usize),
    ) -> Result<Option<Tensor>> {
        let small = [h, w].into_iter().all(|n| count(n).is_some());
        let Some(planes) = count(b * c).filter(|_| small && x.dtype() == DType::F32) else { return Ok(None) };
        let (x, out) = (whole(x)?, self.empty(&[b, c, out_h, out_w], x.device())?);
        let (number, size) = rule(by);
        let mut args: Vec<Arg> = vec![planes.into(), number.into(), size.into()];
        args.extend([h, w, m, k].map(|n| Arg::I32(side(n))));
        args.extend([self.at(&x)?, self.at(&out)?]);
        // SAFETY: the sides are those of the tensors.
        unsafe { self.launch(kernel, out.elem_count().div_ceil(BLOCK), BLOCK as u32, args)? };
        Ok(Some(out))
    }
}
