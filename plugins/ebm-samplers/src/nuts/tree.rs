//! One chain's trajectory of `nuts`: a binary tree of leapfrog steps that doubles until it turns back.

use ebm_core::Key;

/// An error of the Hamiltonian beyond which a trajectory has diverged (Betancourt 2017; Stan's number).
const DIVERGENT: f64 = 1000.0;

/// A place of the trajectory, with its value of the Hamiltonian.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) x: Vec<f64>,
    /// ∇E there.
    pub(super) grad: Vec<f64>,
    /// E there.
    pub(super) energy: f64,
    /// E/T and the kinetic energy.
    pub(super) hamiltonian: f64,
}

/// An end of the trajectory, from which it goes on.
#[derive(Clone, Debug, Default)]
struct End {
    x: Vec<f64>,
    /// Momentum in the coordinates of the metric.
    v: Vec<f64>,
    /// `Lᵀ∇E/T`.
    slope: Vec<f64>,
}

/// A subtree whose two halves belong together: momenta at its ends in the order in which they were reached, their sum over all of
/// it, and a place drawn from it by its weights.
#[derive(Clone, Debug, Default)]
struct Node {
    level: usize,
    begin: Vec<f64>,
    end: Vec<f64>,
    sum: Vec<f64>,
    /// Logarithm of the sum of the weights `exp(H₀ − H)`.
    log_weight: f64,
    chosen: Place,
}

/// What is known of a trajectory that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Told {
    /// Mean chance of its places against the first.
    pub(super) accepted: f64,
    pub(super) leapfrogs: usize,
    pub(super) depth: usize,
    pub(super) divergent: bool,
}

pub(super) struct Tree {
    id: u64,
    key: Key,
    step: f64,
    max_depth: usize,
    /// Where it is now drawn from, and what of: the whole tree.
    whole: Node,
    /// Backwards and forwards in time.
    ends: [End; 2],
    /// The end that goes on.
    forwards: bool,
    /// Complete subtrees of the new half, larger ones first.
    stack: Vec<Node>,
    /// Leaves of the new half.
    leaves: usize,
    /// Nodes to use again.
    spare: Vec<Node>,
    first: f64,
    chances: f64,
    told: Told,
    over: bool,
}

impl Tree {
    /// The tree of one place, of chain `id`, with momentum `v` and `slope = Lᵀ∇E/T`. Random numbers are those under `key`.
    pub(super) fn new(
        (id, key): (u64, Key),
        (step, max_depth): (f64, usize),
        place: Place,
        v: Vec<f64>,
        slope: Vec<f64>,
    ) -> Self {
        let end = End { x: place.x.clone(), v: v.clone(), slope };
        let first = place.hamiltonian;
        let whole =
            Node { level: 0, begin: v.clone(), end: v.clone(), sum: v, log_weight: 0.0, chosen: place };
        let mut tree = Tree {
            id,
            key,
            step,
            max_depth,
            whole,
            ends: [end.clone(), end],
            forwards: true,
            stack: Vec::new(),
            leaves: 0,
            spare: Vec::new(),
            first,
            chances: 0.0,
            told: Told::default(),
            over: max_depth == 0,
        };
        tree.turn();
        tree
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// What it was, and the place drawn from it.
    pub(super) fn ended(mut self) -> (Told, Place) {
        self.told.accepted = self.chances / (self.told.leapfrogs.max(1)) as f64;
        (self.told, self.whole.chosen)
    }

    /// A uniform number in [0, 1) for the decision at `counter`.
    fn uniform(&self, purpose: u64, counter: u64) -> f64 {
        let words = self.key.block(self.id, purpose << 48 | counter);
        let word = u64::from(words[0]) | u64::from(words[1]) << 32;
        (word >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Draws the direction of the next doubling.
    fn turn(&mut self) {
        self.forwards = self.uniform(0, self.told.depth as u64) < 0.5;
        self.leaves = 0;
    }

    fn signed(&self) -> f64 {
        if self.forwards { self.step } else { -self.step }
    }

    /// First half of a leapfrog step at the end that goes on: half a kick, and the momentum with which it drifts; `up` is the map
    /// of the metric, `L`. Returns where the slope is wanted.
    pub(super) fn reach(&mut self, up: impl Fn(&[f64], &mut [f64]), scratch: &mut [f64]) -> &[f64] {
        let h = self.signed();
        let end = &mut self.ends[usize::from(self.forwards)];
        end.v.iter_mut().zip(&end.slope).for_each(|(v, g)| *v -= 0.5 * h * g);
        up(&end.v, scratch);
        end.x.iter_mut().zip(scratch.iter()).for_each(|(x, v)| *x += h * v);
        &end.x
    }

    /// Second half, where the energy is `energy` and its gradient `grad`; `down` is the map `Lᵀ`. `outside` where the place is in no
    /// domain of the target.
    pub(super) fn arrive(
        &mut self,
        (energy, grad): (f64, &[f64]),
        temperature: f64,
        down: impl Fn(&[f64], &mut [f64]),
        outside: bool,
    ) {
        let h = self.signed();
        let end = &mut self.ends[usize::from(self.forwards)];
        down(grad, &mut end.slope);
        end.slope.iter_mut().for_each(|g| *g /= temperature);
        end.v.iter_mut().zip(&end.slope).for_each(|(v, g)| *v -= 0.5 * h * g);
        let hamiltonian = energy / temperature + 0.5 * dot(&end.v, &end.v);
        let error = hamiltonian - self.first;
        self.told.leapfrogs += 1;
        if outside {
            self.over = true;
            return;
        }
        // False for NaN, too.
        if !(error <= DIVERGENT && error > f64::NEG_INFINITY) {
            (self.told.divergent, self.over) = (true, true);
            return;
        }
        self.chances += (-error).min(0.0).exp();
        let mut leaf = self.spare.pop().unwrap_or_default();
        (leaf.level, leaf.log_weight) = (0, -error);
        for to in [&mut leaf.begin, &mut leaf.end, &mut leaf.sum] {
            to.clone_from(&end.v);
        }
        leaf.chosen.x.clone_from(&end.x);
        grad.clone_into(&mut leaf.chosen.grad);
        (leaf.chosen.energy, leaf.chosen.hamiltonian) = (energy, hamiltonian);
        self.leaves += 1;
        self.add(leaf);
    }

    /// Joins a leaf to the subtrees it completes, as a binary counter does.
    fn add(&mut self, mut node: Node) {
        while let Some(mut earlier) = self.stack.pop_if(|last| last.level == node.level) {
            if turns(&earlier, &node) {
                self.over = true;
                return;
            }
            let total = log_add(earlier.log_weight, node.log_weight);
            // Any two subtrees that one leaf completes have different levels.
            let counter = (self.told.depth as u64) << 40 | (self.leaves as u64) << 8 | node.level as u64;
            if self.uniform(1, counter) < (node.log_weight - total).exp() {
                std::mem::swap(&mut earlier.chosen, &mut node.chosen);
            }
            earlier.join(&mut node, total);
            earlier.level += 1;
            self.spare.push(node);
            node = earlier;
        }
        if node.level < self.told.depth {
            self.stack.push(node);
            return;
        }
        self.double(node);
    }

    /// Takes a complete new half into the tree.
    fn double(&mut self, mut half: Node) {
        self.told.depth += 1;
        // Its ends in the order in which the new half was reached.
        if !self.forwards {
            std::mem::swap(&mut self.whole.begin, &mut self.whole.end);
        }
        let turned = turns(&self.whole, &half);
        // Biased towards the new half (Betancourt 2017, appendix A.3.2).
        if self.uniform(2, self.told.depth as u64) < (half.log_weight - self.whole.log_weight).exp() {
            std::mem::swap(&mut self.whole.chosen, &mut half.chosen);
        }
        let total = log_add(self.whole.log_weight, half.log_weight);
        self.whole.join(&mut half, total);
        if !self.forwards {
            std::mem::swap(&mut self.whole.begin, &mut self.whole.end);
        }
        self.spare.push(half);
        self.over = turned || self.told.depth >= self.max_depth;
        self.turn();
    }
}

impl Node {
    /// Appends `later`; the chosen place is decided elsewhere.
    fn join(&mut self, later: &mut Node, log_weight: f64) {
        std::mem::swap(&mut self.end, &mut later.end);
        self.sum.iter_mut().zip(&later.sum).for_each(|(a, b)| *a += b);
        self.log_weight = log_weight;
    }
}

/// Whether the trajectory of `a` and then `b` turns back: over all of it, or over one of them and the next momentum of the other
/// (the generalised criterion of Betancourt 2017, appendix A.4.2, with the checks between subtrees of Stan 2.21).
fn turns(a: &Node, b: &Node) -> bool {
    let ahead = |end: &[f64], sum: &dyn Fn(usize) -> f64| {
        end.iter().enumerate().map(|(i, v)| v * sum(i)).sum::<f64>() > 0.0
    };
    let whole = |i: usize| a.sum[i] + b.sum[i];
    let first = |i: usize| a.sum[i] + b.begin[i];
    let second = |i: usize| a.end[i] + b.sum[i];
    !(ahead(&a.begin, &whole)
        && ahead(&b.end, &whole)
        && ahead(&a.begin, &first)
        && ahead(&b.begin, &first)
        && ahead(&a.end, &second)
        && ahead(&b.end, &second))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `log(eᵃ + eᵇ)`.
fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}
