//! How the end of a step depends on the parameters and on its start, and the pull back through many of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

use crate::{Batch, EnergyFn, Result};

// ANCHOR: link
/// How one step's result depends on θ and on the step's start, to first order.
///
/// A step moves a position `x` and, where it has one, a momentum `v`. Each simple link says what becomes of `dx` and
/// `dv`; what it does not name stays. Underdamped steps are sequences of [`Link::Kick`], [`Link::Drift`] and
/// [`Link::Damp`].
///
/// A link is the derivative of the step as it happened. *Held fixed* are random numbers, decisions (which proposals were accepted, which
/// transition a chain drew, which rows started again, where a clamp holds) and step sizes, adapted ones too, although decisions and
/// adapted sizes depend on θ. *Differentiated* are the gradient of the energy, in θ and in the point where it was taken, and every
/// map of positions: clamps and limits piece by piece, augmentation by the derivative of its change.
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
    /// `dx′ = 0`: the position is a constant. A momentum goes on.
    Cut,
    /// Several links in the order in which they happened, as one step of a composed kernel.
    Sequence(Vec<Link>),
    /// Links of some rows each, for kernels in which chains do different things: the numbers of the rows, rising, and the link of these
    /// rows alone in that order. A row of no part is a constant.
    Rows(Vec<(Vec<u32>, Link)>),
    /// The link of one of the transitions of a composed kernel, by its number: its momentum is another than theirs.
    Part(usize, Box<Link>),
}
// ANCHOR_END: link

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
            Link::Rows(parts) => {
                let mut left = Vec::with_capacity(parts.len());
                for (mut of, link) in parts {
                    of.truncate(of.partition_point(|row| (*row as usize) < rows));
                    if !of.is_empty() {
                        let n = of.len();
                        left.push((of, link.narrow(n)?));
                    }
                }
                Link::Rows(left)
            }
            Link::Part(number, link) => Link::Part(number, Box::new(link.narrow(rows)?)),
            other => other,
        })
    }

    /// As that of transition number `part` of a composed kernel.
    #[must_use]
    pub fn of_part(self, part: usize) -> Link {
        if self.moves_momentum() { Link::Part(part, Box::new(self)) } else { self }
    }

    /// Whether it names the momentum.
    fn moves_momentum(&self) -> bool {
        match self {
            Link::Kick { .. } | Link::Drift { .. } | Link::Damp { .. } => true,
            Link::Sequence(parts) => parts.iter().any(Link::moves_momentum),
            Link::Rows(parts) => parts.iter().any(|(_, part)| part.moves_momentum()),
            Link::Part(_, link) => link.moves_momentum(),
            _ => false,
        }
    }

    /// The link of the rows `index`, which rise, alone.
    ///
    /// # Errors
    /// If an operation fails.
    pub fn of_rows(self, index: &[u32]) -> Result<Link> {
        let pick = |t: Option<Tensor>| t.map(|t| rows_of(&t, index)).transpose();
        Ok(match self {
            Link::Descent { at, scale, pass, active } => {
                Link::Descent { at: at.rows(index)?, scale, pass: pick(pass)?, active: pick(active)? }
            }
            Link::Kick { at, scale, active } => {
                Link::Kick { at: at.rows(index)?, scale, active: pick(active)? }
            }
            Link::Drift { scale, active } => Link::Drift { scale, active: pick(active)? },
            Link::Linear(map) => {
                let index = index.to_vec();
                Link::linear(move |u| {
                    // The map knows its rows by their places: the others get nothing.
                    let mine = &index[..u.dims()[0]];
                    let all = mine.last().map_or(0, |last| *last as usize + 1);
                    rows_of(&map.of(&spread(u, mine, all)?)?, mine)
                })
            }
            Link::Sequence(parts) => {
                Link::Sequence(parts.into_iter().map(|part| part.of_rows(index)).collect::<Result<_>>()?)
            }
            Link::Rows(parts) => {
                let mut left = Vec::with_capacity(parts.len());
                for (of, link) in parts {
                    let mut mine = Vec::new();
                    let mut within = Vec::new();
                    for (to, row) in (0u32..).zip(index) {
                        if let Ok(place) = of.binary_search(row) {
                            mine.push(to);
                            within.push(place as u32);
                        }
                    }
                    if !mine.is_empty() {
                        left.push((mine, link.of_rows(&within)?));
                    }
                }
                Link::Rows(left)
            }
            Link::Part(number, link) => Link::Part(number, Box::new(link.of_rows(index)?)),
            Link::Identity | Link::Damp { .. } | Link::Cut => self,
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
            Link::Rows(parts) => {
                Link::Rows(parts.into_iter().map(|(of, part)| (of, part.scaled(factor))).collect())
            }
            Link::Part(number, link) => Link::Part(number, Box::new(link.scaled(factor))),
            other => other,
        }
    }

    /// Whether the parameters enter here.
    pub fn looks_at_energy(&self) -> bool {
        match self {
            Link::Descent { scale, .. } | Link::Kick { scale, .. } => *scale != 0.0,
            Link::Sequence(parts) => parts.iter().any(Link::looks_at_energy),
            Link::Rows(parts) => parts.iter().any(|(_, part)| part.looks_at_energy()),
            Link::Part(_, link) => link.looks_at_energy(),
            _ => false,
        }
    }

    /// The links of a link in order, each with the momentum that it moves; none is a sequence or a part.
    fn flatten<'a>(&'a self, momentum: &[usize], out: &mut Vec<(Vec<usize>, &'a Link)>) {
        match self {
            Link::Sequence(parts) => parts.iter().for_each(|part| part.flatten(momentum, out)),
            Link::Part(number, link) => link.flatten(&[momentum, &[*number]].concat(), out),
            other => out.push((momentum.to_vec(), other)),
        }
    }
}

/// Rows `index` of `t`.
fn rows_of(t: &Tensor, index: &[u32]) -> Result<Tensor> {
    Ok(t.index_select(&Tensor::from_slice(index, index.len(), t.device())?, 0)?)
}

/// `all` rows of which those of `index` are the rows of `t`, and the others 0.
fn spread(t: &Tensor, index: &[u32], all: usize) -> Result<Tensor> {
    let mut dims = t.dims().to_vec();
    dims[0] = all;
    let index = Tensor::from_slice(index, index.len(), t.device())?;
    Ok(Tensor::zeros(dims, t.dtype(), t.device())?.index_add(&index, &t.contiguous()?, 0)?)
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

    /// Appends a link and keeps the last `keep` of those that look at the energy. One that does not, such as noise, an augmentation or a
    /// step of size 0, counts with the one before it: behind a trail of `n` links there are `n` gradients.
    pub fn push(&mut self, link: Link, keep: usize) {
        match self.0.last_mut() {
            // The first of all may be without a gradient too: what stood before in a program of programs goes through it.
            Some(last) if !link.looks_at_energy() || !last.looks_at_energy() => {
                let before = std::mem::replace(last, Link::Identity);
                *last = Link::Sequence(vec![before, link]);
            }
            _ => self.0.push(link),
        }
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
        let mut pull = Pull { e, demands: Vec::new() };
        let end = Cotangents { x: u.clone(), v: BTreeMap::new() };
        pull.through(&self.0.iter().collect::<Vec<_>>(), &[], end, false)?;
        Ok(pull.demands)
    }
}

/// Cotangents of the position, and of each momentum on which something depends.
struct Cotangents {
    x: Tensor,
    v: BTreeMap<Vec<usize>, Tensor>,
}

impl Cotangents {
    /// Adds to the cotangent of a momentum.
    fn moved(&mut self, momentum: Vec<usize>, by: Tensor) -> Result<()> {
        let sum = match self.v.remove(&momentum) {
            Some(v) => (v + by)?,
            None => by,
        };
        self.v.insert(momentum, sum);
        Ok(())
    }
}

/// A pull back on its way.
struct Pull<'a> {
    e: &'a dyn EnergyFn,
    demands: Vec<SlopeDemand>,
}

impl Pull<'_> {
    /// From the cotangents behind `links`, of the kernel with the momentum `of`, to those before them; `None` if nothing depends on what
    /// was before. They are only right if `wanted`: whether the parameters enter still earlier.
    fn through(
        &mut self,
        links: &[&Link],
        of: &[usize],
        end: Cotangents,
        wanted: bool,
    ) -> Result<Option<Cotangents>> {
        let mut simple = Vec::new();
        links.iter().for_each(|link| link.flatten(of, &mut simple));
        let rows = end.x.dims().first().copied().unwrap_or(0);
        // Before the first link that looks at the energy nothing depends on θ.
        let first = simple.iter().position(|(_, link)| link.looks_at_energy()).unwrap_or(simple.len());
        let mut now = end;
        for (i, (own, link)) in simple.into_iter().enumerate().skip(if wanted { 0 } else { first }).rev() {
            let earlier = wanted || i > first;
            let (at, v) = match link {
                Link::Cut if now.v.is_empty() => return Ok(None),
                Link::Cut => {
                    now.x = now.x.zeros_like()?;
                    continue;
                }
                // Sequences and parts are flat by now.
                Link::Identity | Link::Sequence(_) | Link::Part(..) => continue,
                Link::Linear(map) => {
                    now.x = map.of(&now.x)?;
                    continue;
                }
                Link::Damp { keep } => {
                    match now.v.remove(&own) {
                        Some(v) if *keep != 0.0 => now.v.insert(own, v.affine(*keep, 0.0)?),
                        _ => None,
                    };
                    continue;
                }
                Link::Drift { scale, active } => {
                    let by = masked(now.x.affine(*scale, 0.0)?, active.as_ref(), rows)?;
                    now.moved(own, by)?;
                    continue;
                }
                Link::Rows(parts) => {
                    now = self.by_rows(parts, &own, &now, earlier)?;
                    continue;
                }
                Link::Kick { at, scale, active } => {
                    let Some(m) = now.v.get(&own) else { continue };
                    (at, masked(m.affine(-*scale, 0.0)?, active.as_ref(), rows)?)
                }
                Link::Descent { at, scale, pass, active } => {
                    now.x = masked(now.x, pass.as_ref(), rows)?;
                    if *scale == 0.0 {
                        continue;
                    }
                    (at, masked(now.x.affine(-*scale, 0.0)?, active.as_ref(), rows)?)
                }
            };
            let at = at.narrow(0, rows)?;
            if earlier {
                now.x = (now.x + self.e.hvp(&at, &v)?)?;
            }
            self.demands.push(SlopeDemand { at, v });
        }
        Ok(Some(now))
    }

    /// Through parts of the rows side by side.
    fn by_rows(
        &mut self,
        parts: &[(Vec<u32>, Link)],
        own: &[usize],
        end: &Cotangents,
        wanted: bool,
    ) -> Result<Cotangents> {
        let rows = end.x.dims().first().copied().unwrap_or(0);
        let mut all = Cotangents { x: end.x.zeros_like()?, v: BTreeMap::new() };
        for (of, link) in parts {
            // The cotangents may be those of the first rows alone.
            let of = &of[..of.partition_point(|row| (*row as usize) < rows)];
            if of.is_empty() {
                continue;
            }
            let momenta = end.v.iter().map(|(name, v)| Ok((name.clone(), rows_of(v, of)?)));
            let mine = Cotangents { x: rows_of(&end.x, of)?, v: momenta.collect::<Result<_>>()? };
            let Some(before) = self.through(&[link], own, mine, wanted)? else { continue };
            all.x = (all.x + spread(&before.x, of, rows)?)?;
            for (name, v) in before.v {
                all.moved(name, spread(&v, of, rows)?)?;
            }
        }
        Ok(all)
    }
}

/// `u` times the first `rows` rows of `mask`.
fn masked(u: Tensor, mask: Option<&Tensor>, rows: usize) -> Result<Tensor> {
    match mask {
        Some(mask) => Ok(u.broadcast_mul(&mask.narrow(0, 0, rows)?)?),
        None => Ok(u),
    }
}
