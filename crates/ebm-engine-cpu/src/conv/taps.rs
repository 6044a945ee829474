//! Separable poolings as lists of weighted taps, with their adjoint.

use ebm_core::plan::Pool;

use super::arena::{Dst, Src};

/// One axis: for each output, the inputs it reads and their weights.
type Axis = Vec<Vec<(usize, f32)>>;

/// A pooling as the product of two axes.
#[derive(Clone, Debug)]
pub(crate) struct Taps {
    /// Output row and column, and its range in `taps`.
    outputs: Vec<(usize, usize, std::ops::Range<usize>)>,
    /// Input row and column, and weight.
    taps: Vec<(usize, usize, f32)>,
}

fn axis(rule: &Pool, n: usize) -> Result<Axis, String> {
    match rule {
        Pool::Average3 => Ok((0..n.div_ceil(2))
            .map(|o| {
                let (lo, hi) = ((2 * o).saturating_sub(1), (2 * o + 2).min(n));
                (lo..hi).map(|i| (i, 1.0 / 3.0)).collect()
            })
            .collect()),
        Pool::Blur => {
            if n < 2 {
                return Err(format!("a blur of a side of {n}; it must be at least 2"));
            }
            let reflect = |i: isize| {
                let last = n as isize - 1;
                (if i < 0 {
                    -i
                } else if i > last {
                    2 * last - i
                } else {
                    i
                }) as usize
            };
            Ok((0..n.div_ceil(2))
                .map(|o| {
                    let c = 2 * o as isize;
                    vec![(reflect(c - 1), 0.25), (reflect(c), 0.5), (reflect(c + 1), 0.25)]
                })
                .collect())
        }
        Pool::Average { size } => {
            if *size == 0 || *size > n {
                return Err(format!("a window of {size} on a side of {n}"));
            }
            let f = 1.0 / *size as f32;
            Ok((0..n / size).map(|o| (o * size..(o + 1) * size).map(|i| (i, f)).collect()).collect())
        }
    }
}

impl Taps {
    /// The pooling `rule` of a map `h × w`.
    pub(crate) fn new(rule: &Pool, h: usize, w: usize) -> Result<Taps, String> {
        let (rows, columns) = (axis(rule, h)?, axis(rule, w)?);
        let mut all = Taps { outputs: Vec::new(), taps: Vec::new() };
        for (r, rows) in rows.iter().enumerate() {
            for (q, columns) in columns.iter().enumerate() {
                let from = all.taps.len();
                for &(a, fa) in rows {
                    all.taps.extend(columns.iter().map(|&(b, fb)| (a, b, fa * fb)));
                }
                all.outputs.push((r, q, from..all.taps.len()));
            }
        }
        Ok(all)
    }

    /// `y = pool(x)` for `n` images.
    pub(crate) fn forward(&self, x: Src<'_>, n: usize, y: &mut Dst<'_>) {
        self.each(x.g.cb, n, |c, i, r, q, taps| {
            let mut sum = [0f32; 16];
            for &(a, b, f) in taps {
                for (s, v) in sum.iter_mut().zip(x.px(c, i, a, b)) {
                    *s += f * v;
                }
            }
            y.px(c, i, r, q).copy_from_slice(&sum);
        });
    }

    /// `gx (+)= poolᵀ(gy)` for `n` images.
    pub(crate) fn backward(&self, gy: Src<'_>, n: usize, gx: &mut Dst<'_>, add: bool) {
        let (h, w) = (gx.g.h, gx.g.w);
        if !add {
            for c in 0..gx.g.cb {
                for i in 0..n {
                    for r in 0..h {
                        let o = gx.g.at(c, gx.i0 + i, r, 0);
                        gx.d[o..o + w * 16].fill(0.0);
                    }
                }
            }
        }
        self.each(gx.g.cb, n, |c, i, r, q, taps| {
            let g = gy.px(c, i, r, q);
            for &(a, b, f) in taps {
                for (s, v) in gx.px(c, i, a, b).iter_mut().zip(g) {
                    *s += f * v;
                }
            }
        });
    }

    /// Calls `f(block, image, row, column, taps)` for every output pixel.
    fn each(
        &self,
        cb: usize,
        n: usize,
        mut f: impl FnMut(usize, usize, usize, usize, &[(usize, usize, f32)]),
    ) {
        for i in 0..n {
            for c in 0..cb {
                for (r, q, range) in &self.outputs {
                    f(c, i, *r, *q, &self.taps[range.clone()]);
                }
            }
        }
    }
}
