//! What starts kernels on a device: the one thing to write for a device that is to have our kernels.

use std::ffi::c_void;

use candle_core::{Result, Tensor};
use ebm_core::operators::Recording;
use ebm_core::plan::Products;

// ANCHOR: launcher
/// Starts the kernels of `kernels/operators.cu` on a device: with a `Launcher`, [`operators`](crate::operators) are those of the device.
///
/// The kernels are written in CUDA C. A device with another language has them in that, under the same names, with the same arguments in
/// the same order; [`KERNELS`] is the text to translate. All numbers are f32 unless a tensor says otherwise.
pub trait Launcher: Send + Sync + 'static {
    /// Name of the whole in logs.
    fn name(&self) -> &str;

    /// Starts `kernel` on so many blocks of so many threads.
    ///
    /// # Safety
    /// `args` must be those of the kernel in order, and every tensor among them must hold as many numbers as the kernel uses.
    ///
    /// # Errors
    /// If the device fails.
    unsafe fn launch(&self, kernel: &'static str, blocks: u32, threads: u32, args: &[Arg<'_>]) -> Result<()>;

    /// Whether a network with such products had better keep its images with the channels last; see
    /// [`LastOps::stored`](ebm_core::operators::LastOps::stored). Only for devices that have such convolutions.
    fn channels_last(&self, products: Products) -> bool {
        let _ = products;
        false
    }

    /// The address of the first number of `t` on the device, for tables of tensors that kernels go over; `None` where kernels do not follow
    /// addresses.
    ///
    /// # Errors
    /// If `t` lies elsewhere.
    fn address(&self, t: &Tensor) -> Result<Option<u64>> {
        let _ = t;
        Ok(None)
    }

    /// A number for whatever else decides what is started; see [`TapeOps::mode`](ebm_core::operators::TapeOps::mode).
    fn mode(&self) -> u64 {
        0
    }

    /// Runs a walk in which a step may be recorded; see [`TapeOps::prepared`](ebm_core::operators::TapeOps::prepared).
    ///
    /// # Errors
    /// If `walk` fails.
    fn prepared(&self, walk: &mut dyn FnMut() -> ebm_core::Result<()>) -> ebm_core::Result<()> {
        walk()
    }

    /// What `step` starts, which moves samples of this shape and is not run; see [`TapeOps::record`](ebm_core::operators::TapeOps::record).
    ///
    /// # Errors
    /// If the device fails.
    fn record(
        &self,
        shape: &[usize],
        step: &mut dyn FnMut() -> ebm_core::Result<()>,
    ) -> ebm_core::Result<Option<Box<dyn Recording>>> {
        let _ = (shape, step);
        Ok(None)
    }

    /// Runs `works`, in no order while a step is recorded if the device can; see
    /// [`BranchOps::apart`](ebm_core::operators::BranchOps::apart).
    ///
    /// # Errors
    /// That of the first work that fails.
    fn apart(&self, works: &mut [&mut dyn FnMut() -> ebm_core::Result<()>]) -> ebm_core::Result<()> {
        works.iter_mut().try_for_each(|work| work())
    }
}
// ANCHOR_END: launcher

/// One argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub enum Arg<'a> {
    /// A number.
    U32(u32),
    /// A number.
    U64(u64),
    /// A number.
    I32(i32),
    /// A number.
    F32(f32),
    /// A tensor in one piece that is read.
    In(&'a Tensor),
    /// A tensor in one piece that is written, or read and written.
    Out(&'a Tensor),
    /// No tensor, where the kernel does without.
    Null,
    /// A structure by value, as 32-bit words.
    Words(&'a [u32]),
}

impl From<u32> for Arg<'_> {
    fn from(v: u32) -> Self {
        Arg::U32(v)
    }
}

impl From<i32> for Arg<'_> {
    fn from(v: i32) -> Self {
        Arg::I32(v)
    }
}

/// The kernels compute in f32.
impl From<f64> for Arg<'_> {
    fn from(v: f64) -> Self {
        Arg::F32(v as f32)
    }
}

impl<'a> From<&'a Tensor> for Arg<'a> {
    fn from(t: &'a Tensor) -> Self {
        Arg::In(t)
    }
}

impl<'a> From<Option<&'a Tensor>> for Arg<'a> {
    fn from(t: Option<&'a Tensor>) -> Self {
        t.map_or(Arg::Null, Arg::In)
    }
}

/// Arguments in memory, for drivers that want a pointer to each: tensors as addresses, everything else as it is.
pub struct InMemory(Vec<Held>);

enum Held {
    One(u64),
    Many(Vec<u64>),
}

impl InMemory {
    /// With the address of each tensor's first number.
    ///
    /// # Errors
    /// If `address` fails.
    pub fn new(args: &[Arg<'_>], address: impl Fn(&Tensor) -> Result<u64>) -> Result<InMemory> {
        // A word's bytes lie at the front of its place.
        let word = |bytes: [u8; 4]| {
            let [a, b, c, d] = bytes;
            Held::One(u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]))
        };
        let held = |arg: &Arg<'_>| {
            Ok(match arg {
                Arg::U32(v) => word(v.to_ne_bytes()),
                Arg::I32(v) => word(v.to_ne_bytes()),
                Arg::F32(v) => word(v.to_ne_bytes()),
                Arg::U64(v) => Held::One(*v),
                Arg::In(t) | Arg::Out(t) => Held::One(address(t)?),
                Arg::Null => Held::One(0),
                Arg::Words(words) => Held::Many(words.chunks(2).map(two).collect()),
            })
        };
        Ok(InMemory(args.iter().map(held).collect::<Result<_>>()?))
    }

    /// A pointer to each argument, good as long as `self` lives.
    pub fn pointers(&mut self) -> Vec<*mut c_void> {
        let start = |held: &mut Held| match held {
            Held::One(v) => std::ptr::from_mut(v).cast(),
            Held::Many(v) => v.as_mut_ptr().cast(),
        };
        self.0.iter_mut().map(start).collect()
    }
}

/// Two words as they follow one another in memory.
fn two(words: &[u32]) -> u64 {
    let mut bytes = [0; 8];
    for (place, word) in bytes.chunks_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    u64::from_ne_bytes(bytes)
}

macro_rules! kernels {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("../kernels/", $name)))),*]
    };
}

/// The files of the kernels, by name; `operators.cu` includes the others.
pub const KERNELS: &[(&str, &str)] = kernels![
    "attention.cuh",
    "elementwise.cuh",
    "last.cuh",
    "many.cuh",
    "neighbours.cuh",
    "norm.cuh",
    "operators.cu",
    "pool.cuh",
    "random.cuh",
    "softmax.cuh",
    "sums.cuh",
    "tangent.cuh",
    "walk.cuh"
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_argument_has_its_bytes_at_its_pointer() {
        let words = [7u32, 1.5f32.to_bits(), 9];
        let args =
            [Arg::U32(3), Arg::I32(-2), Arg::F32(0.25), Arg::U64(1 << 40), Arg::Null, Arg::Words(&words)];
        let mut memory = InMemory::new(&args, |_| Ok(0)).unwrap();
        let at = memory.pointers();
        // SAFETY: the types are those of the arguments.
        unsafe {
            assert_eq!((*at[0].cast::<u32>(), *at[1].cast::<i32>(), *at[2].cast::<f32>()), (3, -2, 0.25));
            assert_eq!((*at[3].cast::<u64>(), *at[4].cast::<u64>()), (1 << 40, 0));
            assert_eq!(*at[5].cast::<[u32; 3]>(), words);
        }
    }
}
