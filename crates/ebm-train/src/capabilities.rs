//! Checks that the parts of a plan can give each other what they need, before the run starts.

use ebm_core::{Condition, Domain, Error, Exactness, Result, Sensitivity, Split, host};

use crate::misfits;
use crate::plan::Plan;

/// Remarks on what may not be meant.
///
/// # Errors
/// The first pair of parts that do not fit, naming both, or the first setting that does not go with others.
pub(crate) fn check(plan: &Plan) -> Result<Vec<String>> {
    shape(plan)?;
    domain(plan)?;
    plan.parts.fit()?;
    condition(plan)?;
    let chains = &plan.config.chains;
    crate::labels::check(chains.labels, plan.data.condition(), plan.config.replay.as_deref())?;
    objective(plan)?;
    replay(plan)?;
    levels(plan)?;
    misfits::check(plan)
}

fn energy_name(plan: &Plan) -> String {
    let kind = plan.tree.pointer("/energy/kind").and_then(|k| k.as_str()).unwrap_or("energy");
    format!("energy `{kind}`")
}

fn shape(plan: &Plan) -> Result<()> {
    let (want, found) = (&plan.parts.energy.spec().sample_shape, plan.data.sample_shape());
    if want != found {
        return Err(Error::shape(
            energy_name(plan),
            found,
            format!("{want:?} for one sample"),
            format!("that is the shape of {}; change the energy's or the data's shape", plan.data.name()),
        ));
    }
    Ok(())
}

/// Samples whose values are held against the energy's domain.
const LOOKED_AT: usize = 512;

fn domain(plan: &Plan) -> Result<()> {
    let domain = plan.parts.energy.spec().domain;
    if !domain.is_discrete() || plan.data.domain() == domain {
        return Ok(());
    }
    let Some(some) = plan.data.stored(Split::Train, LOOKED_AT)? else { return Ok(()) };
    let values = host::singles(&some.x)?;
    let outside = domain.outside(&values, plan.data.sample_shape().iter().product());
    if outside == 0 {
        return Ok(());
    }
    let of = values.len() / domain.states().filter(|_| matches!(domain, Domain::Categorical(_))).unwrap_or(1);
    let first = values.iter().find(|v| domain.outside(&[**v], 1) > 0).copied().unwrap_or(f32::NAN);
    Err(Error::capability(
        energy_name(plan),
        format!("samples of {domain}"),
        format!("data {} ({outside} of the first {of} values are none, such as {first})", plan.data.name()),
        "set `binary` of an image source, give values of the domain, or use an energy of real samples",
    ))
}

fn condition(plan: &Plan) -> Result<()> {
    let given = plan.data.condition();
    let (want, optional) = match plan.parts.energy.spec().condition {
        Condition::None => return Ok(()),
        Condition::Optional(n) => (n, true),
        Condition::Required(n) => (n, false),
    };
    if given == want || (optional && given == 0) {
        return Ok(());
    }
    Err(Error::capability(
        energy_name(plan),
        format!("a condition of length {want}"),
        format!("data {} (its condition has length {given})", plan.data.name()),
        "use labelled data, set the energy's label length, or wrap the energy in `conditioned`",
    ))
}

fn objective(plan: &Plan) -> Result<()> {
    let needs = &plan.needs;
    let who = || format!("objective `{}`", plan.objective.name());
    if needs.discrete {
        plan.parts.energy.spec().domain.discrete_for(who())?;
    }
    if needs.exact && plan.parts.energy.spec().exactness != Exactness::Exact {
        return Err(Error::capability(
            who(),
            "exact second derivatives",
            energy_name(plan),
            "its tangent calls are central differences; write the energy with `Forward`, or use an objective without a KL or score term",
        ));
    }
    if needs.labels && (plan.data.condition() < 2 || plan.parts.energy.spec().condition == Condition::None) {
        let (lacking, what) = match plan.data.condition() {
            n if n < 2 => (
                format!("data {} (its condition has length {n})", plan.data.name()),
                "data with at least two labels",
            ),
            _ => (energy_name(plan), "an energy that takes the label"),
        };
        let hint = "set data.labels = true and energy.conditional = true, or remove the label term";
        return Err(Error::capability(who(), what, lacking, hint));
    }
    if needs.samples && plan.config.sampler.is_none() {
        return Err(Error::capability(
            who(),
            "samples of the energy",
            "this run, which has no sampler",
            "add a [sampler] section",
        ));
    }
    let sensitivity = plan.parts.sampler.sensitivity(needs.trail);
    if needs.trail > 0 && !sensitivity.enters() {
        let what = match sensitivity {
            Sensitivity::Cuts => "ends with a step that forgets where chains were",
            _ => "has no step along the energy's gradient",
        };
        return Err(Error::capability(
            who(),
            "samples that depend on the parameters",
            format!("sampler `{}`, which {what}", plan.parts.sampler.name()),
            "without that its KL or entropy term never has a gradient: use steps such as `langevin`, or switch the term off",
        ));
    }
    if let Sensitivity::Unknown(part) = sensitivity {
        return Err(Error::capability(
            who(),
            match needs.trail {
                usize::MAX => "how all steps depend on the parameters".to_string(),
                n => format!("how the last {n} steps depend on the parameters"),
            },
            format!("`{part}` of the sampler"),
            match (1..needs.trail.min(plan.parts.sampler.steps()))
                .rev()
                .find(|n| plan.parts.sampler.sensitivity(*n).is_exact())
            {
                Some(n) => format!(
                    "ask for {n} steps at most, which do not reach it, or use gradient steps such as `langevin`"
                ),
                None => {
                    "use a sampler of gradient steps such as `langevin`, or leave out the terms that need it (KL, entropy)".into()
                }
            },
        ));
    }
    // The largest number asks for all steps, however many there are.
    if needs.trail != usize::MAX && plan.parts.sampler.steps() < needs.trail {
        let path = if plan.tree.pointer("/objective/kl/trail").is_some() {
            "objective.kl.trail"
        } else {
            "objective"
        };
        let message = format!(
            "needs a trail of {} steps, and the sampler `{}` is one of {} steps: lower the trail or raise sampler.steps",
            needs.trail,
            plan.parts.sampler.name(),
            plan.parts.sampler.steps()
        );
        return Err(Error::config(path, message));
    }
    if needs.own_chains && plan.parts.sampler.couples_chains() {
        return Err(Error::capability(
            who(),
            "chains that go on alone, for each has an energy of its own",
            format!("sampler `{}`", plan.parts.sampler.name()),
            "use a program that moves every chain by itself, such as a `chain` of `mala`",
        ));
    }
    if needs.bank > 0 && plan.config.replay.is_none() {
        return Err(Error::capability(
            who(),
            format!("{} earlier samples for its entropy term", needs.bank),
            "a run without a [replay] section",
            "add a [replay] section, or remove the entropy",
        ));
    }
    Ok(())
}

/// What walks the condition of the energy needs one to walk.
fn levels(plan: &Plan) -> Result<()> {
    let walks = [plan.parts.sampler.as_ref(), plan.parts.generator.as_ref()];
    match walks.into_iter().find(|s| s.walks_levels()) {
        Some(sampler) if plan.parts.energy.spec().condition.length() != Some(1) => Err(Error::capability(
            format!("sampler `{}`", sampler.name()),
            "an energy whose condition is the noise level",
            energy_name(plan),
            "wrap the energy in `noise-conditioned`, or use another sampler",
        )),
        _ => Ok(()),
    }
}

fn replay(plan: &Plan) -> Result<()> {
    let runs_own = plan.needs.samples && !plan.needs.own_chains;
    if runs_own && plan.starts_on_replay() && plan.config.replay.is_none() {
        return Err(Error::capability(
            "chains.from = \"replay\"",
            "a replay buffer",
            "a run without a [replay] section",
            "add a [replay] section, or set chains.from to \"data\" or \"fresh\"",
        ));
    }
    Ok(())
}
