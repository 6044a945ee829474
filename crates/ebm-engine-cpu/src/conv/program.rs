//! The engine's own steps, to which [`lower`](super::lower) brings a plan.

use super::kernels::patches::Reach;
use super::taps::Taps;

/// Index into [`Program::values`].
pub(crate) type ValueId = usize;
/// Index into [`Program::params`].
pub(crate) type ParamId = usize;

/// A tensor of the program; vectors are maps of 1×1.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub c: usize,
    pub h: usize,
    pub w: usize,
}

impl Value {
    pub(crate) fn cb(&self) -> usize {
        self.c.div_ceil(16)
    }
}

/// A named tensor the program reads.
#[derive(Clone, Debug)]
pub(crate) struct Param {
    pub name: String,
    /// Number of entries.
    pub len: usize,
    /// Buffers receive no gradient.
    pub trainable: bool,
}

/// How a convolution is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Winograd with transform size 6, F(4×4), or 4, F(2×2).
    Winograd(usize),
    /// Patches and one product.
    Patches,
    /// Patches whose few channels stand beside each other, read from the sample itself.
    Sample,
    /// Box sums and one product: convolution and pooling in one.
    Boxes,
    /// A 3×3 convolution of stride 2, of a map or of its box sums, by fewer products: see [`cells`](super::cells).
    Strided { boxes: bool },
}

/// The weight rule with its buffers resolved.
#[derive(Clone, Debug)]
pub(crate) enum Rule {
    Plain,
    Standardised,
    Spectral { u: ParamId, v: ParamId },
}

/// A convolution (or linear map), perhaps with the pooling that follows it.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    pub weight: ParamId,
    pub bias: Option<ParamId>,
    /// The bias has no effect (instance norm follows).
    pub bias_dropped: bool,
    pub cin: usize,
    pub cout: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    /// The kernel is one row high and meets no padding above and below.
    pub along: bool,
    pub rule: Rule,
    pub algorithm: Algorithm,
    /// Index among the convolutions.
    pub index: usize,
}

impl Conv {
    /// Whether it averages 3×3 of its places, and leaves out every other one.
    pub(crate) fn pooled(&self) -> bool {
        matches!(self.algorithm, Algorithm::Boxes | Algorithm::Strided { boxes: true })
    }

    /// What its weights are multiplied with.
    pub(crate) fn scale(&self) -> f32 {
        if self.pooled() { 1.0 / 9.0 } else { 1.0 }
    }

    /// Rows of the kernel, and rows of zeros above the map.
    pub(crate) fn rows(&self) -> (usize, usize) {
        if self.along { (1, 0) } else { (self.kernel, self.padding) }
    }

    /// Entries of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.rows().0 * self.kernel
    }

    /// How it steps over its input.
    pub(crate) fn reach(&self) -> Reach {
        let (high, top) = self.rows();
        Reach { high, wide: self.kernel, stride: self.stride, top, left: self.padding }
    }

    /// Floats of one row of a patch of the sample.
    pub(crate) fn run(&self) -> usize {
        self.kernel * self.cin
    }

    /// Blocks of 16 rows that the packed weights of one output block have.
    pub(crate) fn inner_blocks(&self) -> usize {
        match self.algorithm {
            Algorithm::Sample if self.run() <= 16 => self.rows().0.div_ceil(16 / self.run()),
            Algorithm::Sample => self.rows().0 * self.run().div_ceil(16),
            _ => self.taps() * self.cin.div_ceil(16),
        }
    }

    /// Row of the packed weights that meets input channel `channel` at kernel entry `tap`. A row of a patch of the sample that is
    /// shorter than a block stands in one block with as many others as fit whole; a longer one begins a block.
    pub(crate) fn inner_row(&self, tap: usize, channel: usize) -> usize {
        if self.algorithm != Algorithm::Sample {
            return tap * self.cin.next_multiple_of(16) + channel;
        }
        self.run_start(tap / self.kernel) + tap % self.kernel * self.cin + channel
    }

    /// Row of the packed weights at which row `row` of the kernel begins.
    pub(crate) fn run_start(&self, row: usize) -> usize {
        let run = self.run();
        if run > 16 { row * run.next_multiple_of(16) } else { row / (16 / run) * 16 + row % (16 / run) * run }
    }
}

/// Group norm, label affine, activation, residual: each optional, in this order.
#[derive(Clone, Debug)]
pub(crate) struct Affine {
    pub norm: Option<Norm>,
    pub label: Option<Label>,
    /// Activation code and slope.
    pub act: (u8, f32),
    /// Whether `inputs[1]` is added to the result.
    pub residual: bool,
    /// Index among the affine steps.
    pub index: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Norm {
    pub groups: usize,
    pub epsilon: f32,
    pub weight: Option<ParamId>,
    pub bias: Option<ParamId>,
}

/// `(g, s) = split(W y + b)`.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub weight: ParamId,
    pub bias: ParamId,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// The sample itself; where `points`, its last axis are the channels.
    Input {
        points: bool,
    },
    /// The condition vector, zeros without one.
    Condition,
    Conv(Conv),
    Affine(Affine),
    /// Separable pooling.
    Pool(Taps),
    /// `softmax(QᵀK)` applied to `V`; inputs are q, k, v.
    Attention,
    /// `x + γ·o`; inputs are x, o.
    Blend(ParamId),
    Add,
    Scale(f32),
    /// Sum over space times a factor.
    SpatialSum(f32),
    Flatten,
    Concat,
    SumAll,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub name: String,
    pub kind: Kind,
    pub inputs: Vec<ValueId>,
    pub out: ValueId,
}

impl Step {
    /// Its convolution, if it is one.
    pub(crate) fn conv(&self) -> Option<&Conv> {
        match &self.kind {
            Kind::Conv(conv) => Some(conv),
            _ => None,
        }
    }
}

/// A lowered plan.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub values: Vec<Value>,
    pub steps: Vec<Step>,
    pub params: Vec<Param>,
    /// The value of each term.
    pub terms: Vec<ValueId>,
    /// Entries of one sample.
    pub sample_len: usize,
    /// Length of the condition vector.
    pub condition: usize,
    pub convs: usize,
    pub affines: usize,
}
