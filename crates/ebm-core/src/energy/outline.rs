//! What an energy is made of, for whoever writes it down again for another program.

use candle_core::Tensor;

use crate::Error;
use crate::params::{ParamSet, Role};
use crate::plan::NetPlan;

/// The refusal of an energy that nobody has written out.
pub(crate) fn unwritten(name: &str) -> Error {
    let hint = "its author may write it out: `Forward::python`, or `EnergyFn::outline`";
    Error::capability(
        "the outline of an energy",
        "layers, a composition or a formula",
        format!("`{name}`"),
        hint,
    )
}

/// An energy taken apart, with the tensors of its parts: networks as plans, compositions as what they compose.
///
/// ```
/// use ebm_core::{BuildCx, Diff, EnergyFn, Forward, Key, Outline, Result, View, candle};
/// struct Bowl;
/// impl Forward for Bowl {
///     fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&candle::Tensor>) -> Result<V> {
///         x.flatten()?.square()?.sum_last()
///     }
///     fn python(&self) -> Option<String> {
///         Some("return x.flatten(1).square().sum(1)".into())
///     }
/// }
/// let mut cx = BuildCx::new(&[2], candle::DType::F32, &candle::Device::Cpu, Key::root(0));
/// let Outline::Formula(found) = cx.autograd(Bowl, &["bowl"])?.outline()? else { panic!() };
/// assert!(found.python.contains("square"));
/// # Ok::<(), ebm_core::Error>(())
/// ```
pub enum Outline {
    /// A network; its parameters stand under the names in the plan.
    Net {
        /// The layers.
        plan: NetPlan,
        /// Parameters and buffers.
        params: ParamSet,
    },
    /// `Σ αₖ Eₖ`.
    Sum(Vec<OutlinePart>),
    /// `−(1/β) log Σ exp(−β (αₖ Eₖ + log Zₖ))`.
    SoftMin {
        /// β.
        sharpness: f64,
        /// The parts.
        parts: Vec<OutlinePart>,
        /// `log Zₖ`, one a part, in nats.
        log_z: Vec<f64>,
    },
    /// `−log Σ_y exp(−E(x, y))` over one-hot conditions `y`.
    Marginal {
        /// Number of classes.
        classes: usize,
        /// The energy of pairs.
        inner: Box<Outline>,
    },
    /// `E(x | c)` with one `c` for all samples.
    Given {
        /// c.
        condition: Vec<f64>,
        /// The conditional energy.
        inner: Box<Outline>,
    },
    /// `E(R x Cᵀ)`, the map for each channel of an image.
    View {
        /// R, `(H', H)`.
        rows: Vec<Vec<f64>>,
        /// C, `(W', W)`.
        columns: Vec<Vec<f64>>,
        /// The energy of what it gives.
        inner: Box<Outline>,
    },
    /// An energy of another form, in words of its author.
    Formula(Formula),
}

/// A named part of an outline.
pub struct OutlinePart {
    /// Its name.
    pub name: String,
    /// Factor α of its energy.
    pub weight: f64,
    /// What it is made of.
    pub energy: Outline,
}

/// An energy written out for PyTorch by its author.
pub struct Formula {
    /// The name of the energy, or its place in the configuration.
    pub name: String,
    /// Tensors that it reads, by names that are words of Python (`a.b` is read as `a_b`).
    pub tensors: Vec<(String, Tensor, Role)>,
    /// Energies that it calls.
    pub parts: Vec<(String, Outline)>,
    /// The body of `forward(self, x, condition)`, without indentation: `x` `(B, ...)`, `condition` `(B, n)` or `None`,
    /// tensors as `self.name`, parts as `self.name(x, condition)`, which give energies `(B,)`, as the body itself does. `torch`,
    /// `F` (`torch.nn.functional`) and `math` are there. Only `F` has `softplus`, `one_hot` and the like.
    pub python: String,
}

impl Formula {
    /// A formula over all tensors of `params`.
    pub fn new(name: impl Into<String>, params: &ParamSet, python: impl Into<String>) -> Self {
        let tensors = params
            .names()
            .filter_map(|name| Some((name.to_string(), params.get(name)?.clone(), params.role(name)?)));
        Formula { name: name.into(), tensors: tensors.collect(), parts: Vec::new(), python: python.into() }
    }
}
