//! Which parts of a recorded Langevin step of the paper's network stand in no order, and that none of them needs one.
//!
//! A device of the test's own writes the graph of a step down as a recording does: a launch hangs on what the stream hung on, and parts fork and
//! join as on a GPU. Of any two launches on the same memory one of which writes, one must come after the other on some path.
#![allow(clippy::unwrap_used)]

mod convolution;
mod paper;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ebm_core::candle::{CpuStorage, InplaceOp1, Layout, Result, Tensor};
use ebm_core::operators::{Convolution, ConvolutionOps, Operators, Recording};
use ebm_core::plan::Products;
use ebm_engine_gpu::{Arg, Launcher, operators};

/// A launch.
struct Node {
    name: &'static str,
    /// All that come before it.
    after: BTreeSet<usize>,
    /// Part of the step, 0 for what is in none.
    part: usize,
}

#[derive(Default)]
struct Graph {
    recording: bool,
    nodes: Vec<Node>,
    /// What the next launch hangs on.
    hangs: Vec<usize>,
    part: usize,
    /// Launches that touch a storage, by the address of its first number, and whether they write.
    touched: BTreeMap<usize, Vec<(usize, bool)>>,
    /// Keeps all that was touched, so that no address is given twice.
    alive: Vec<Tensor>,
}

impl Graph {
    fn add(&mut self, name: &'static str, reads: &[&Tensor], writes: &[&Tensor]) -> Result<()> {
        if !self.recording {
            return Ok(());
        }
        let mut after: BTreeSet<usize> = self.hangs.iter().copied().collect();
        for on in &self.hangs {
            after.extend(&self.nodes[*on].after);
        }
        let this = self.nodes.len();
        self.nodes.push(Node { name, after, part: self.part });
        self.hangs = vec![this];
        for (all, write) in [(reads, false), (writes, true)] {
            for &t in all {
                self.touched.entry(storage(t)?).or_default().push((this, write));
                self.alive.push(t.clone());
            }
        }
        Ok(())
    }

    /// Pairs of launches in no order that touch the same memory, one of them writing; and memory that more than one part reads and nobody
    /// was seen to write.
    fn faults(&self) -> Vec<String> {
        let ordered = |a: usize, b: usize| {
            a == b || self.nodes[b].after.contains(&a) || self.nodes[a].after.contains(&b)
        };
        let mut all = Vec::new();
        for touches in self.touched.values() {
            for (i, &(a, writes)) in touches.iter().enumerate() {
                for &(b, also) in &touches[i + 1..] {
                    if (writes || also) && !ordered(a, b) {
                        all.push(format!("{} ({a}) and {} ({b})", self.nodes[a].name, self.nodes[b].name));
                    }
                }
            }
            let parts: BTreeSet<usize> = touches.iter().map(|(n, _)| self.nodes[*n].part).collect();
            if parts.len() > 1 && !touches.iter().any(|(_, writes)| *writes) {
                all.push(format!(
                    "{} in parts {parts:?} read what tensor operations made",
                    self.nodes[touches[0].0].name
                ));
            }
        }
        all
    }

    /// Launches on the longest path.
    fn depth(&self) -> usize {
        let mut depths: Vec<usize> = Vec::new();
        for node in &self.nodes {
            depths.push(1 + node.after.iter().map(|n| depths[*n]).max().unwrap_or(0));
        }
        depths.into_iter().max().unwrap_or(0)
    }
}

/// The address of the first number of what `t` is a view of.
fn storage(t: &Tensor) -> Result<usize> {
    struct First(Mutex<usize>);
    impl InplaceOp1 for First {
        fn name(&self) -> &'static str {
            "first"
        }
        fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
            *self.0.lock().unwrap() = match storage {
                CpuStorage::F32(v) => v.as_ptr() as usize,
                CpuStorage::BF16(v) => v.as_ptr() as usize,
                CpuStorage::I64(v) => v.as_ptr() as usize,
                _ => ebm_core::candle::bail!("no kernel takes this type"),
            };
            Ok(())
        }
    }
    let first = First(Mutex::new(0));
    t.inplace_op1(&first)?;
    Ok(first.0.into_inner().unwrap())
}

type Shared = Arc<Mutex<Graph>>;

fn lock(graph: &Shared) -> MutexGuard<'_, Graph> {
    graph.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How parts end.
#[derive(Clone, Copy, PartialEq)]
enum Join {
    All,
    /// A fault: what follows waits for the last part alone.
    Last,
}

struct Paper {
    graph: Shared,
    last: bool,
    join: Join,
}

impl Launcher for Paper {
    fn name(&self) -> &str {
        "a graph of launches"
    }

    fn channels_last(&self, _: Products) -> bool {
        self.last
    }

    unsafe fn launch(&self, kernel: &'static str, _: u32, _: u32, args: &[Arg<'_>]) -> Result<()> {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for arg in args {
            match arg {
                Arg::In(t) => reads.push(*t),
                Arg::Out(t) => writes.push(*t),
                _ => {}
            }
        }
        writes.iter().try_for_each(|t| t.zero_set())?;
        lock(&self.graph).add(kernel, &reads, &writes)
    }

    fn record(
        &self,
        _: &[usize],
        step: &mut dyn FnMut() -> ebm_core::Result<()>,
    ) -> ebm_core::Result<Option<Box<dyn Recording>>> {
        lock(&self.graph).recording = true;
        step()?;
        lock(&self.graph).recording = false;
        Ok(None)
    }

    /// As `cuda/branches.rs` does.
    fn apart(&self, works: &mut [&mut dyn FnMut() -> ebm_core::Result<()>]) -> ebm_core::Result<()> {
        let start = lock(&self.graph).hangs.clone();
        let mut ends = Vec::new();
        for (k, work) in works.iter_mut().enumerate() {
            {
                let mut graph = lock(&self.graph);
                (graph.hangs, graph.part) = (start.clone(), 1 + k);
            }
            work()?;
            let graph = lock(&self.graph);
            if self.join == Join::Last {
                ends.clear();
            }
            ends.extend(&graph.hangs);
        }
        let mut graph = lock(&self.graph);
        (graph.hangs, graph.part) = (ends, 0);
        Ok(())
    }
}

struct Library(Shared);

impl ConvolutionOps for Library {
    fn convolution(&self, what: Convolution, a: &Tensor, b: &Tensor) -> Result<Option<Tensor>> {
        let y = convolution::result(what, a, b)?;
        lock(&self.0).add("convolution", &[a, b], &[&y])?;
        Ok(Some(y))
    }
}

fn graph(products: Products, last: bool, join: Join) -> Graph {
    // A device has one set of operators.
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let graph = Shared::default();
    let convolutions: Arc<dyn ConvolutionOps> = Arc::new(Library(graph.clone()));
    let own = operators(Paper { graph: graph.clone(), last, join });
    paper::walk_by(Operators { convolutions: Some(convolutions), ..own }, products, 2);
    std::mem::take(&mut *lock(&graph))
}

#[test]
fn scales_of_a_step_need_no_order() {
    for (name, products, last) in
        [("f32", Products::Full, false), ("tf32", Products::Full, true), ("bf16", Products::Bf16, true)]
    {
        let g = graph(products, last, Join::All);
        let each: Vec<usize> = (0..=3).map(|p| g.nodes.iter().filter(|n| n.part == p).count()).collect();
        println!(
            "{name}: {} launches, the longest path has {}; in no part and in each: {each:?}",
            g.nodes.len(),
            g.depth()
        );
        assert_eq!(g.faults(), Vec::<String>::new(), "{name}");
        // The parts, coarse to fine: each has work of its own, and only one of them is waited for.
        assert!(each.iter().all(|n| *n > 0), "{each:?}");
        assert_eq!(g.depth(), each[0] + each[1..].iter().max().unwrap(), "{name}: parts wait for each other");
    }
}

#[test]
fn a_missing_join_is_seen() {
    let g = graph(Products::Full, true, Join::Last);
    let faults = g.faults();
    assert!(faults.iter().any(|f| f.contains("elementwise")), "{faults:?}");
}
