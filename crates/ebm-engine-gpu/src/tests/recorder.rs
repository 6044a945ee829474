//! A device that records: what a step launches is written down with its operands, which are then those of every time that it is played.
//!
//! Nothing else can be recorded here, so only steps made of kernels and convolutions can be played; tensor operations happen once, while
//! recording, as constants would.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Result, Tensor};
use ebm_core::Stop;
use ebm_core::operators::{Convolution, ConvolutionOps, Operators, Recording, install};
use ebm_core::plan::Products;

use super::convolutions::Stand;
use super::host::{Host, alone};
use crate::launcher::{Arg, Launcher};
use crate::operators;

/// What was recorded and played so far.
#[derive(Default)]
pub struct Log {
    /// Steps, while one is recorded.
    now: Option<Vec<Started>>,
    pub recordings: usize,
    pub played: usize,
    /// Recordings that somebody holds.
    pub held: usize,
    /// A wish to stop that comes when so many steps were played.
    pub stops: Option<(usize, Stop)>,
}

pub type Shared = Arc<Mutex<Log>>;

pub fn lock(log: &Shared) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Recordings so far, and how many of them are kept.
pub fn counts(log: &Shared) -> (usize, usize) {
    let log = lock(log);
    (log.recordings, log.held)
}

/// A launch with its operands, which it keeps: memory that others would get meanwhile would hide that it was given back.
enum Started {
    Kernel { name: &'static str, blocks: u32, threads: u32, args: Vec<Own> },
    Convolution { what: Convolution, a: Tensor, b: Tensor, out: Tensor },
}

enum Own {
    In(Tensor),
    Out(Tensor),
    Words(Vec<u32>),
    Number(Arg<'static>),
}

impl Own {
    fn of(arg: &Arg<'_>) -> Own {
        match *arg {
            Arg::In(t) => Own::In(t.clone()),
            Arg::Out(t) => Own::Out(t.clone()),
            Arg::Words(words) => Own::Words(words.to_vec()),
            Arg::U32(v) => Own::Number(Arg::U32(v)),
            Arg::U64(v) => Own::Number(Arg::U64(v)),
            Arg::I32(v) => Own::Number(Arg::I32(v)),
            Arg::F32(v) => Own::Number(Arg::F32(v)),
            Arg::Null => Own::Number(Arg::Null),
        }
    }

    fn lent(&self) -> Arg<'_> {
        match self {
            Own::In(t) => Arg::In(t),
            Own::Out(t) => Arg::Out(t),
            Own::Words(words) => Arg::Words(words),
            Own::Number(arg) => *arg,
        }
    }
}

/// The host's kernels, recorded.
pub struct Recorder {
    host: Arc<Host>,
    log: Shared,
}

impl Launcher for Recorder {
    fn name(&self) -> &str {
        "kernels on the processor, recorded"
    }

    fn address(&self, t: &Tensor) -> Result<Option<u64>> {
        self.host.address(t)
    }

    fn channels_last(&self, _: Products) -> bool {
        true
    }

    unsafe fn launch(&self, name: &'static str, blocks: u32, threads: u32, args: &[Arg<'_>]) -> Result<()> {
        if let Some(steps) = &mut lock(&self.log).now {
            let args = args.iter().map(Own::of).collect();
            steps.push(Started::Kernel { name, blocks, threads, args });
            return Ok(());
        }
        // SAFETY: passed on.
        unsafe { self.host.launch(name, blocks, threads, args) }
    }

    fn record(
        &self,
        _: &[usize],
        step: &mut dyn FnMut() -> ebm_core::Result<()>,
    ) -> ebm_core::Result<Option<Box<dyn Recording>>> {
        lock(&self.log).now = Some(Vec::new());
        let done = step();
        let mut log = lock(&self.log);
        let steps = log.now.take().unwrap_or_default();
        done?;
        log.recordings += 1;
        log.held += 1;
        Ok(Some(Box::new(Played { steps, host: self.host.clone(), log: self.log.clone() })))
    }
}

/// Convolutions of the processor, recorded like kernels.
struct Convolutions(Shared);

impl ConvolutionOps for Convolutions {
    fn convolution(&self, what: Convolution, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        // Of a recording only the shape matters.
        let out = Stand.convolution(what, a, b)?;
        if let (Some(steps), Some(out)) = (&mut lock(&self.0).now, &out) {
            let [a, b, out] = [a, b, out].map(Tensor::clone);
            steps.push(Started::Convolution { what, a, b, out });
        }
        Ok(out)
    }
}

struct Played {
    steps: Vec<Started>,
    host: Arc<Host>,
    log: Shared,
}

impl Recording for Played {
    fn play(&self) -> Result<()> {
        {
            let mut log = lock(&self.log);
            log.played += 1;
            if let Some((at, stop)) = &log.stops
                && *at == log.played
            {
                stop.set();
            }
        }
        for step in &self.steps {
            match step {
                Started::Kernel { name, blocks, threads, args } => {
                    let args: Vec<Arg<'_>> = args.iter().map(Own::lent).collect();
                    // SAFETY: the arguments are those of the launch that was recorded, and kept.
                    unsafe { self.host.launch(name, *blocks, *threads, &args)? };
                }
                Started::Convolution { what, a, b, out } => {
                    if let Some(y) = Stand.convolution(*what, a, b)? {
                        out.slice_set(&y, 0, 0)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        lock(&self.log).held -= 1;
    }
}

/// The recording device as the processor's own, for one test at a time; one without tapes, whose steps are told their settings, without `records`.
pub fn installed(records: bool) -> Option<(MutexGuard<'static, ()>, Shared)> {
    let turn = alone();
    let (host, log) = (Arc::new(Host::new()?), Shared::default());
    let convolutions: Arc<dyn ConvolutionOps> = Arc::new(Convolutions(log.clone()));
    let own = operators(Recorder { host, log: log.clone() });
    let tapes = own.tapes.clone().filter(|_| records);
    install(&Device::Cpu, Operators { convolutions: Some(convolutions), tapes, ..own });
    Some((turn, log))
}
