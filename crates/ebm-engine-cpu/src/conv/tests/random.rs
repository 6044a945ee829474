//! Random chains of layers on random shapes against the reference, and those that were found in this way.

use ebm_core::plan::{Activation, NetPlan, Pool};
use proptest::prelude::*;

use super::build::Build;
use super::{Bound, Case, check, everywhere};
use crate::testing::{cases, sets};

/// A random net and its batch.
#[derive(Clone, Debug)]
struct Net {
    channels: usize,
    side: (usize, usize),
    n: usize,
    seed: u64,
    cond: bool,
    /// Kind, width and weight rule of each layer.
    layers: Vec<(u8, usize, u8)>,
}

impl Net {
    fn plan(&self) -> NetPlan {
        let mut b = Build::new(&[self.channels, self.side.0, self.side.1], 3);
        let mut x = b.conv3(0, 8, 0);
        for &(kind, width, rule) in &self.layers {
            let s = b.shape(x);
            let large = s[1] > 3 && s[2] > 3;
            x = match kind {
                0 => b.conv3(x, width, rule),
                1 => {
                    let groups = if s[0].is_multiple_of(4) { 4 } else { s[0] };
                    let y = b.norm(x, groups);
                    b.act(y, Activation::Swish)
                }
                2 => {
                    let y = b.conv3(x, s[0], rule);
                    let y = b.act(y, Activation::Swish);
                    b.plus(y, x)
                }
                3 if large => {
                    let y = b.conv3(x, width, rule);
                    let y = b.pool(y, Pool::Average3);
                    b.act(y, Activation::Swish)
                }
                4 if large => b.pool(x, Pool::Blur),
                5 => {
                    let y = b.label(x);
                    b.act(y, Activation::Softplus)
                }
                6 if s[0] >= 8 => b.attention(x),
                7 if large => b.conv(x, width, 3, 2, 1, rule, true),
                _ => b.act(x, Activation::Tanh),
            };
        }
        let m = b.mean(x);
        let e = b.linear(m, 1);
        b.term(e);
        b.plan
    }

    fn case(&self) -> Case {
        Case { plan: self.plan(), n: self.n, cond: self.cond, seed: self.seed, bound: Bound::Rounded }
    }
}

fn nets() -> impl Strategy<Value = Net> {
    let layer = (0u8..8, 1usize..20, 0u8..3);
    let layers = proptest::collection::vec(layer, 2..6);
    (1usize..4, (4usize..11, 4usize..11), 1usize..4, 0u64..1_000_000, any::<bool>(), layers)
        .prop_map(|(channels, side, n, seed, cond, layers)| Net { channels, side, n, seed, cond, layers })
}

proptest! {
    #![proptest_config(cases(16))]
    /// `scripts/random-nets.sh` runs the wide set of cases on each instruction set.
    #[test]
    fn random_nets(net in nets()) {
        if let Err(e) = check(&net.case(), &sets()) {
            prop_assert!(false, "{e}");
        }
    }
}

/// Nets that were found by chance where formulas cancelled: tails of functions, one-hot rows of an attention, norms of
/// saturated maps.
#[test]
fn nets_that_were_found() {
    let net = |channels, side, n, seed, layers: &[(u8, usize, u8)]| Net {
        channels,
        side,
        n,
        seed,
        cond: false,
        layers: layers.to_vec(),
    };
    let found = [
        net(1, (6, 6), 1, 492_887, &[(3, 14, 0), (0, 18, 2), (5, 1, 0), (1, 1, 0)]),
        net(2, (4, 4), 2, 233_004, &[(2, 1, 1), (3, 1, 2), (3, 1, 0), (0, 3, 1)]),
        net(3, (7, 8), 1, 544_419, &[(3, 1, 1), (3, 3, 2), (3, 1, 0)]),
        net(1, (6, 5), 3, 520_406, &[(2, 1, 2), (2, 1, 1), (0, 5, 1), (6, 1, 0), (1, 1, 0)]),
        net(2, (8, 9), 2, 619_049, &[(7, 16, 1), (4, 1, 0), (0, 9, 1), (6, 1, 0)]),
        net(1, (6, 10), 2, 874_991, &[(2, 1, 2), (0, 15, 2), (5, 1, 0), (1, 1, 0)]),
        net(3, (7, 7), 1, 320_617, &[(3, 1, 1), (2, 1, 2), (4, 1, 0), (3, 1, 0)]),
        net(3, (7, 7), 1, 828_827, &[(3, 3, 1), (3, 1, 1), (2, 1, 2), (3, 1, 0)]),
    ];
    found.iter().for_each(|net| everywhere(&net.case()));
}
