//! Programs on entries, interpreted by one kernel.

use candle_core::{DType, Result, Tensor};
use ebm_core::operators::{Arithmetic, Elementwise, ElementwiseOps, Place};

use super::args::BLOCK;
use super::{Kernels, whole};
use crate::launcher::{Arg, Launcher};

// The lengths of `Program` in elementwise.cuh; what is longer is not covered.
const TENSORS: usize = 6;
const NUMBERS: usize = 16;
const STEPS: usize = 48;

/// `Program` of elementwise.cuh, word by word: counts, numbers, steps, registers of the outputs. `None` if it is too long
/// or reads what is not there.
pub(super) fn packed(program: &Elementwise, numbers: &[f64]) -> Option<Vec<u32>> {
    let sizes = [program.inputs, numbers.len(), program.steps.len(), program.outputs.len()];
    let room = [TENSORS, NUMBERS, STEPS, TENSORS];
    if sizes.iter().zip(room).any(|(n, most)| *n > most) || numbers.len() != program.numbers {
        return None;
    }
    let known = |place: Place, step: usize| match place {
        Place::Input(k) => k < program.inputs,
        Place::Number(k) => k < program.numbers,
        Place::Step(k) => k < step,
    };
    if !program.steps.iter().enumerate().all(|(at, s)| known(s.a, at) && known(s.b, at))
        || !program.outputs.iter().all(|p| known(*p, program.steps.len()))
    {
        return None;
    }
    // Registers: inputs, numbers, results of the steps.
    let register = |place: Place| match place {
        Place::Input(k) => k,
        Place::Number(k) => program.inputs + k,
        Place::Step(k) => program.inputs + numbers.len() + k,
    };
    let step = |s: &ebm_core::operators::Step| {
        let op = match s.op {
            Arithmetic::Add => 0,
            Arithmetic::Sub => 1,
            Arithmetic::Mul => 2,
            Arithmetic::Div => 3,
            Arithmetic::Sqrt => 4,
        };
        (op | register(s.a) << 8 | register(s.b) << 16) as u32
    };
    let fill = |words: Vec<u32>, n: usize| words.into_iter().chain(std::iter::repeat(0)).take(n);
    let numbers = numbers.iter().map(|v| (*v as f32).to_bits()).collect();
    let outputs = program.outputs.iter().map(|p| register(*p) as u32).collect();
    let mut words: Vec<u32> = sizes.iter().map(|n| *n as u32).collect();
    words.extend(fill(numbers, NUMBERS));
    words.extend(fill(program.steps.iter().map(step).collect(), STEPS));
    words.extend(fill(outputs, TENSORS));
    Some(words)
}

impl<L: Launcher> ElementwiseOps for Kernels<L> {
    fn map(&self, program: &Elementwise, numbers: &[f64], inputs: &[&Tensor]) -> Result<Option<Vec<Tensor>>> {
        let Some(first) = inputs.first().filter(|_| inputs.len() == program.inputs) else { return Ok(None) };
        let Some(words) = packed(program, numbers) else { return Ok(None) };
        if inputs.iter().any(|t| t.dims() != first.dims() || t.dtype() != DType::F32) {
            return Ok(None);
        }
        let inputs: Vec<Tensor> = inputs.iter().map(|t| whole(t)).collect::<Result<_>>()?;
        let new = |_: &Place| self.empty(first.dims(), first.device());
        let outputs: Vec<Tensor> = program.outputs.iter().map(new).collect::<Result<_>>()?;
        let mut args = vec![Arg::U64(first.elem_count() as u64), Arg::Words(&words)];
        args.extend((0..TENSORS).map(|k| Arg::from(inputs.get(k))));
        args.extend((0..TENSORS).map(|k| outputs.get(k).map_or(Arg::Null, Arg::Out)));
        // SAFETY: all tensors have as many entries as the first; registers are below the counts, which fit.
        unsafe { self.launch("elementwise", first.elem_count().div_ceil(BLOCK), BLOCK as u32, &args)? };
        Ok(Some(outputs))
    }
}
