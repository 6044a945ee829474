//! The sections of the run configuration as a table, so that they are checked and documented like plugins.

use ebm_core::{Family, Param};

/// Top level of the run configuration. The settings of `Part` and `Parts` are those of the plugins.
pub static RUN_SECTIONS: &[Param] = &[
    Param::int("format", "number of the configuration format").at_least(1.0).at_most(1.0),
    Param::table("run", RUN, "name, seed, length, batch, device").default("{}"),
    Param::part("data", Family::Data, "where training samples come from"),
    Param::part("energy", Family::Energy, "the energy that is trained"),
    Param::part("sampler", Family::Sampler, "the program that samples it"),
    Param::table("chains", CHAINS, "where chains start in a training step").default("{}"),
    Param::part("replay", Family::Replay, "memory of earlier chains").default("none"),
    Param::part("objective", Family::Objective, "what is minimised"),
    Param::part("optimiser", Family::Optimiser, "how parameters move"),
    Param::table("generate", GENERATE, "sampling during and after training").default("{}"),
    Param::parts("observer", Family::Observer, "what is written down").default("[]"),
    Param::parts("policy", Family::Policy, "what is decided on the way").default("[]"),
];

/// `[run]`.
pub static RUN: &[Param] = &[
    Param::text("name", "name of the run and of its directory").default("\"run\""),
    Param::int("seed", "seed of all random numbers").default("0").at_least(0.0),
    Param::int("steps", "training updates").default("1000").at_least(1.0),
    Param::int("batch", "samples, and chains, in a step").default("64").at_least(1.0).at_most(1e6),
    Param::int(
        "shards",
        "parts of the batch with chains and buffer of their own; a divisor of the batch, shared by ranks",
    )
    .default("1")
    .at_least(1.0)
    .at_most(1e6),
    Param::text("device", "auto, cpu, cuda, cuda:N or metal").default("\"auto\""),
    Param::choice(
        "engine",
        &["auto", "graph", "require"],
        "fused twins of the energy: where its plan allows, never, or always (an error where there is none)",
    )
    .default("\"auto\""),
    Param::choice(
        "dtype",
        &["f32", "f64", "tf32", "bf16"],
        "number type of parameters and samples; tf32 and bf16 round products only",
    )
    .default("\"f32\""),
    Param::int("report_every", "steps between reports with gradient norms a term; 0 for never")
        .default("50")
        .at_least(0.0),
];

/// `[chains]`.
pub static CHAINS: &[Param] = &[
    Param::choice(
        "from",
        &["replay", "data", "fresh"],
        "where chains of a step start: on chains of the buffer, on the data batch, or afresh",
    )
    .default("\"replay\""),
    Param::part(
        "start",
        Family::Transition,
        "applied to zeros, makes fresh starts; absent: uniform over the range of the data, else over [0, 1)",
    )
    .default("none"),
    Param::float("restart", "probability of replacing a chain from the buffer by a fresh start")
        .default("0.05")
        .at_least(0.0)
        .at_most(1.0),
    Param::parts("transitions", Family::Transition, "applied to chains from the buffer (augmentation)")
        .default("[]"),
    Param::choice("fill", &["none", "data", "start"], "what the buffer holds at the start of a run")
        .default("\"none\""),
    Param::choice(
        "labels",
        &["data", "kept"],
        "condition under which a chain from the buffer goes on: that of the data batch (published program), or its own",
    )
    .default("\"data\""),
];

/// `[generate]`.
pub static GENERATE: &[Param] = &[
    Param::int("steps", "steps of the run's sampler").default("200").at_least(0.0).at_most(1e7),
    Param::part("sampler", Family::Sampler, "a program of its own, instead of `steps`").default("none"),
    Param::choice("weights", &["average", "live"], "weights that samples are drawn from")
        .default("\"average\""),
    Param::int("count", "samples of a sheet").default("64").at_least(1.0).at_most(1e6),
];
