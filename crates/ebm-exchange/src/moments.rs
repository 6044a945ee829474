//! The state of an optimiser in a checkpoint of PyTorch.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use ebm_core::{Error, Result};
use ebm_data::torch::Item;

use crate::weights::WeightFile;

/// The state of one parameter.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    /// Number of updates.
    pub step: Option<u64>,
    /// Tensors such as `exp_avg_sq`.
    pub tensors: BTreeMap<String, Tensor>,
}

/// The state of a PyTorch optimiser with one group of parameters.
#[derive(Clone, Debug, Default)]
pub struct OptimiserFile {
    /// State of each parameter in the order of the group; `None` for one that never had a gradient.
    pub moments: Vec<Option<Moments>>,
    /// Decays of the group, if it names them.
    pub betas: Option<(f64, f64)>,
}

impl WeightFile {
    /// The state of the optimiser in a file, which it must hold only one of.
    ///
    /// # Errors
    /// If there is none, or several, or it is not of the usual form.
    pub fn optimiser(&mut self) -> Result<OptimiserFile> {
        let path = self.path().to_path_buf();
        let fail = |message: String| Error::data(&path, message);
        let mut keys: Vec<String> = Vec::new();
        for (place, _) in self.items() {
            if let [key @ .., groups, group, params, _] = &place[..]
                && groups == "param_groups"
                && params == "params"
            {
                if group != "0" {
                    return Err(fail("its optimiser has several groups of parameters".into()));
                }
                let key = key.join(".");
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
        let key = match &keys[..] {
            [one] => one.clone(),
            [] => return Err(fail("it holds no state of an optimiser".into())),
            several => return Err(fail(format!("it holds several optimisers: {}", several.join(", ")))),
        };
        // What is below the key, by its place.
        let prefix = if key.is_empty() { String::new() } else { format!("{key}.") };
        let mut below = Vec::new();
        for (place, item) in self.items() {
            if let Some(rest) = place.join(".").strip_prefix(&prefix) {
                below.push((rest.to_string(), item.clone()));
            }
        }
        let number = |place: &str| {
            below.iter().find_map(|(at, item)| match item {
                Item::Number(v) if at == place => Some(*v),
                _ => None,
            })
        };
        let betas = number("param_groups.0.betas.0").zip(number("param_groups.0.betas.1"));
        let ids = below.iter().filter_map(|(at, item)| match item {
            Item::Number(id) if at.starts_with("param_groups.0.params.") => Some(format!("state.{id}.")),
            _ => None,
        });
        let mut moments = Vec::new();
        for of in ids {
            let own: Vec<_> =
                below.iter().filter_map(|(at, item)| Some((at.strip_prefix(&of)?, item))).collect();
            let mut one = Moments::default();
            for (name, item) in &own {
                match item {
                    Item::Number(v) if *name == "step" => one.step = Some(*v as u64),
                    Item::Tensor(_) => {
                        let tensor = self.item(&format!("{prefix}{of}{name}"))?;
                        let Some(tensor) = tensor else { continue };
                        if *name == "step" {
                            let all = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                            one.step = all.first().map(|v| *v as u64);
                        } else {
                            one.tensors.insert((*name).to_string(), tensor);
                        }
                    }
                    _ => {}
                }
            }
            moments.push((!own.is_empty()).then_some(one));
        }
        Ok(OptimiserFile { moments, betas })
    }
}
