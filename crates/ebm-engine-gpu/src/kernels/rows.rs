//! Random numbers, and the steps of samplers that touch each row alone.

use candle_core::{DType, Device, Result, Tensor};
use ebm_core::operators::{BranchOps, Law, RandomOps, Recording, Reels, RowOps, Tape, TapeOps};
use ebm_core::{Chains, Key, RowStep};

use super::args::{BLOCK, count, threads_for};
use super::{Kernels, whole};
use crate::launcher::{Arg, Launcher};

/// Where a step's random numbers come from, and where its result goes.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// A key, and a new tensor.
    Key(Key, &'a Chains),
    /// The tape's key and settings of its step.
    Tape(&'a Tape),
}

impl<'a> Source<'a> {
    fn settings(self) -> Arg<'a> {
        match self {
            Source::Key(..) => Arg::Null,
            Source::Tape(tape) => Arg::In(&tape.settings),
        }
    }
}

impl<L: Launcher> Kernels<L> {
    /// Runs one of the kernels that go over quads of rows: rows, width, the key, `more`, chains, `inputs`, and `out` or a new result.
    fn quads(
        &self,
        kernel: &'static str,
        (rows, width, device): (usize, usize, &Device),
        from: Source<'_>,
        more: &[Arg<'_>],
        inputs: &[&Tensor],
        out: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let (Some(n), Some(columns)) = (count(rows), count(width)) else { return Ok(None) };
        let shape = inputs.first().map_or_else(|| vec![rows, width], |x| x.dims().to_vec());
        let out = match out {
            Some(t) if t.dims() == shape && t.is_contiguous() => t.clone(),
            Some(_) => return Ok(None),
            None => self.empty(&shape, device)?,
        };
        let (key, places, chains) = match from {
            Source::Key(key, chains) => (key.words(), [Arg::Null; 2], self.indices(chains, device)?),
            Source::Tape(tape) => ([0; 2], [Arg::In(&tape.keys), Arg::In(&tape.step)], tape.chains.clone()),
        };
        let mut args: Vec<Arg<'_>> = vec![n.into(), columns.into(), key[0].into(), key[1].into()];
        args.extend(places);
        args.extend(more);
        args.push(Arg::In(&chains));
        args.extend(inputs.iter().map(|x| Arg::In(x)));
        args.push(Arg::Out(&out));
        let blocks = (rows * width.div_ceil(4)).div_ceil(BLOCK);
        // SAFETY: the arguments are the kernel's; all tensors have rows × width entries, there are as many chains as rows.
        unsafe { self.launch(kernel, blocks, BLOCK as u32, &args)? };
        Ok(Some(out))
    }

    fn noised(&self, x: &Tensor, sigma: f64, rows: usize, from: Source<'_>) -> Result<Option<Tensor>> {
        let Some(shape) = rows_of(x, rows) else { return Ok(None) };
        self.quads("add_noise", shape, from, &[from.settings(), sigma.into()], &[&whole(x)?], None)
    }

    /// `step` is the tape's own where that is the source.
    fn advanced(
        &self,
        step: Option<&RowStep>,
        (hat, grad): (&Tensor, &Tensor),
        rows: usize,
        from: Source<'_>,
        out: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let same = hat.dims() == grad.dims() && grad.dtype() == DType::F32;
        let Some(shape) = rows_of(hat, rows).filter(|_| same) else { return Ok(None) };
        let [size, limit, _, sigma, clamp, low, high] = step.map_or([0.0; 7], Tape::settings_of);
        let more = [
            from.settings(),
            Arg::F32(size),
            Arg::F32(limit),
            Arg::F32(sigma),
            Arg::F32(clamp),
            Arg::F32(low),
            Arg::F32(high),
        ];
        let inputs = [&whole(hat)?, &whole(grad)?];
        self.quads("row_advance", shape, from, &more, &inputs, out)
    }
}

/// Number, width and device of the rows of `x`, if they are `rows` in f32.
fn rows_of(x: &Tensor, rows: usize) -> Option<(usize, usize, &Device)> {
    let fits = x.dtype() == DType::F32 && x.dims().first() == Some(&rows) && rows > 0;
    fits.then(|| (rows, x.elem_count() / rows, x.device()))
}

impl<L: Launcher> RandomOps for Kernels<L> {
    fn random(
        &self,
        law: Law,
        key: Key,
        chains: &Chains,
        width: usize,
        device: &Device,
    ) -> Result<Option<Tensor>> {
        let kernel = match law {
            Law::Normal => "normal_rows",
            Law::Uniform => "uniform_rows",
        };
        self.quads(kernel, (chains.len(), width, device), Source::Key(key, chains), &[], &[], None)
    }
}

impl<L: Launcher> RowOps for Kernels<L> {
    fn add_noise(&self, x: &Tensor, sigma: f64, chains: &Chains, key: Key) -> Result<Option<Tensor>> {
        self.noised(x, sigma, chains.len(), Source::Key(key, chains))
    }

    fn advance(
        &self,
        step: &RowStep,
        hat: &Tensor,
        grad: &Tensor,
        chains: &Chains,
        key: Key,
    ) -> Result<Option<Tensor>> {
        self.advanced(Some(step), (hat, grad), chains.len(), Source::Key(key, chains), None)
    }

    fn mean_square(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let rows = x.dims().first().copied().unwrap_or(0);
        let width = x.elem_count() / rows.max(1);
        let Some(columns) = count(width).filter(|_| x.dtype() == DType::F32 && rows > 0 && width > 0) else {
            return Ok(None);
        };
        let (x, out) = (whole(x)?, self.empty(&[rows], x.device())?);
        // SAFETY: x has rows × width entries, out has rows, one a block.
        unsafe {
            let args = [columns.into(), Arg::In(&x), Arg::Out(&out)];
            self.launch("row_mean_square", rows, threads_for(width), &args)?;
        }
        Ok(Some(out))
    }
}

impl<L: Launcher> TapeOps for Kernels<L> {
    fn add_noise(&self, tape: &Tape) -> Result<Option<Tensor>> {
        self.noised(&tape.x, 0.0, tape.chains.dims1()?, Source::Tape(tape))
    }

    fn advance(&self, tape: &Tape, hat: &Tensor, grad: &Tensor) -> Result<bool> {
        let rows = tape.chains.dims1()?;
        let done = self.advanced(None, (hat, grad), rows, Source::Tape(tape), Some(&tape.x))?;
        Ok(done.is_some())
    }

    fn log(&self, tape: &Tape, energy: &Tensor, grad: &Tensor) -> Result<bool> {
        let Some(square) = self.mean_square(grad)? else { return Ok(false) };
        let (_, b) = tape.energy.dims2()?;
        let single = energy.dims() == [b] && energy.dtype() == DType::F32;
        let Some(rows) = count(b).filter(|_| single && square.dims() == [b]) else {
            return Ok(false);
        };
        let energy = whole(energy)?;
        let (log, squares) = (Arg::Out(&tape.energy), Arg::Out(&tape.grad_square));
        let args = [rows.into(), Arg::In(&tape.step), Arg::In(&energy), Arg::In(&square), log, squares];
        // SAFETY: energies and squares have as many entries as a row of the tape, which has a row for each of its steps.
        unsafe { self.launch("log_step", 1, threads_for(b), &args)? };
        Ok(true)
    }

    fn next(&self, tape: &Tape) -> Result<()> {
        // SAFETY: one thread counts one number on.
        unsafe { self.launch("next_step", 1, 1, &[Arg::Out(&tape.step)]) }
    }

    fn reels(&self) -> &Reels {
        &self.reels
    }

    fn mode(&self) -> u64 {
        self.launcher.mode()
    }

    fn prepared(&self, walk: &mut dyn FnMut() -> ebm_core::Result<()>) -> ebm_core::Result<()> {
        self.launcher.prepared(walk)
    }

    fn record(
        &self,
        tape: &Tape,
        step: &mut dyn FnMut() -> ebm_core::Result<()>,
    ) -> ebm_core::Result<Option<Box<dyn Recording>>> {
        self.launcher.record(tape.x.dims(), step)
    }
}

impl<L: Launcher> BranchOps for Kernels<L> {
    fn apart(&self, works: &mut [&mut dyn FnMut() -> ebm_core::Result<()>]) -> ebm_core::Result<()> {
        self.launcher.apart(works)
    }
}
