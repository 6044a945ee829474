//! The engine as the framework sees it: the dense path, else the convolutional one, checked on one batch.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use ebm_core::energy::Condition;
use ebm_core::{Accelerated, Batch, Chains, EnergyFn, Engine, Error, Key, Result};

use crate::conv::ConvEnergy;
use crate::dense::DenseEnergy;
use crate::range::InRange;
use crate::simd::Isa;

/// Offers fused twins of energies on the processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuEngine {
    isa: Option<Isa>,
}

/// Twin and graph are two f32 programs; each is within about 1e-5 of the truth for published nets. A
/// wrong formula is off by far more than this share.
const AGREE: f64 = 2e-3;

impl CpuEngine {
    /// An engine on the best instruction set of this processor, or the one that `EBM_ISA` names.
    pub fn new() -> Self {
        CpuEngine::default()
    }

    /// An engine on the instruction set `isa`; energies stay on the graph where it is missing.
    pub fn with_isa(isa: Isa) -> Self {
        CpuEngine { isa: Some(isa) }
    }
}

impl Engine for CpuEngine {
    fn name(&self) -> &str {
        "cpu"
    }

    fn accelerate(&self, energy: &Arc<dyn EnergyFn>) -> Result<Accelerated> {
        if energy.plan().is_none() {
            return Ok(Accelerated::Graph("the energy has no layer plan".into()));
        }
        if let Err(why) = crate::pool::threads_wanted() {
            return Err(Error::config("engine", why));
        }
        let isa = match self.isa.map_or_else(Isa::chosen, Ok) {
            Ok(isa) => isa,
            Err(why) => return Err(Error::config("engine", why)),
        };
        if !isa.available() {
            return Ok(Accelerated::Graph(format!("this processor has no {}", isa.name())));
        }
        let dense = match DenseEnergy::new(energy.clone(), isa) {
            Ok(twin) => return checked(energy, Arc::new(InRange::new(energy.clone(), Arc::new(twin)))),
            Err(e) => format!("the dense engine does not cover this plan: {e}"),
        };
        match ConvEnergy::new(energy.clone(), isa) {
            Ok(twin) => checked(energy, Arc::new(InRange::new(energy.clone(), Arc::new(twin)))),
            Err(e) => {
                let conv = format!("the convolutional engine does not cover this plan: {e}");
                // The reason of the path that fits the samples.
                let image = energy.spec().sample_shape.len() == 3;
                Ok(Accelerated::Graph(if image { conv } else { dense }))
            }
        }
    }
}

/// The twin, if it agrees with the energy on a small batch.
fn checked(energy: &Arc<dyn EnergyFn>, twin: Arc<dyn EnergyFn>) -> Result<Accelerated> {
    let spec = energy.spec();
    let len: usize = spec.sample_shape.iter().product();
    let chains = Chains::range(0, if len <= 4096 { 2 } else { 1 });
    let key = Key::root(0).at("engine self-check");
    let x = key.normal(&chains, &spec.sample_shape, DType::F32, &Device::Cpu)?.affine(0.5, 0.5)?;
    let cond = match spec.condition {
        Condition::None => None,
        Condition::Optional(n) | Condition::Required(n) => {
            Some(key.at("condition").normal(&chains, &[n], DType::F32, &Device::Cpu)?)
        }
    };
    let at = Batch::new(x)?.with_cond(cond);
    let (a, b) = (energy.slope(&at)?, twin.slope(&at)?);
    // Terms may cancel: what the energies round to is a share of the terms' size.
    let terms = energy.terms(&at)?.abs()?.sum(1)?;
    for (what, a, b, scale) in
        [("energies", &a.energy, &b.energy, &terms), ("input gradients", &a.grad, &b.grad, &a.grad)]
    {
        let (size, off) = (distance(scale, scale)?.0, distance(a, b)?.1);
        // Weights that give no finite energy are not the twin's fault.
        let agrees = off <= AGREE * size + 1e-5;
        if size.is_finite() && !agrees {
            // Gradients of parts may cancel as well; then each part is a better judge of itself.
            if energy.spec().terms.len() > 1 {
                let why = format!("{what} of the fused whole differ from the graph's by {off:.2e}");
                return Ok(Accelerated::Graph(why));
            }
            return Err(Error::numeric(
                format!("{what} of the fused twin ({})", twin.engine()),
                0,
                format!(
                    "differ from the graph's by {off:.2e}, of norm {size:.2e}, bound {AGREE:.0e}; \
                     set run.engine = \"graph\" and report the network"
                ),
            ));
        }
    }
    Ok(Accelerated::Twin(twin))
}

/// Norm of `a` and of `a − b`.
fn distance(a: &Tensor, b: &Tensor) -> Result<(f64, f64)> {
    let read = |t: &Tensor| -> Result<Vec<f64>> { Ok(t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?) };
    let (a, b) = (read(a)?, read(b)?);
    let off: f64 = a.iter().zip(&b).map(|(x, y)| (x - y).powi(2)).sum();
    let size: f64 = a.iter().map(|x| x * x).sum();
    Ok((size.sqrt(), off.sqrt()))
}
