//! The numbers of a run in words: what a curve shows and what is normal for it.

/// What is said of a curve or of several on one chart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// The numbers it holds for: a name, or its beginning where it ends in a dot.
    names: &'static [&'static str],
    /// What is shown.
    pub title: &'static str,
    /// The quantity with its unit, for the axis.
    pub unit: &'static str,
    /// What is normal.
    pub normal: &'static str,
}

/// In the order of the page. Bounds are those of the rules of health (`ebm-health`).
const ALL: [Words; 22] = [
    Words {
        names: &["energy.data", "energy.samples"],
        title: "Mean energy of data and samples",
        unit: "energy (nats)",
        normal: "The two stay together. Their common height is free and may drift.",
    },
    Words {
        names: &["energy.difference"],
        title: "Energy of the data minus energy of the samples",
        unit: "energy (nats)",
        normal: "Small beside the energies' spread, with both signs. Far below zero, and falling: the chains no longer reach what the energy calls likely.",
    },
    Words {
        names: &["energy.overlap"],
        title: "Pairs in which the sample has the higher energy",
        unit: "share of pairs",
        normal: "Near 0.5; below 0.05 or above 0.95 the energies of data and samples have parted.",
    },
    Words {
        names: &["grad", "grad."],
        title: "Norm of the gradient, whole and by term",
        unit: "norm",
        normal: "Level or falling, no term always a hundred times another. Ten times its early median foretells a blow-up.",
    },
    Words {
        names: &["energy.data.sd", "energy.samples.sd"],
        title: "Spread of the energies within a batch",
        unit: "standard deviation (nats)",
        normal: "Alike for data and samples and above zero: an energy without spread tells nothing apart.",
    },
    Words {
        names: &["loss.cd"],
        title: "Loss: contrastive divergence",
        unit: "nats",
        normal: "Noise about zero. It does not fall as training goes well.",
    },
    Words {
        names: &["loss.kl"],
        title: "Loss: KL term",
        unit: "nats",
        normal: "The energy of the samples as the sampler sees it: level, and no larger than the energies themselves.",
    },
    Words {
        names: &["loss.ent"],
        title: "Loss: entropy term",
        unit: "nats",
        normal: "Minus the entropy of the samples: level. A steady rise means that the chains collapse onto each other.",
    },
    Words {
        names: &["loss.reg"],
        title: "Loss: energy penalty",
        unit: "nats²",
        normal: "Small and level. It grows with the square of the energies.",
    },
    Words { names: &["loss."], title: "Loss", unit: "loss", normal: "Falls, then levels off." },
    Words {
        names: &["label.accuracy", "label.confidence"],
        title: "Labels of a batch: accuracy and confidence",
        unit: "share",
        normal: "Rise together. Confidence well above accuracy means overfitting.",
    },
    Words {
        names: &["update"],
        title: "Change of the weights in an update",
        unit: "share of their size",
        normal: "Below 0.01 after the first updates; above 0.2 is watched, above 0.5 is ill, 0 means that nothing is learnt.",
    },
    Words {
        names: &["samples.reach"],
        title: "Distance of the samples from the middle of the data",
        unit: "half widths of the data",
        normal: "Below 1. Above 3 is watched, above 10 the chains have left the data.",
    },
    Words {
        names: &["samples.beyond"],
        title: "Values of the samples far outside the data",
        unit: "share of values",
        normal: "Near 0.",
    },
    Words {
        names: &["samples.moved"],
        title: "Way of the chains in an update",
        unit: "half widths of the data",
        normal: "Level. Below 0.001 the chains hardly move.",
    },
    Words {
        names: &["sampler.saturated"],
        title: "Values of the samples at the bounds of the clamp",
        unit: "share of values",
        normal: "About the share of the data's values there; 0.3 more is watched, 0.5 more is ill.",
    },
    Words {
        names: &["sampler.accepted"],
        title: "Accepted proposals",
        unit: "share",
        normal: "As the sampler aims at (0.57 for MALA and 0.8 for NUTS are usual), less where far jumps are proposed, too. Below 0.05 the steps are too large; exactly 1 means that they are tiny.",
    },
    Words {
        names: &["sampler.grad_rms"],
        title: "Slope of the energy along the chains",
        unit: "nats a unit of a value",
        normal: "Level. Times the step size it is how far a chain goes downhill in a step.",
    },
    Words { names: &["sampler."], title: "Sampler", unit: "value", normal: "Level after the warm-up." },
    Words {
        names: &["rate"],
        title: "Learning rate",
        unit: "rate",
        normal: "As it was set, or as a policy moved it.",
    },
    Words {
        names: &["replay"],
        title: "Chains in the replay buffer",
        unit: "chains",
        normal: "Grows to the capacity and stays there.",
    },
    Words {
        names: &["seconds", "seconds."],
        title: "Time of an update, whole and by stage",
        unit: "seconds",
        normal: "Level. The slowest stage is where time can be won.",
    },
];

/// Charts before this one are opened at once; those from it on are about the machinery.
const FIRST_ASIDE: usize = 17;

/// One chart of a page.
#[derive(Clone, Debug)]
pub(super) struct Shown<'a> {
    /// The numbers on it.
    pub names: Vec<&'a str>,
    /// What is said of them; `None` of numbers that are not known here.
    pub words: Option<&'static Words>,
    /// Whether it belongs to what is looked at first.
    pub first: bool,
}

impl Words {
    /// Whether a chart of so many numbers shows only a part of what the words are for.
    pub fn stand_for_more(&self, names: usize) -> bool {
        names == 1 && (self.names.len() > 1 || self.names.iter().any(|n| n.ends_with('.')))
    }

    fn holds_for(&self, name: &str) -> bool {
        self.names.iter().any(|n| if n.ends_with('.') { name.starts_with(n) } else { name == *n })
    }
}

/// Charts for numbers of these names: those of a kind on one, or each apart.
pub(super) fn charts<'a>(names: &[&'a str], together: bool) -> Vec<Shown<'a>> {
    let mut left: Vec<&str> = names.to_vec();
    let mut all = Vec::new();
    for (i, words) in ALL.iter().enumerate() {
        let (own, rest): (Vec<&str>, Vec<&str>) = left.into_iter().partition(|n| words.holds_for(n));
        left = rest;
        let first = i < FIRST_ASIDE;
        // Losses and figures of samplers have units of their own.
        let alike = together && !matches!(words.names, ["loss."] | ["sampler."]);
        match alike {
            true if own.is_empty() => {}
            true => all.push(Shown { names: own, words: Some(words), first }),
            false => {
                all.extend(own.into_iter().map(|n| Shown { names: vec![n], words: Some(words), first }));
            }
        }
    }
    all.extend(left.into_iter().map(|n| Shown { names: vec![n], words: None, first: false }));
    all
}

/// What a measure of samples says, if it is known here.
pub(super) fn measure(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or(name) {
        "fd_pix" => "Fréchet distance of the pixels to held-out data; low is good",
        "fd_sign" => "Fréchet distance of random features to held-out data; low is good",
        "near" => "share as near to a training sample as 95 % of held-out data are; 0.95 is normal",
        "classes" => "exp of the entropy of the nearest sample's class; as many as there are is balanced",
        "precision" => "share of samples inside the data's manifold",
        "recall" => "share of the data inside the samples' manifold",
        "density" => "how dense the data are around samples; 1 is normal",
        "coverage" => "share of the data with a sample near; 1 is full",
        "mmd2" | "mmd" => "squared maximum mean discrepancy; 0 is equal",
        "count" => "samples",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_on_one_chart() {
        let names =
            ["seconds.data", "grad", "energy.data", "energy.samples", "loss.x", "loss.y", "mine", "grad.cd"];
        let shown: Vec<Vec<&str>> = charts(&names, true).into_iter().map(|s| s.names).collect();
        let want: [&[&str]; 6] = [
            &["energy.data", "energy.samples"],
            &["grad", "grad.cd"],
            &["loss.x"],
            &["loss.y"],
            &["seconds.data"],
            &["mine"],
        ];
        assert_eq!(shown, want);
        assert!(charts(&names, false).iter().all(|s| s.names.len() == 1));
        assert_eq!(charts(&names, false).len(), names.len());
    }

    #[test]
    fn what_is_looked_at_first_ends_before_the_machinery() {
        assert_eq!(ALL[FIRST_ASIDE].names, ["sampler.grad_rms"]);
        assert!(ALL.iter().all(|w| w.title.len() > 3 && w.normal.ends_with('.')));
    }
}
