//! Weights of a user's own `nn.Sequential`, or of any module of such layers, matched to the layers of a plan by order and shape.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::Tensor;
use ebm_core::plan::{NetPlan, Op, WeightRule};
use ebm_core::{Error, ParamSet, Result};

use crate::Incoming;
use crate::weights::WeightFile;

/// A layer of the plan that wants weights.
struct Wanted {
    weight: String,
    bias: Option<String>,
    dims: Vec<usize>,
}

/// A layer of the file: the name of its module below some key.
struct Found {
    module: String,
    dims: Vec<usize>,
    bias: bool,
}

/// Reads the weights of `plan`'s layers, whose parameters are `params`, from a file of `torch.save` or safetensors: `0.weight`,
/// `0.bias`, `2.weight`, …, under any key (`net.0.weight`) and in any wrapper. The layers of the file stand in the order of the
/// plan's and have their shapes; modules without weights (activations, flattening) leave gaps in the numbers.
///
/// # Errors
/// If the plan has layers that `nn.Sequential` has none for, or the file's layers are other ones: the message lists both.
pub fn read(path: &Path, key: Option<&str>, plan: &NetPlan, params: &ParamSet) -> Result<Incoming> {
    let wanted = wanted(plan, params)?;
    let mut file = WeightFile::open(path)?;
    let names: Vec<String> = file.below("");
    let mut shapes = BTreeMap::new();
    for name in names.iter().filter(|name| ends(name).is_some()) {
        if let Some(t) = file.tensor("", name)? {
            shapes.insert(name.clone(), t.dims().to_vec());
        }
    }
    let listed = file.is_in_order();
    let fitting = fitting(&names, &shapes, &wanted, listed);
    // The innermost key under which all is there: the names are then those of the module itself.
    let modules = match &fitting.iter().max_by_key(|(prefix, _)| prefix.len()) {
        Some((_, modules)) => (*modules).clone(),
        None => return Err(Error::data(path, refusal(&names, &shapes, &wanted))),
    };
    // Of another key under which the same names are, such as that of an average, `find` knows what to say.
    let alike =
        |theirs: &[String]| modules.iter().zip(theirs).all(|(own, theirs)| theirs.ends_with(own.as_str()));
    if let Some((_, other)) = fitting.iter().find(|(_, theirs)| !alike(theirs)) {
        let message = format!(
            "{}: holds several modules whose layers fit, {} … and {} …: name the one to be taken alone",
            path.display(),
            modules.first().map_or("", String::as_str),
            other.first().map_or("", String::as_str)
        );
        return Err(Error::config("key", message));
    }
    let mut wants = Vec::new();
    for (module, layer) in modules.iter().zip(&wanted) {
        wants.push(join(module, "weight"));
        wants.extend(layer.bias.as_ref().map(|_| join(module, "bias")));
    }
    let chosen = file.find(&wants, key)?;
    let mut take = |prefix: &str| -> Result<BTreeMap<String, Tensor>> {
        let mut all = BTreeMap::new();
        for (module, layer) in modules.iter().zip(&wanted) {
            for (own, name) in [("weight", Some(&layer.weight)), ("bias", layer.bias.as_ref())] {
                let Some(name) = name else { continue };
                let place = join(module, own);
                let tensor = file.tensor(prefix, &place)?;
                let tensor =
                    tensor.ok_or_else(|| Error::data(path, format!("has no `{}`", join(prefix, &place))))?;
                let dims = params.get(name).map_or(&[][..], Tensor::dims);
                if tensor.dims() != dims || !tensor.dtype().is_float() {
                    let message = format!(
                        "`{place}` is {:?} of shape {:?}, wanted numbers of shape {dims:?} for `{name}`",
                        tensor.dtype(),
                        tensor.dims()
                    );
                    return Err(Error::data(path, message));
                }
                all.insert(name.clone(), tensor);
            }
        }
        Ok(all)
    };
    let live = take(&chosen.live)?;
    let average = chosen.average.as_deref().map(&mut take).transpose()?;
    let pairs = modules.iter().zip(&wanted).map(|(m, w)| format!("{m} is {}", base(&w.weight)));
    let mut remarks = chosen.remarks;
    remarks.push(format!("by order and shape {}", pairs.collect::<Vec<_>>().join(", ")));
    remarks.push("weights say nothing of what stands between them: compare the energies of a few samples before anything else".into());
    Ok(Incoming { live, average, remarks, ..Incoming::default() })
}

/// The layers of the plan that have weights, in order, each once.
fn wanted(plan: &NetPlan, params: &ParamSet) -> Result<Vec<Wanted>> {
    let mut all: Vec<Wanted> = Vec::new();
    for node in &plan.nodes {
        let (weight, bias) = match &node.op {
            Op::Conv { rule: WeightRule::Spectral { .. }, .. }
            | Op::Attention { .. }
            | Op::Fourier { .. } => {
                let hint = "take a network of convolutions, linear layers and norms";
                let found = format!("layer `{}`", node.name);
                return Err(Error::capability("weights of nn.Sequential", "layers that it has", found, hint));
            }
            Op::Conv { weight, bias, .. } | Op::Linear { weight, bias } => (weight, bias.clone()),
            Op::LabelAffine { weight, bias } | Op::Norm { weight: Some(weight), bias: Some(bias), .. } => {
                (weight, Some(bias.clone()))
            }
            _ => continue,
        };
        if all.iter().any(|w| w.weight == *weight) {
            continue;
        }
        let missing = || Error::config(weight.clone(), "is missing in the parameters of this network");
        let dims = params.get(weight).ok_or_else(missing)?.dims().to_vec();
        all.push(Wanted { weight: weight.clone(), bias, dims });
    }
    Ok(all)
}

/// The keys under which the layers of the file are those wanted, and there the names of their modules, in order.
fn fitting(
    names: &[String],
    shapes: &BTreeMap<String, Vec<usize>>,
    wanted: &[Wanted],
    listed: bool,
) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for prefix in prefixes(names) {
        let Some(mut found) = layers(names, shapes, &prefix) else { continue };
        order(&mut found, listed);
        let fits = found.len() == wanted.len()
            && found.iter().zip(wanted).all(|(f, w)| f.dims == w.dims && f.bias == w.bias.is_some());
        if fits && (listed || counted(&found) || !repeats(wanted)) {
            all.push((prefix, found.into_iter().map(|f| f.module).collect()));
        }
    }
    all
}

/// All keys that lead to tensors, and none.
fn prefixes(names: &[String]) -> BTreeSet<String> {
    let mut prefixes = BTreeSet::from([String::new()]);
    for name in names {
        let mut at = 0;
        while let Some(dot) = name[at..].find('.') {
            prefixes.insert(name[..at + dot].to_string());
            at += dot + 1;
        }
    }
    prefixes
}

/// The layers below a key, in the order of the file; `None` if there is something else below it.
fn layers(names: &[String], shapes: &BTreeMap<String, Vec<usize>>, prefix: &str) -> Option<Vec<Found>> {
    let mut all: Vec<Found> = Vec::new();
    for name in names {
        let rest = match prefix {
            "" => name.as_str(),
            prefix => match name.strip_prefix(prefix).and_then(|r| r.strip_prefix('.')) {
                Some(rest) => rest,
                None => continue,
            },
        };
        let (module, own) = ends(rest)?;
        match all.iter_mut().find(|f| f.module == module) {
            Some(layer) if own == "bias" => layer.bias = true,
            Some(layer) => layer.dims = shapes.get(name)?.clone(),
            None => {
                let dims = if own == "weight" { shapes.get(name)?.clone() } else { Vec::new() };
                all.push(Found { module: module.into(), dims, bias: own == "bias" });
            }
        }
    }
    (!all.is_empty()).then_some(all)
}

/// Puts layers in the order of their numbers, where these are all that tells them apart or the file has no order of its own.
fn order(found: &mut [Found], listed: bool) {
    if !listed || counted(found) {
        found.sort_by(|a, b| natural(&a.module, &b.module));
    }
}

/// Whether modules differ in numbers alone.
fn counted(found: &[Found]) -> bool {
    let plain = |f: &Found| {
        let words = f.module.split(|c: char| c.is_ascii_digit()).filter(|w| !w.is_empty());
        words.map(String::from).collect::<Vec<_>>()
    };
    found.windows(2).all(|w| plain(&w[0]) == plain(&w[1]))
}

/// Whether two layers have one shape, so that shapes do not tell the order.
fn repeats(wanted: &[Wanted]) -> bool {
    wanted.iter().enumerate().any(|(i, w)| wanted[i + 1..].iter().any(|o| o.dims == w.dims))
}

/// `2` before `10`.
fn natural(a: &str, b: &str) -> Ordering {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let (mut a, mut b) = (a, b);
    loop {
        match (digits(a), digits(b)) {
            (0, 0) => {
                let (Some(x), Some(y)) = (a.chars().next(), b.chars().next()) else {
                    return a.len().cmp(&b.len());
                };
                if x != y {
                    return x.cmp(&y);
                }
                (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]);
            }
            (n, m) => {
                let (x, y) = (a[..n].trim_start_matches('0'), b[..m].trim_start_matches('0'));
                let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
                if order != Ordering::Equal {
                    return order;
                }
                (a, b) = (&a[n..], &b[m..]);
            }
        }
    }
}

/// A module and what it calls the tensor: `weight` or `bias`.
fn ends(name: &str) -> Option<(&str, &str)> {
    let (module, own) = name.rsplit_once('.')?;
    ["weight", "bias"].contains(&own).then_some((module, own))
}

fn base(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(base, _)| base)
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.into() } else { format!("{prefix}.{name}") }
}

/// What is in the file, and what was wanted.
fn refusal(names: &[String], shapes: &BTreeMap<String, Vec<usize>>, wanted: &[Wanted]) -> String {
    const SHOWN: usize = 16;
    let more = |n: usize| if n > SHOWN { format!(" and {} more", n - SHOWN) } else { String::new() };
    let found = names.iter().take(SHOWN).map(|name| match shapes.get(name) {
        Some(dims) => format!("{name} {dims:?}"),
        None => name.clone(),
    });
    let wants = wanted
        .iter()
        .take(SHOWN)
        .map(|w| format!("{:?}{}", w.dims, if w.bias.is_some() { "" } else { " without bias" }));
    let first = first_difference(names, shapes, wanted).map_or(String::new(), |d| format!(" ({d})"));
    format!(
        "its layers are not those of this network{first}: found {}{}; wanted, in this order, modules with weights {}{}",
        found.collect::<Vec<_>>().join(", "),
        more(names.len()),
        wants.collect::<Vec<_>>().join(", "),
        more(wanted.len())
    )
}

/// What first stands against the layers of the file, by its name: a key that is of no layer, a bias that is there or not, another
/// shape, another number of layers.
fn first_difference(
    names: &[String],
    shapes: &BTreeMap<String, Vec<usize>>,
    wanted: &[Wanted],
) -> Option<String> {
    let odd = names.iter().find(|name| ends(name).is_none());
    let known: Vec<String> = names.iter().filter(|name| ends(name).is_some()).cloned().collect();
    // A key under which there are as many layers as wanted is the one that was meant, such as one beside that of an average.
    let mut below = prefixes(&known).into_iter().filter_map(|prefix| layers(&known, shapes, &prefix));
    let meant = below.find(|found| found.len() == wanted.len());
    let mut found = meant.or_else(|| layers(&known, shapes, ""))?;
    order(&mut found, true);
    let fits = |f: &Found, w: &Wanted| f.dims == w.dims && f.bias == w.bias.is_some();
    let all_fit = found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| fits(f, w));
    if let (Some(odd), true) = (odd, all_fit) {
        return Some(format!(
            "`{odd}` is neither a weight nor a bias of a layer: leave it out, or save the layers under a key of their own"
        ));
    }
    let Some((f, w)) = found.iter().zip(wanted).find(|(f, w)| !fits(f, w)) else {
        // One list is the beginning of the other.
        let (have, want) = (found.len(), wanted.len());
        let more = found.get(want).map(|f| format!("`{}` is one layer too many", f.module));
        let less = wanted.get(have).map(|w| format!("no layer is left for `{}`", base(&w.weight)));
        return more.or(less);
    };
    Some(match (f.dims == w.dims, w.bias.is_some()) {
        (true, true) => format!(
            "`{}` is missing: `{}` needs a bias, zeros if it has none",
            join(&f.module, "bias"),
            base(&w.weight)
        ),
        (true, false) => {
            format!("`{}` is one too many: `{}` has no bias", join(&f.module, "bias"), base(&w.weight))
        }
        (false, _) if f.dims.is_empty() => format!("`{}` is missing", join(&f.module, "weight")),
        (false, _) => format!(
            "`{}` is {:?}, where `{}` is {:?}",
            join(&f.module, "weight"),
            f.dims,
            base(&w.weight),
            w.dims
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(module: &str, dims: &[usize]) -> Found {
        Found { module: module.into(), dims: dims.to_vec(), bias: true }
    }

    #[test]
    fn numbers_are_counted_and_names_keep_the_order_of_the_file() {
        let mut all = ["10", "2", "0"].map(|m| layer(m, &[1]));
        order(&mut all, true);
        assert_eq!(all.map(|f| f.module), ["0", "2", "10"]);
        let mut all = ["features.0", "classifier.0"].map(|m| layer(m, &[1]));
        order(&mut all, true);
        assert_eq!(all.map(|f| f.module), ["features.0", "classifier.0"]);
        assert_eq!(natural("layer9.fc", "layer10.fc"), Ordering::Less);
    }

    #[test]
    fn what_stands_against_a_file_is_named() {
        let said = |names: &[&str], dims: &[(&str, [usize; 2])]| {
            let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
            let shapes: BTreeMap<_, _> = dims.iter().map(|(n, d)| (n.to_string(), d.to_vec())).collect();
            let wanted = [("layer1", [3, 2]), ("head", [1, 3])].map(|(n, d)| Wanted {
                weight: format!("{n}.weight"),
                bias: Some(format!("{n}.bias")),
                dims: d.to_vec(),
            });
            refusal(&names, &shapes, &wanted)
        };
        let both = [("0.weight", [3, 2]), ("2.weight", [1, 3])];
        let no_bias = said(&["0.weight", "0.bias", "2.weight"], &both);
        assert!(no_bias.contains("`2.bias` is missing: `head` needs a bias"), "{no_bias}");
        let odd = said(&["0.weight", "0.bias", "2.weight", "2.bias", "log_z"], &both);
        assert!(odd.contains("`log_z` is neither a weight nor a bias"), "{odd}");
        let two =
            ["ema.0.weight", "ema.0.bias", "ema.2.weight", "net.0.weight", "net.0.bias", "net.2.weight"];
        let of_two = two.into_iter().filter(|n| n.ends_with("weight"));
        let of_two: Vec<_> = of_two.map(|n| (n, if n.contains(".0.") { [3, 2] } else { [1, 3] })).collect();
        let average = said(&two, &of_two);
        assert!(average.contains("`2.bias` is missing"), "{average}");
        let other = [("0.weight", [3, 2]), ("2.weight", [2, 3])];
        let shape = said(&["0.weight", "0.bias", "2.weight", "2.bias"], &other);
        assert!(shape.contains("`2.weight` is [2, 3], where `head` is [1, 3]"), "{shape}");
        let short = said(&["0.weight", "0.bias"], &both[..1]);
        assert!(short.contains("no layer is left for `head`"), "{short}");
    }

    #[test]
    fn layers_without_an_order_are_taken_by_shape_only_where_shapes_tell_it() {
        let names: Vec<String> = ["a.weight", "a.bias", "b.weight", "b.bias"].map(String::from).into();
        let shapes = |a: [usize; 2], b: [usize; 2]| {
            BTreeMap::from([("a.weight".to_string(), a.to_vec()), ("b.weight".into(), b.to_vec())])
        };
        let wanted = |a: [usize; 2], b: [usize; 2]| {
            [a, b].map(|d| Wanted { weight: "w".into(), bias: Some("b".into()), dims: d.to_vec() })
        };
        assert_eq!(fitting(&names, &shapes([3, 2], [1, 3]), &wanted([3, 2], [1, 3]), false).len(), 1);
        assert!(fitting(&names, &shapes([3, 3], [3, 3]), &wanted([3, 3], [3, 3]), false).is_empty());
        assert_eq!(fitting(&names, &shapes([3, 3], [3, 3]), &wanted([3, 3], [3, 3]), true).len(), 1);
    }
}
