//! One chain's trajectory of `nuts`: a binary tree of leapfrog steps that doubles until it turns back.

use ebm_core::Key;

use super::slots::{Slot, Slots};
use crate::kit::lanes;

/// An error of the Hamiltonian beyond which a trajectory has diverged (Betancourt 2017; Stan's number).
const DIVERGENT: f64 = 1000.0;

/// A weight of e³⁰⁰ is taken as the new unit of weights, long before they overflow.
const RISEN: f64 = 300.0;

/// A place of the trajectory, with its value of the Hamiltonian.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) x: &'a [f64],
    /// ∇E there.
    pub(super) grad: &'a [f64],
    /// `Lᵀ∇E` there, if the metric mixes coordinates.
    pub(super) pull: Option<&'a [f64]>,
    /// E there.
    pub(super) energy: f64,
    /// E/T and the kinetic energy.
    pub(super) hamiltonian: f64,
}

/// What kicks the momentum at a new place.
#[derive(Clone, Copy)]
pub(super) enum Pull<'a> {
    /// ∇E times these factors of the coordinates.
    Scaled(&'a [f64]),
    /// `Lᵀ∇E`.
    Mapped(&'a [f64]),
}

/// An end of the trajectory, from which it goes on.
#[derive(Clone, Copy)]
struct End {
    x: Slot,
    /// Momentum in the coordinates of the metric.
    v: Slot,
    /// What kicks it: ∇E, or `Lᵀ∇E` if the metric mixes coordinates.
    pull: Slot,
}

/// A subtree whose two halves belong together: momenta at its ends in the order in which they were reached, their sum over all of
/// it, and a place drawn from it by its weights.
#[derive(Clone, Copy)]
pub(super) struct Node {
    level: usize,
    begin: Slot,
    end: Slot,
    sum: Slot,
    /// Square of the momentum of a single place.
    square: f64,
    /// Sum of the weights `exp(−H)`, in units of the tree.
    weight: f64,
    chosen: Chosen,
}

#[derive(Clone, Copy)]
struct Chosen {
    x: Slot,
    grad: Slot,
    energy: f64,
    hamiltonian: f64,
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
    temperature: f64,
    slots: Slots,
    /// Where it is now drawn from, and what of: the whole tree.
    whole: Node,
    /// Backwards and forwards in time.
    ends: [End; 2],
    /// The end that goes on.
    forwards: bool,
    /// Where a step that is half made comes from.
    left: End,
    /// Complete subtrees of the new half, larger ones first.
    stack: Vec<Node>,
    /// Leaves of the new half.
    leaves: usize,
    first: f64,
    /// The Hamiltonian of weight 1: that of the first place, until one is very much lower.
    unit: f64,
    chances: f64,
    told: Told,
    over: bool,
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.slots.give_back(std::mem::take(&mut self.stack));
    }
}

impl Tree {
    /// The tree of one place, of chain `id`, with momentum `v`, at temperature `t`. Random numbers are those under `key`.
    pub(super) fn new(
        (id, key): (u64, Key),
        (step, max_depth): (f64, usize),
        place: Place<'_>,
        v: &[f64],
        t: f64,
    ) -> Self {
        let mut slots = Slots::new(v.len());
        // Held by both ends and by the tree, of which the momentum is beginning, end and sum.
        let (x, momentum) = (slots.put(place.x, 3), slots.put(v, 5));
        let (grad, pull) = match place.pull {
            Some(pull) => (slots.put(place.grad, 1), slots.put(pull, 2)),
            None => {
                let grad = slots.put(place.grad, 3);
                (grad, grad)
            }
        };
        let (first, square) = (place.hamiltonian, lanes::dot(v, v));
        let chosen = Chosen { x, grad, energy: place.energy, hamiltonian: first };
        let whole =
            Node { level: 0, begin: momentum, end: momentum, sum: momentum, square, weight: 1.0, chosen };
        let stack = slots.lend();
        let mut tree = Tree {
            id,
            key,
            step,
            max_depth,
            slots,
            whole,
            ends: [End { x, v: momentum, pull }; 2],
            temperature: t,
            left: End { x, v: momentum, pull },
            forwards: true,
            stack,
            leaves: 0,
            first,
            unit: first,
            chances: 0.0,
            told: Told::default(),
            over: max_depth == 0,
        };
        tree.forwards = tree.uniforms(0, 0)[1] < 0.5;
        tree
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// What it was, and the place drawn from it.
    pub(super) fn ended(&self) -> (Told, Place<'_>) {
        let accepted = self.chances / (self.told.leapfrogs.max(1)) as f64;
        let Chosen { x, grad, energy, hamiltonian } = self.whole.chosen;
        (
            Told { accepted, ..self.told },
            Place { x: self.slots.at(x), grad: self.slots.at(grad), pull: None, energy, hamiltonian },
        )
    }

    /// Two uniform numbers in [0, 1) for the decisions at `counter`.
    fn uniforms(&self, purpose: u64, counter: u64) -> [f64; 2] {
        let [a, b, c, d] = self.key.block(self.id, purpose << 48 | counter).map(u64::from);
        [a | b << 32, c | d << 32].map(|word| (word >> 11) as f64 / (1u64 << 53) as f64)
    }

    fn signed(&self) -> f64 {
        if self.forwards { self.step } else { -self.step }
    }

    /// First half of a leapfrog step at the end that goes on, in the metric of the factors `l`: half a kick, and a drift by it. Returns where
    /// the slope is wanted.
    pub(super) fn reach(&mut self, l: &[f64]) -> &[f64] {
        let h = self.signed();
        let (from, to) = self.go_on();
        self.slots.depart([to.x, to.v], [from.x, from.v, from.pull], l, self.half_kick(), h);
        self.leave(from);
        self.slots.at(to.x)
    }

    /// Half a kick at the end that goes on, in a metric that mixes coordinates. Returns the momentum, for [`Tree::drift`].
    pub(super) fn kick(&mut self) -> &[f64] {
        let kick = self.half_kick();
        let (from, to) = self.go_on();
        // Slots that are just taken are no others.
        if let Some([v, old_v, pull]) = self.slots.several([to.v, from.v, from.pull]) {
            lanes::sum(v, old_v, kick, pull);
        }
        self.left = from;
        self.slots.at(to.v)
    }

    /// After [`Tree::kick`], the drift along `L v`. Returns where the slope is wanted.
    pub(super) fn drift(&mut self, along: &[f64]) -> &[f64] {
        let (h, x, from) = (self.signed(), self.ends[usize::from(self.forwards)].x, self.left);
        if let Some([x, old_x]) = self.slots.several([x, from.x]) {
            lanes::sum(x, old_x, h, along);
        }
        self.leave(from);
        self.slots.at(x)
    }

    fn half_kick(&self) -> f64 {
        -0.5 * self.signed() / self.temperature
    }

    /// The end that goes on, and slots for where it goes, which is the end from now on.
    fn go_on(&mut self) -> (End, End) {
        let to = End { x: self.slots.take(), v: self.slots.take(), pull: self.slots.take() };
        (std::mem::replace(&mut self.ends[usize::from(self.forwards)], to), to)
    }

    fn leave(&mut self, from: End) {
        [from.x, from.v, from.pull].into_iter().for_each(|done| self.slots.release(done));
    }

    /// Second half, where the energy is `energy` and its gradient `grad`. `outside` where the place is in no domain of the target.
    pub(super) fn arrive(&mut self, (energy, grad): (f64, &[f64]), pull: Pull<'_>, outside: bool) {
        let kick = self.half_kick();
        let End { x, v, pull: slot } = self.ends[usize::from(self.forwards)];
        let momentum = self.slots.at_mut(v);
        let square = match pull {
            Pull::Scaled(l) => lanes::arrive(momentum, grad, l, kick),
            Pull::Mapped(pull) => lanes::kicked(momentum, pull, kick),
        };
        self.slots.at_mut(slot).copy_from_slice(if let Pull::Mapped(pull) = pull { pull } else { grad });
        let hamiltonian = energy / self.temperature + 0.5 * square;
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
        if self.unit - hamiltonian > RISEN {
            self.lower(hamiltonian);
        }
        let weight = (self.unit - hamiltonian).exp();
        self.chances += if self.unit == self.first { weight.min(1.0) } else { (-error).min(0.0).exp() };
        self.slots.hold(v, 3);
        self.slots.hold(x, 1);
        let grad = match pull {
            Pull::Scaled(_) => {
                self.slots.hold(slot, 1);
                slot
            }
            Pull::Mapped(_) => self.slots.put(grad, 1),
        };
        let chosen = Chosen { x, grad, energy, hamiltonian };
        self.leaves += 1;
        self.add(Node { level: 0, begin: v, end: v, sum: v, square, weight, chosen });
    }

    /// Makes the weight of `hamiltonian` the unit.
    fn lower(&mut self, hamiltonian: f64) {
        let factor = (hamiltonian - self.unit).exp();
        self.unit = hamiltonian;
        self.whole.weight *= factor;
        self.stack.iter_mut().for_each(|node| node.weight *= factor);
    }

    /// Joins a leaf to the subtrees it completes, as a binary counter does.
    fn add(&mut self, mut node: Node) {
        let mut decisions = [0.0; 2];
        while let Some(mut earlier) = self.stack.pop_if(|last| last.level == node.level) {
            if self.turns(&earlier, &node) {
                self.over = true;
                return;
            }
            let total = earlier.weight + node.weight;
            // Any two subtrees that one leaf completes have different levels: two of them share a pair of numbers.
            if node.level.is_multiple_of(2) {
                let counter = (self.told.depth as u64) << 40 | (self.leaves as u64) << 8 | node.level as u64;
                decisions = self.uniforms(1, counter);
            }
            if decisions[node.level % 2] * total < node.weight {
                std::mem::swap(&mut earlier.chosen, &mut node.chosen);
            }
            self.join(&mut earlier, node);
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
        let mut whole = self.whole;
        // Its ends in the order in which the new half was reached.
        if !self.forwards {
            std::mem::swap(&mut whole.begin, &mut whole.end);
        }
        let turned = self.turns(&whole, &half);
        // Biased towards the new half (Betancourt 2017, appendix A.3.2).
        let [taken, direction] = self.uniforms(0, self.told.depth as u64);
        if taken * whole.weight < half.weight {
            std::mem::swap(&mut whole.chosen, &mut half.chosen);
        }
        self.join(&mut whole, half);
        if !self.forwards {
            std::mem::swap(&mut whole.begin, &mut whole.end);
        }
        self.whole = whole;
        self.over = turned || self.told.depth >= self.max_depth;
        (self.forwards, self.leaves) = (direction < 0.5, 0);
    }

    /// Appends `later` to `first`; which place is chosen was decided before, and the other one is given back.
    fn join(&mut self, first: &mut Node, later: Node) {
        let slots = &mut self.slots;
        if slots.is_shared(first.sum) {
            let own = slots.take();
            slots.add(own, first.sum, later.sum);
            slots.release(first.sum);
            first.sum = own;
        } else {
            slots.add(first.sum, first.sum, later.sum);
        }
        for done in [first.end, later.begin, later.sum, later.chosen.x, later.chosen.grad] {
            slots.release(done);
        }
        first.end = later.end;
        first.weight += later.weight;
        first.level += 1;
    }

    /// Whether the trajectory of `a` and then `b` turns back: over all of it, or over one of them and the next momentum of the other
    /// (the generalised criterion of Betancourt 2017, appendix A.4.2, with the checks between subtrees of Stan 2.21).
    fn turns(&self, a: &Node, b: &Node) -> bool {
        let of = |slot| self.slots.at(slot);
        if a.level == 0 {
            // Of two places all sums are of their two momenta.
            let across = lanes::dot(of(a.begin), of(b.begin));
            return !(a.square + across > 0.0 && b.square + across > 0.0);
        }
        let all = lanes::turns(of(a.begin), of(a.end), of(a.sum), of(b.begin), of(b.end), of(b.sum));
        // False for NaN, too.
        !all.iter().all(|ahead| *ahead > 0.0)
    }
}
