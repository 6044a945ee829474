//! How the end of a step depends on the parameters and on its start, and the pull back through many of them.

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

use crate::{Batch, EnergyFn, Result};

/// How one step's result depends on θ and on the step's start, to first order.
///
/// A step moves a position `x` and, where it has one, a momentum `v`. Each simple link says what becomes of `dx` and
/// `dv`; what it does not name stays. Underdamped steps are sequences of [`Link::Kick`], [`Link::Drift`] and
/// [`Link::Damp`]. Random numbers, decisions and step sizes are held fixed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Link {
    /// `dx′ = pass ⊙ (dx − scale · active ⊙ d[∇E(x)])`, the gradient taken at `at`.
    Descent {
        /// The point at which the gradient was taken (noise already added), as a constant.
        at: Batch,
        /// Step size λ.
        scale: f64,
        /// 1 where the result moves with its argument, 0 where a clamp holds it; `None` means 1 everywhere.
        pass: Option<Tensor>,
        /// 1 where the gradient enters, 0 where it was limited or the row rejected; `None` means 1. Where rows have
        /// step sizes of their own, they are factors here, and `scale` is 1.
        active: Option<Tensor>,
    },
    /// `dx′ = dx`: the step adds something that depends on neither θ nor x.
    Identity,
    /// `dx′ = M dx`: the step is linear in x, or has the derivative M there, and does not look at θ.
    Linear(Transpose),
    /// `dv′ = dv − scale · active ⊙ d[∇E(x)]`: the gradient at `at` enters the momentum.
    Kick {
        /// The point at which the gradient was taken, as a constant.
        at: Batch,
        /// Factor of the gradient.
        scale: f64,
        /// Factors of rows or coordinates on top of `scale`; `None` means 1.
        active: Option<Tensor>,
    },
    /// `dx′ = dx + scale · active ⊙ dv`: the momentum moves the position.
    Drift {
        /// Time step.
        scale: f64,
        /// Factors of rows or coordinates on top of `scale`; `None` means 1.
        active: Option<Tensor>,
    },
    /// `dv′ = keep · dv`: friction, or with 0 a momentum drawn afresh.
    Damp {
        /// What is left of the momentum.
        keep: f64,
    },
    /// The result is a constant: nothing before this step is differentiated.
    Cut,
    /// Several links in the order in which they happened, as one step of a composed kernel.
    Sequence(Vec<Link>),
}

/// The transpose of a linear map of samples, each row by a map of its own.
#[derive(Clone)]
pub struct Transpose(Arc<Map>);

type Map = dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync;

impl Transpose {
    /// The map `u ↦ Mᵀu`: of cotangents `(n, ...)` of the ends of the *first* `n` rows it makes those of their starts.
    pub fn new(map: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static) -> Self {
        Transpose(Arc::new(map))
    }

    /// `Mᵀu` for cotangents `u` `(n, ...)` of the first `n` rows.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn of(&self, u: &Tensor) -> Result<Tensor> {
        (self.0)(u)
    }
}

impl fmt::Debug for Transpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transpose")
    }
}

impl Link {
    /// The link `dx′ = M dx` by the map `u ↦ Mᵀu`, see [`Transpose::new`].
    pub fn linear(transpose: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static) -> Self {
        Link::Linear(Transpose::new(transpose))
    }

    /// The link of the first `rows` rows.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn narrow(self, rows: usize) -> Result<Link> {
        let cut = |t: Option<Tensor>| -> Result<Option<Tensor>> {
            t.map(|t| if t.dims()[0] > rows { Ok(t.narrow(0, 0, rows)?) } else { Ok(t) }).transpose()
        };
        Ok(match self {
            Link::Descent { at, scale, pass, active } if at.len() > rows => {
                Link::Descent { at: at.narrow(0, rows)?, scale, pass: cut(pass)?, active: cut(active)? }
            }
            Link::Kick { at, scale, active } if at.len() > rows => {
                Link::Kick { at: at.narrow(0, rows)?, scale, active: cut(active)? }
            }
            Link::Drift { scale, active } => Link::Drift { scale, active: cut(active)? },
            Link::Sequence(parts) => {
                Link::Sequence(parts.into_iter().map(|part| part.narrow(rows)).collect::<Result<_>>()?)
            }
            other => other,
        })
    }

    /// The link of a step on `factor·E` as one on `E`.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Link {
        match self {
            Link::Descent { at, scale, pass, active } => {
                Link::Descent { at, scale: scale * factor, pass, active }
            }
            Link::Kick { at, scale, active } => Link::Kick { at, scale: scale * factor, active },
            Link::Sequence(parts) => {
                Link::Sequence(parts.into_iter().map(|part| part.scaled(factor)).collect())
            }
            other => other,
        }
    }

    /// Whether the parameters enter here.
    fn looks_at_energy(&self) -> bool {
        matches!(self, Link::Descent { .. } | Link::Kick { .. })
    }

    /// The simple links of a link, oldest first.
    fn flatten<'a>(&'a self, out: &mut Vec<&'a Link>) {
        match self {
            Link::Sequence(parts) => parts.iter().for_each(|part| part.flatten(out)),
            simple => out.push(simple),
        }
    }
}

/// The last links of a program, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Trail(Vec<Link>);

/// A demand that the trail makes when a cotangent is pulled back: ∇_θ Σ⟨v, ∇ₓE(at)⟩.
#[derive(Clone, Debug)]
pub struct SlopeDemand {
    /// Where the gradient was taken.
    pub at: Batch,
    /// The constant direction.
    pub v: Tensor,
}

impl Trail {
    /// A trail of these links, oldest first.
    pub fn of(links: Vec<Link>) -> Self {
        Trail(links)
    }

    /// Number of links.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no links.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last `n` links, for one who reaches less far back than others.
    #[must_use]
    pub fn last(&self, n: usize) -> Self {
        Trail(self.0[self.0.len().saturating_sub(n)..].to_vec())
    }

    /// The links, oldest first, for programs made of programs.
    pub fn into_links(self) -> Vec<Link> {
        self.0
    }

    /// Appends a link and keeps the last `keep`.
    pub fn push(&mut self, link: Link, keep: usize) {
        self.0.push(link);
        if self.0.len() > keep {
            self.0.remove(0);
        }
    }

    /// Turns a cotangent `u = ∂L/∂x_K` (first `n` rows, `n` = rows of `u`) into demands whose sum is
    /// `∂L/∂θ` through the trail: one mixed derivative a link, and a Hessian-vector product between
    /// links (the chain rule of `x′ = clamp(x̂ − λ∇E(x̂))`; one link is eq. (1) of the paper).
    ///
    /// The momentum before the first link, like the position there, is a constant. Memory is that of the links; nothing is
    /// kept from the forward pass, each step is recomputed.
    ///
    /// # Errors
    /// If the energy or the transpose of a link fails.
    pub fn pull_back(&self, e: &dyn EnergyFn, u: &Tensor) -> Result<Vec<SlopeDemand>> {
        let rows = u.dims().first().copied().unwrap_or(0);
        let mut links = Vec::new();
        self.0.iter().for_each(|link| link.flatten(&mut links));
        // Before the first link that looks at the energy nothing depends on θ.
        let first = links.iter().position(|link| link.looks_at_energy()).unwrap_or(links.len());
        let mut demands = Vec::new();
        // Cotangents of the position, and of the momentum, on which nothing depends at the end.
        let (mut u, mut m) = (u.clone(), None::<Tensor>);
        for (i, link) in links.iter().enumerate().skip(first).rev() {
            let (at, v) = match link {
                Link::Cut => break,
                // Sequences are flat by now.
                Link::Identity | Link::Sequence(_) => continue,
                Link::Linear(map) => {
                    u = map.of(&u)?;
                    continue;
                }
                Link::Damp { keep } => {
                    m = m.map(|m| m.affine(*keep, 0.0)).transpose()?;
                    continue;
                }
                Link::Drift { scale, active } => {
                    let moved = masked(u.affine(*scale, 0.0)?, active.as_ref(), rows)?;
                    m = Some(match m {
                        Some(m) => (m + moved)?,
                        None => moved,
                    });
                    continue;
                }
                Link::Kick { at, scale, active } => {
                    let Some(m) = &m else { continue };
                    (at, masked(m.affine(-*scale, 0.0)?, active.as_ref(), rows)?)
                }
                Link::Descent { at, scale, pass, active } => {
                    u = masked(u, pass.as_ref(), rows)?;
                    (at, masked(u.affine(-*scale, 0.0)?, active.as_ref(), rows)?)
                }
            };
            let at = at.narrow(0, rows)?;
            if i > first {
                u = (u + e.hvp(&at, &v)?)?;
            }
            demands.push(SlopeDemand { at, v });
        }
        Ok(demands)
    }
}

/// `u` times the first `rows` rows of `mask`.
fn masked(u: Tensor, mask: Option<&Tensor>, rows: usize) -> Result<Tensor> {
    match mask {
        Some(mask) => Ok(u.broadcast_mul(&mask.narrow(0, 0, rows)?)?),
        None => Ok(u),
    }
}

/// Whether the links of a part tell the truth about the dependence on θ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sensitivity {
    /// Every link is exact.
    Exact,
    /// The part of this name depends on θ in a way that its link does not tell; a KL term must refuse it.
    Unknown(String),
}

impl Sensitivity {
    /// That of parts together: exact if all are, else the first that is not.
    pub fn all(parts: impl IntoIterator<Item = Sensitivity>) -> Self {
        parts.into_iter().find(|part| !part.is_exact()).unwrap_or(Sensitivity::Exact)
    }

    /// Whether it is exact.
    pub fn is_exact(&self) -> bool {
        *self == Sensitivity::Exact
    }
}
