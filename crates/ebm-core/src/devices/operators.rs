//! What a device does in one kernel where tensor operations would take several, or take a detour.
//!
//! [`Operators`] is a table of groups, each a small trait complete in itself; a device fills in the groups it has. Its engine
//! [installs](install) the table when it opens a device; layers, samplers and optimisers ask for the group they can use by the
//! device of their tensors and go on with tensor operations where there is none. All methods see plain numbers: no result is a node
//! of a graph. A method that answers `None` does not cover the case (a dtype, a shape), which costs nothing.

mod branches;
mod elementwise;
mod entries;
mod images;
mod last;
mod many;
mod norms;
mod random;
mod recordings;
mod rows;
mod search;
mod softmax;
mod tapes;
mod walk;

use std::sync::{Arc, PoisonError, RwLock};

use candle_core::{Device, DeviceLocation};

pub use branches::BranchOps;
pub use elementwise::{Arithmetic, Elementwise, ElementwiseOps, Entry, Formula, Place, Step};
pub use entries::map_entries;
pub use images::{Convolution, ConvolutionOps, Order, Pass, PoolOps};
pub use last::{LastOps, Parts};
pub use many::{ManyOps, map_each};
pub use norms::{NormAct, NormOps, TangentGrads, TangentOps};
pub use random::{Law, RandomOps};
pub use recordings::{Identity, Recording, Reels};
pub use rows::RowOps;
pub use search::{Nearest, SearchOps};
pub use softmax::SoftmaxOps;
pub use tapes::{Tape, TapeOps};
pub use walk::walk;

/// The operators of a device, group by group.
///
/// ```
/// use ebm_core::operators::Operators;
/// let none = Operators { name: "bare device".into(), ..Operators::default() };
/// assert!(none.softmax.is_none());
/// ```
#[derive(Clone, Default)]
pub struct Operators {
    /// Name in logs.
    pub name: String,
    /// Random numbers.
    pub random: Option<Arc<dyn RandomOps>>,
    /// Steps of samplers that touch each row alone.
    pub rows: Option<Arc<dyn RowOps>>,
    /// The same steps recorded once.
    pub tapes: Option<Arc<dyn TapeOps>>,
    /// Parts of them that stand in no order.
    pub branches: Option<Arc<dyn BranchOps>>,
    /// Convolutions and their gradients.
    pub convolutions: Option<Arc<dyn ConvolutionOps>>,
    /// Pooling and its transpose.
    pub pools: Option<Arc<dyn PoolOps>>,
    /// Norms with what follows them, both ways.
    pub norms: Option<Arc<dyn NormOps>>,
    /// Their derivatives along a direction, both ways.
    pub tangents: Option<Arc<dyn TangentOps>>,
    /// What lies between the convolutions of a network whose channels come last, both ways.
    pub last: Option<Arc<dyn LastOps>>,
    /// Softmax, both ways.
    pub softmax: Option<Arc<dyn SoftmaxOps>>,
    /// Nearest neighbours.
    pub search: Option<Arc<dyn SearchOps>>,
    /// Arithmetic on entries, for updates of parameters.
    pub elementwise: Option<Arc<dyn ElementwiseOps>>,
    /// The same of many tensors at once, with sums and copies.
    pub many: Option<Arc<dyn ManyOps>>,
}

static INSTALLED: RwLock<Vec<(DeviceLocation, Arc<Operators>)>> = RwLock::new(Vec::new());

/// Makes `operators` those of `device`, in place of earlier ones.
pub fn install(device: &Device, operators: Operators) {
    let place = device.location();
    let mut all = INSTALLED.write().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(at, _)| *at != place);
    all.push((place, Arc::new(operators)));
}

/// The operators of `device`, if an engine has installed any.
pub fn operators(device: &Device) -> Option<Arc<Operators>> {
    let all = INSTALLED.read().unwrap_or_else(PoisonError::into_inner);
    if all.is_empty() {
        return None;
    }
    let place = device.location();
    all.iter().find(|(at, _)| *at == place).map(|(_, o)| o.clone())
}
