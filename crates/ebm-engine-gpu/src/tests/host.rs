//! The kernels on the processor: `kernels/host.cpp` compiles them with a C++ compiler, if there is one.

use std::collections::BTreeSet;
use std::ffi::{CString, c_char, c_int, c_void};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Tensor};
use ebm_core::operators::{ConvolutionOps, Operators, install};
use ebm_core::plan::Products;
use libloading::Library;

use super::convolutions::Stand;
use crate::launcher::{Arg, InMemory, KERNELS, Launcher};
use crate::operators;

type Launch = unsafe extern "C" fn(*const c_char, u32, u32, *mut *mut c_void) -> c_int;

/// Names of kernels.
type Launched = Arc<Mutex<BTreeSet<&'static str>>>;

/// Runs kernels on the processor.
pub struct Host {
    launch: Launch,
    /// Names of the kernels that were launched.
    pub launched: Launched,
    /// Whether images are kept with their channels last.
    pub last: bool,
}

/// Kernels with one block a row, which go over it in strides of any number of threads.
const ANY_NUMBER: [&str; 15] = [
    "many_elementwise",
    "many_squares",
    "many_totals",
    "many_copy",
    "norm_act",
    "norm_act_back",
    "norm_act_affine",
    "norm_act_tangent",
    "norm_act_tangent_back",
    "norm_act_tangent_affine",
    "row_mean_square",
    "log_step",
    "softmax",
    "softmax_back",
    "kth_smallest",
];

/// The threads of a block take turns on one thread of the host, and so do launches.
static TURN: Mutex<()> = Mutex::new(());

impl Host {
    /// `None`, after saying why, where there is no C++ compiler.
    pub fn new() -> Option<Host> {
        static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
        let library = LIBRARY.get_or_init(|| {
            let folder = tempfile::tempdir().ok()?;
            let out = folder.path().join("kernels.so");
            // The test may run on another machine than it was built on.
            for (name, text) in KERNELS.iter().chain(&[("host.cpp", include_str!("../../kernels/host.cpp"))])
            {
                std::fs::write(folder.path().join(name), text).ok()?;
            }
            let source = folder.path().join("host.cpp");
            let made = Command::new("c++")
                .args(["-std=c++20", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-o"])
                .args([&out, &source])
                .output();
            match made {
                Err(e) => println!("without the host's kernels: no C++ compiler ({e})"),
                Ok(done) if !done.status.success() => panic!("{}", String::from_utf8_lossy(&done.stderr)),
                Ok(_) => {
                    // SAFETY: a library of ours, whose initialisers are those of the C++ runtime.
                    return Some(unsafe { Library::new(&out) }.expect("the library that was just made"));
                }
            }
            None
        });
        let library = library.as_ref()?;
        // SAFETY: host.cpp defines it with this signature; the library is never closed.
        let launch = *unsafe { library.get::<Launch>(b"host_launch\0") }.expect("host_launch");
        Some(Host { launch, launched: Arc::default(), last: false })
    }
}

/// One test at a time: a device has one set of operators.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kernels as the processor's own operators, for one test at a time, and the names of those that it launches; with the channels of
/// images last where `last`.
pub fn installed(last: bool) -> Option<(MutexGuard<'static, ()>, Launched)> {
    let alone = alone();
    let host = Host::new()?;
    let launched = host.launched.clone();
    let host = Host { last, ..host };
    let convolutions = last.then(|| Arc::new(Stand) as Arc<dyn ConvolutionOps>);
    install(&Device::Cpu, Operators { convolutions, ..operators(host) });
    Some((alone, launched))
}

/// Takes the address of a storage that may be written.
struct Address(Mutex<Option<u64>>);

impl InplaceOp1 for Address {
    fn name(&self) -> &'static str {
        "address"
    }
    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let start = layout.start_offset();
        let at = match storage {
            CpuStorage::F32(v) => v[start..].as_mut_ptr() as u64,
            CpuStorage::BF16(v) => v[start..].as_mut_ptr() as u64,
            CpuStorage::U32(v) => v[start..].as_mut_ptr() as u64,
            CpuStorage::I64(v) => v[start..].as_mut_ptr() as u64,
            other => candle_core::bail!("no kernel takes {:?}", other.dtype()),
        };
        *self.0.lock().expect("no panic while it is held") = Some(at);
        Ok(())
    }
}

/// Where the numbers of `t` begin.
fn address(t: &Tensor) -> Result<u64> {
    assert!(t.is_contiguous() && [DType::F32, DType::BF16, DType::U32, DType::I64].contains(&t.dtype()));
    let address = Address(Mutex::new(None));
    t.inplace_op1(&address)?;
    let at = address.0.into_inner().expect("no panic while it is held");
    Ok(at.expect("a storage on the processor"))
}

impl Launcher for Host {
    fn name(&self) -> &str {
        "kernels on the processor"
    }

    fn address(&self, t: &Tensor) -> Result<Option<u64>> {
        address(t).map(Some)
    }

    fn channels_last(&self, _: Products) -> bool {
        self.last
    }

    unsafe fn launch(&self, kernel: &'static str, blocks: u32, threads: u32, args: &[Arg<'_>]) -> Result<()> {
        let name = CString::new(kernel).expect("names have no zero bytes");
        // Fewer turns are faster here.
        let threads = if ANY_NUMBER.contains(&kernel) { threads.min(8) } else { threads };
        self.launched.lock().expect("no panic while it is held").insert(kernel);
        let mut memory = InMemory::new(args, address)?;
        let turn = TURN.lock();
        // SAFETY: passed on to the caller.
        let missing =
            unsafe { (self.launch)(name.as_ptr(), blocks, threads, memory.pointers().as_mut_ptr()) };
        drop(turn);
        if missing != 0 {
            candle_core::bail!("host.cpp has no kernel {kernel}");
        }
        Ok(())
    }
}
