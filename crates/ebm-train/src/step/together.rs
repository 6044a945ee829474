//! What shards and ranks add up in a step, and how ranks fail together.

use std::collections::{BTreeMap, BTreeSet};

use ebm_core::candle::Tensor;
use ebm_core::{Error, Result, Sums, squares_of_each, tree};
use ebm_model::digest::sha256;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::shares::Share;
use crate::step::pass::{Grads, Pass};
use crate::step::tally::Tally;

/// The sum over all shards of a run, on whatever rank.
pub(crate) struct Whole {
    /// Gradient of the loss.
    pub grads: Grads,
    /// Numbers of the report.
    pub values: BTreeMap<String, f64>,
    /// The passes of the shards that are here.
    pub passes: Vec<Pass>,
    /// Whether a rank was asked to stop.
    pub stop: bool,
}

/// Adds up the passes of all ranks: the one reduction of a step. `mine` is in the order of the shares that are here;
/// `stop` says that this rank was asked to stop.
///
/// # Errors
/// That of this rank, or that of another. If numbers were not finite, all ranks have the same error, so that all
/// leave the batch out.
pub(crate) fn add(plan: &Plan, mine: Result<Vec<Pass>>, stop: bool) -> Result<Whole> {
    let shards = plan.layout.shards;
    let alone = plan.ranks.size() == 1;
    match mine {
        Ok(mut passes) if alone && shards == 1 => {
            let Some(pass) = passes.first_mut() else { return Err(nothing()) };
            let values = pass.tally.report(1);
            Ok(Whole { grads: std::mem::take(&mut pass.grads), values, passes, stop })
        }
        Err(e) if alone => Err(e),
        mine => {
            let mine = mine.and_then(|mut passes| Ok((own(plan, &mut passes, stop)?, passes)));
            let words = mine.as_ref().ok().map(|((_, sums), _)| sums.clone());
            match (plan.ranks.sum(words)?, mine) {
                (Some(sums), Ok(((form, _), passes))) => whole(plan, &form, &sums, passes),
                (_, mine) => Err(settle(plan, mine.err())?),
            }
        }
    }
}

fn nothing() -> Error {
    Error::plugin("ranks", "a rank has no rows of the batch")
}

/// What the entries of the sums are.
struct Form {
    names: Vec<String>,
    tally: Tally,
}

/// Numbers before the marks of the parameters that have a gradient.
const HEAD: usize = 2;

/// The sum of the shards that are here, in the order of the parameters, and what it is of.
fn own(plan: &Plan, passes: &mut [Pass], stop: bool) -> Result<(Form, Sums)> {
    let grads = tree(passes.iter_mut().map(|p| std::mem::take(&mut p.grads)).collect(), added)?;
    let grads = grads.ok_or_else(nothing)?;
    let first = passes.first().ok_or_else(nothing)?.tally.clone();
    let numbers = passes.iter().map(|p| {
        if p.tally.names() == first.names() {
            Ok(p.tally.numbers())
        } else {
            first.with_numbers(&[]).map(|_| vec![])
        }
    });
    let numbers = tree(numbers.collect::<Result<Vec<_>>>()?, |a: Vec<f64>, b: Vec<f64>| {
        Ok::<_, Error>(a.iter().zip(&b).map(|(a, b)| a + b).collect())
    })?;
    let (names, tensors) = of_all_params(plan, &grads)?;
    let mark = |yes| f64::from(u8::from(yes));
    let mut entries = vec![mark(stop), fingerprint(&first.names())];
    entries.extend(names.iter().map(|name| mark(grads.contains_key(name))));
    entries.extend(numbers.unwrap_or_default());
    Ok((Form { names, tally: first }, Sums { tensors, numbers: entries }))
}

/// Names of the trainable parameters in order, and the gradient of each: 0 where there is none.
fn of_all_params(plan: &Plan, grads: &Grads) -> Result<(Vec<String>, Vec<Tensor>)> {
    let params = &plan.params;
    let names: Vec<String> = params.trainable().map(str::to_string).collect();
    let own = |name: &String| match (grads.get(name), params.get(name)) {
        (Some(g), _) => Ok(g.clone()),
        (None, Some(p)) => Ok(p.zeros_like()?),
        (None, None) => Err(nothing()),
    };
    let tensors = names.iter().map(own).collect::<Result<_>>()?;
    Ok((names, tensors))
}

/// A 32-bit number that tells texts apart; sums of it over ranks are exact.
fn fingerprint(text: &str) -> f64 {
    let digest = sha256(text.as_bytes());
    digest.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok()).map_or(0.0, f64::from)
}

fn added(mut a: Grads, b: Grads) -> Result<Grads> {
    for (name, g) in b {
        let sum = match a.get(&name) {
            Some(own) => (own + g)?,
            None => g,
        };
        a.insert(name, sum);
    }
    Ok(a)
}

/// The whole from the sums over all ranks.
fn whole(plan: &Plan, form: &Form, sums: &Sums, passes: Vec<Pass>) -> Result<Whole> {
    let (shards, ranks) = (plan.layout.shards, plan.ranks.size());
    let (head, rest) = sums.numbers.split_at_checked(HEAD + form.names.len()).ok_or_else(nothing)?;
    if head[1] != ranks as f64 * fingerprint(&form.tally.names()) {
        return Err(Error::plugin("ranks", "ranks report different quantities"));
    }
    let mut grads = Grads::new();
    for ((name, g), there) in form.names.iter().zip(&sums.tensors).zip(&head[HEAD..]) {
        if *there > 0.0 {
            grads.insert(name.clone(), mean(g, shards)?);
        }
    }
    // Ranks that share a shard add parts of one mean.
    let values = form.tally.with_numbers(rest)?.report(shards);
    Ok(Whole { grads, values, passes, stop: head[0] > 0.0 })
}

/// A sum over shards as their mean.
fn mean(sum: &Tensor, shards: usize) -> Result<Tensor> {
    if shards == 1 { Ok(sum.clone()) } else { Ok(sum.affine(1.0 / shards as f64, 0.0)?) }
}

/// Norm of the gradient of each loss term alone.
///
/// # Errors
/// If an operation fails.
pub(crate) fn term_norms(plan: &Plan, passes: &mut [Pass]) -> Result<BTreeMap<String, f64>> {
    let mut labels: BTreeSet<String> =
        passes.iter().flat_map(|p| p.terms.keys()).map(|label| label.to_string()).collect();
    if plan.ranks.size() > 1 {
        let mine: Vec<&str> = labels.iter().map(String::as_str).collect();
        let all = plan.ranks.gather(mine.join("\n").as_bytes())?;
        let text =
            |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).lines().map(str::to_string).collect::<Vec<_>>();
        labels = all.iter().flat_map(text).collect();
    }
    let mut norms = BTreeMap::new();
    for label in labels {
        let own = passes.iter_mut().map(|p| p.terms.remove(label.as_str()).unwrap_or_default()).collect();
        let mut grads = tree(own, added)?.unwrap_or_default();
        if plan.ranks.size() > 1 {
            grads = everywhere(plan, grads)?;
        }
        let means = grads.values().map(|g| mean(g, plan.layout.shards)).collect::<Result<Vec<_>>>()?;
        norms.insert(label, squares_of_each(means.iter())?.iter().sum::<f64>().sqrt());
    }
    Ok(norms)
}

/// Gradients added over all ranks; all parameters have one.
fn everywhere(plan: &Plan, grads: Grads) -> Result<Grads> {
    let (names, tensors) = of_all_params(plan, &grads)?;
    let sums = plan.ranks.sum(Some(Sums { tensors, numbers: vec![] }))?.ok_or_else(nothing)?;
    Ok(names.into_iter().zip(sums.tensors).collect())
}

/// The ends of the chains of a whole shard, on all ranks that share it.
///
/// # Errors
/// If the ranks cannot be reached.
pub(crate) fn whole_shard(plan: &Plan, share: &Share, ends: &Tensor) -> Result<Tensor> {
    if plan.layout.sharers == 1 {
        return Ok(ends.clone());
    }
    let host = ends.to_device(&ebm_core::candle::Device::Cpu)?;
    let mine = BTreeMap::from([("x".to_string(), host)]);
    let all = plan.ranks.gather(&crate::checkpoint::bytes(&mine)?)?;
    let first = share.shard * plan.layout.sharers;
    let mut parts = Vec::new();
    for bytes in &all[first..first + plan.layout.sharers] {
        parts.extend(ebm_model::checkpoint::tensors(bytes)?.remove("x"));
    }
    Ok(Tensor::cat(&parts, 0)?.to_device(ends.device())?)
}

/// How one rank tells the others why it failed.
#[derive(Serialize, Deserialize)]
enum Word {
    /// A number was not finite: quantity, step, message.
    Numeric(String, u64, String),
    /// Anything else.
    Other(String),
}

/// After a step that failed somewhere, the error of this rank: its own or that of the first rank that has one. Numbers
/// that are not finite count only if nothing worse happened anywhere.
///
/// # Errors
/// If the ranks cannot be reached.
fn settle(plan: &Plan, mine: Option<Error>) -> Result<Error> {
    let word = mine.as_ref().map(|e| match e {
        Error::Numeric { what, step, message } => Word::Numeric(what.clone(), *step, message.clone()),
        other => Word::Other(other.to_string()),
    });
    let text = word.map(|w| serde_json::to_vec(&w)).transpose().map_err(|e| Error::plugin("ranks", e))?;
    let all = plan.ranks.gather(&text.unwrap_or_default())?;
    let words: Vec<Option<Word>> = all.iter().map(|bytes| serde_json::from_slice(bytes).ok()).collect();
    for (rank, word) in words.iter().enumerate() {
        match (word, &mine) {
            (Some(Word::Other(_)), _) if rank == plan.ranks.rank() => {
                return Ok(mine.unwrap_or_else(nothing));
            }
            (Some(Word::Other(text)), _) => return Ok(Error::elsewhere(rank, text.as_bytes())),
            _ => {}
        }
    }
    match words.into_iter().flatten().next() {
        Some(Word::Numeric(what, step, message)) => Ok(Error::numeric(what, step, message)),
        _ => Ok(nothing()),
    }
}
