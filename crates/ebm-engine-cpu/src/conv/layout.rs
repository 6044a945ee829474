//! Where every tensor of a program lives for one kind of call: buffers, groups of images, aliases.
//!
//! A chunk of images runs through the program in segments; inside a segment small groups of images
//! run through all steps, so that their tensors stay in cache. What crosses a segment, or is read
//! again on the way back, has room for the whole chunk; everything else only for a group, and such
//! buffers are shared by tensors of the same geometry whose lives do not overlap.

use std::collections::HashMap;

use super::arena::Geom;
use super::program::{Algorithm, Kind, Program, ValueId};

/// What a call computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mode {
    /// 1, or 2 with a tangent beside each value.
    pub streams: usize,
    /// Whether gradients flow back to the input.
    pub backward: bool,
    /// Whether weight gradients are summed on the way.
    pub theta: bool,
}

impl Mode {
    pub(crate) const TERMS: Mode = Mode { streams: 1, backward: false, theta: false };
    pub(crate) const SLOPE: Mode = Mode { streams: 1, backward: true, theta: false };
    pub(crate) const THETA: Mode = Mode { streams: 1, backward: true, theta: true };
    pub(crate) const HVP: Mode = Mode { streams: 2, backward: true, theta: false };
    pub(crate) const MIXED: Mode = Mode { streams: 2, backward: true, theta: true };
}

/// A tensor's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Index of the buffer.
    pub buf: usize,
    /// Its geometry (images are physical: value and tangent are two).
    pub geom: Geom,
    /// Whether it holds the whole chunk.
    pub all: bool,
}

/// Steps `from..to` run over groups of `group` images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub from: usize,
    pub to: usize,
    pub group: usize,
}

/// The memory plan of one mode and chunk size.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub mode: Mode,
    /// Images it has room for.
    pub chunk: usize,
    pub segments: Vec<Segment>,
    pub values: Vec<Slot>,
    /// Empty without backward.
    pub grads: Vec<Slot>,
    /// For each step and input: whether its gradient adds to what is there.
    pub adds: Vec<Vec<bool>>,
    /// For each step and input: whether its gradient is the result's own buffer.
    pub aliased: Vec<Vec<bool>>,
    /// Geometry of each buffer.
    pub buffers: Vec<Geom>,
    /// For each value: whether it has a tensor at all. A sample that convolutions read themselves has none.
    pub made: Vec<bool>,
    /// For each value: whether gradients that flow to it are of use.
    pub wanted: Vec<bool>,
    /// For each buffer: whether a tensor in it has fewer channels than its blocks.
    pub padded: Vec<bool>,
}

/// Bytes of one core's second-level cache that a group's tensors may fill; a constant, not the
/// machine's own, because group sizes fix the order in which weight gradients are summed.
const CACHE: usize = 700 << 10;
/// Tensors of one resolution that are alive at the same time in a residual block.
const LIVE: usize = 5;

pub(super) fn segments(p: &Program, mode: Mode, chunk: usize) -> Vec<Segment> {
    let size = |s: usize| {
        let v = &p.values[p.steps[s].out];
        (v.h, v.w)
    };
    let mut out: Vec<Segment> = Vec::new();
    let mut from = 0;
    for s in 1..=p.steps.len() {
        if s < p.steps.len() && size(s) == size(from) {
            continue;
        }
        let (h, w) = size(from);
        let widest = (from..s).map(|i| p.values[p.steps[i].out].cb()).max().unwrap_or(1);
        let bytes = widest * (h + 2) * (w + 2) * 64 * mode.streams;
        // Enough images that a block of Winograd tiles is full, as many as the cache holds.
        let tiles = h.div_ceil(4) * w.div_ceil(4);
        let group = (CACHE / (LIVE * bytes)).max(32usize.div_ceil(tiles * mode.streams)).clamp(1, chunk);
        out.push(Segment { from, to: s, group });
        from = s;
    }
    out
}

/// Buffers by geometry with a list of those that are free.
#[derive(Default)]
struct Pool {
    buffers: Vec<Geom>,
    free: HashMap<Geom, Vec<usize>>,
}

impl Pool {
    fn take(&mut self, g: Geom, share: bool) -> usize {
        if share && let Some(b) = self.free.get_mut(&g).and_then(Vec::pop) {
            return b;
        }
        self.buffers.push(g);
        self.buffers.len() - 1
    }
    fn give(&mut self, b: usize) {
        self.free.entry(self.buffers[b]).or_default().push(b);
    }
}

/// The layout of `p` in `mode` for `chunk` images.
pub(crate) fn layout(p: &Program, mode: Mode, chunk: usize) -> Layout {
    let segments = segments(p, mode, chunk);
    let nv = p.values.len();
    let mut segment_of = vec![0; p.steps.len()];
    for (k, s) in segments.iter().enumerate() {
        segment_of[s.from..s.to].fill(k);
    }
    let mut producer = vec![0; nv];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nv];
    for (s, step) in p.steps.iter().enumerate() {
        producer[step.out] = s;
        for &v in &step.inputs {
            users[v].push(s);
        }
    }

    // What a value needs: a halo for its readers, the whole chunk if it outlives its segment.
    let mut halo = vec![false; nv];
    let mut all = vec![false; nv];
    for (s, step) in p.steps.iter().enumerate() {
        let saved: &[ValueId] = match &step.kind {
            Kind::Conv(c) => {
                if c.pooled() || matches!(c.algorithm, Algorithm::Winograd(_)) {
                    halo[step.inputs[0]] = true;
                }
                if mode.theta { &step.inputs[..1] } else { &[] }
            }
            Kind::Affine(_) => &step.inputs[..1],
            Kind::Attention => &step.inputs,
            Kind::Blend(_) if mode.theta => &step.inputs[1..],
            _ => &[],
        };
        for &v in saved {
            all[v] |= mode.backward;
        }
        for &v in &step.inputs {
            all[v] |= segment_of[producer[v]] != segment_of[s];
        }
    }
    for &t in &p.terms {
        all[t] = true;
    }

    let direct = |s: &usize| matches!(&p.steps[*s].kind, Kind::Conv(c) if c.algorithm == Algorithm::Sample);
    let made: Vec<bool> = users.iter().map(|u| u.is_empty() || !u.iter().all(direct)).collect();
    // Without a call that asks for the gradient of the sample, it is computed only as far as weights stand on the way.
    let mut wanted = vec![!mode.theta; nv];
    for step in &p.steps {
        let weights =
            !matches!(step.kind, Kind::Input { .. } | Kind::Condition | Kind::Pool(_) | Kind::Scale(_));
        wanted[step.out] |= weights || step.inputs.iter().any(|&v| wanted[v]);
    }

    let geom = |v: ValueId, halo: bool, all: bool, s: usize| {
        let (val, seg) = (&p.values[v], &segments[segment_of[s]]);
        if !made[v] {
            return Geom { cb: val.cb(), n: 1, h: 1, w: 1, halo: false };
        }
        let n = if all { chunk } else { seg.group } * mode.streams;
        Geom { cb: val.cb(), n, h: val.h, w: val.w, halo }
    };
    let mut pool = Pool::default();
    let mut values: Vec<Option<Slot>> = vec![None; nv];
    for (s, step) in p.steps.iter().enumerate() {
        let v = step.out;
        let g = geom(v, halo[v], all[v], s);
        values[v] = Some(Slot { buf: pool.take(g, !all[v]), geom: g, all: all[v] });
        let mut done: Vec<ValueId> = step.inputs.clone();
        done.push(v);
        done.sort_unstable();
        done.dedup();
        for v in done {
            let last = users[v].last().copied().unwrap_or(producer[v]);
            if !all[v]
                && last == s
                && let Some(slot) = values[v]
            {
                pool.give(slot.buf);
            }
        }
    }

    let mut grads = Vec::new();
    let mut adds: Vec<Vec<bool>> = p.steps.iter().map(|s| vec![false; s.inputs.len()]).collect();
    let mut aliased = adds.clone();
    if mode.backward {
        // Who writes first, and which residual gradients can stay where they are.
        let mut written = vec![false; nv];
        let mut root: Vec<ValueId> = (0..nv).collect();
        for &t in &p.terms {
            written[t] = true;
        }
        for (s, step) in p.steps.iter().enumerate().rev() {
            let mut alias_used = false;
            for (k, &v) in step.inputs.iter().enumerate().rev() {
                let same = match &step.kind {
                    Kind::Affine(a) => a.residual && k == 1,
                    Kind::Add => true,
                    Kind::Blend(_) => k == 0,
                    _ => false,
                };
                if same && !written[v] && !alias_used {
                    aliased[s][k] = true;
                    alias_used = true;
                    root[v] = root[step.out];
                } else {
                    adds[s][k] = written[v];
                }
                written[v] = true;
            }
        }
        let (mut ghalo, mut gall) = (vec![false; nv], vec![false; nv]);
        for v in 0..nv {
            let s = producer[v];
            let wino =
                matches!(&p.steps[s].kind, Kind::Conv(c) if matches!(c.algorithm, Algorithm::Winograd(_)));
            let crosses = users[v].iter().any(|&u| segment_of[u] != segment_of[s]) || p.terms.contains(&v);
            let r = root[v];
            ghalo[r] |= wino;
            gall[r] |= crosses || segment_of[producer[r]] != segment_of[s];
        }
        // Lives on the way back: from the first writer (last user) to the producer, over all aliases.
        let mut last_read = vec![usize::MAX; nv];
        for v in 0..nv {
            let r = root[v];
            last_read[r] = last_read[r].min(producer[v]);
        }
        let mut slots: Vec<Option<Slot>> = vec![None; nv];
        for (s, step) in p.steps.iter().enumerate().rev() {
            for &v in step.inputs.iter().chain([&step.out]) {
                let r = root[v];
                if slots[r].is_none() {
                    let g = geom(r, ghalo[r], gall[r], producer[r]);
                    slots[r] = Some(Slot { buf: pool.take(g, !gall[r]), geom: g, all: gall[r] });
                }
            }
            for v in 0..nv {
                if root[v] == v
                    && !gall[v]
                    && last_read[v] == s
                    && let Some(slot) = slots[v]
                {
                    pool.give(slot.buf);
                }
            }
        }
        grads = (0..nv).map(|v| slots[root[v]]).collect();
    }
    let values: Vec<Slot> = values.into_iter().flatten().collect();
    let grads: Vec<Slot> = grads.into_iter().flatten().collect();
    let mut padded = vec![false; pool.buffers.len()];
    for slots in [&values, &grads] {
        for (slot, v) in slots.iter().zip(&p.values) {
            padded[slot.buf] |= !v.c.is_multiple_of(16);
        }
    }
    Layout {
        mode,
        chunk,
        segments,
        values,
        grads,
        padded,
        made,
        wanted,
        adds,
        aliased,
        buffers: pool.buffers,
    }
}
