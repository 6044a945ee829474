//! Outlines as expressions that build modules, with the classes they need.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Device, Tensor};
use ebm_core::{Formula, Outline, OutlinePart, Result, Role};

use super::names::{class, indented, number, tuple, unique, word};
use super::net::Layers;

/// What the file is to hold.
#[derive(Default)]
pub(super) struct Writer {
    /// Names of the ready-made classes that are used.
    pub blocks: BTreeSet<&'static str>,
    /// Texts of the classes of this energy.
    pub classes: Vec<String>,
    /// The state, by the names that the modules give it.
    pub tensors: BTreeMap<String, Tensor>,
    named: BTreeSet<String>,
}

impl Writer {
    /// The expression that makes the module of `outline`, which stands at `place` in the state; `part` is the name of the
    /// part that it is.
    pub fn energy(&mut self, outline: &Outline, place: &[String], part: &str) -> Result<String> {
        match outline {
            Outline::Net { plan, params } => {
                let name = self
                    .class_name(&format!("{}Net", if part.is_empty() { String::new() } else { class(part) }));
                let (text, tensors) = Layers::written(&name, plan, params, &mut self.blocks)?;
                self.classes.push(text);
                for (own, tensor) in tensors {
                    self.keep(place, &own, tensor);
                }
                Ok(format!("{name}()"))
            }
            Outline::Sum(parts) => {
                self.blocks.insert("WeightedSum");
                let parts = self.parts(parts, place, |_| String::new())?;
                Ok(format!("WeightedSum({{\n{}}})", indented(&parts, 4)))
            }
            Outline::SoftMin { sharpness, parts, log_z } => {
                self.blocks.insert("SoftMin");
                let z = |i: usize| format!("{}, ", number(log_z.get(i).copied().unwrap_or(0.0)));
                let parts = self.parts(parts, place, z)?;
                Ok(format!("SoftMin({}, {{\n{}}})", number(*sharpness), indented(&parts, 4)))
            }
            Outline::Marginal { classes, inner } => {
                self.blocks.insert("Marginal");
                let inner = self.energy(inner, &below(place, "pair"), part)?;
                Ok(format!("Marginal({classes}, {inner})"))
            }
            Outline::Given { condition, inner } => {
                self.blocks.insert("Given");
                self.keep(place, "given", Tensor::new(condition.as_slice(), &Device::Cpu)?);
                let inner = self.energy(inner, &below(place, "pair"), part)?;
                Ok(format!("Given({}, {inner})", condition.len()))
            }
            Outline::View { rows, columns, inner } => {
                self.blocks.insert("View");
                let mut sizes = Vec::new();
                for (name, matrix) in [("rows", rows), ("columns", columns)] {
                    let size = [matrix.len(), matrix.first().map_or(0, Vec::len)];
                    self.keep(place, name, Tensor::from_vec(matrix.concat(), size.as_slice(), &Device::Cpu)?);
                    sizes.push(tuple(&size));
                }
                let inner = self.energy(inner, &below(place, "inner"), part)?;
                Ok(format!("View({}, {inner})", sizes.join(", ")))
            }
            Outline::Formula(formula) => self.formula(formula, place),
        }
    }

    /// Entries of a dictionary of parts, one a line.
    fn parts(
        &mut self,
        parts: &[OutlinePart],
        place: &[String],
        more: impl Fn(usize) -> String,
    ) -> Result<String> {
        let (mut text, mut used) = (String::new(), BTreeSet::new());
        for (i, part) in parts.iter().enumerate() {
            let name = unique(word(&part.name), &mut used);
            let inner = self.energy(&part.energy, &below(place, &name), &part.name);
            let inner = inner.map_err(|e| e.within(&part.name))?;
            text += &format!("\"{name}\": ({}, {}{inner}),\n", number(part.weight), more(i));
        }
        Ok(text)
    }

    fn formula(&mut self, formula: &Formula, place: &[String]) -> Result<String> {
        let name = self.class_name(&class(&formula.name));
        let (mut init, mut arguments, mut given) = (String::new(), String::new(), Vec::new());
        for (part, outline) in &formula.parts {
            arguments += &format!(", {part}");
            init += &format!("self.{part} = {part}\n");
            given.push(self.energy(outline, &below(place, part), part)?);
        }
        for (own, tensor, role) in &formula.tensors {
            let own = own.replace('.', "_");
            let dims = tuple(tensor.dims());
            let integer = if tensor.dtype().is_float() { "" } else { ", dtype=torch.int64" };
            init += &match role {
                Role::Trainable => format!("self.{own} = nn.Parameter(torch.zeros({dims}{integer}))\n"),
                _ => format!("self.register_buffer(\"{own}\", torch.zeros({dims}{integer}))\n"),
            };
            self.keep(place, &own, tensor.clone());
        }
        let init = format!("def __init__(self{arguments}):\n    super().__init__()\n{}", indented(&init, 4));
        let forward = format!("def forward(self, x, condition=None):\n{}", indented(&formula.python, 4));
        let body = indented(&format!("{init}\n{forward}"), 4);
        self.classes.push(format!("class {name}(nn.Module):\n    \"\"\"{}.\"\"\"\n\n{body}", formula.name));
        Ok(format!("{name}({})", given.join(", ")))
    }

    fn class_name(&mut self, wanted: &str) -> String {
        if self.named.is_empty() {
            let taken = [
                "Energy",
                "FourierFeatures",
                "StandardisedConv2d",
                "SpectralConv2d",
                "BlurPool",
                "LabelAffine",
            ];
            let more = ["SelfAttention", "WeightedSum", "SoftMin", "Marginal", "Given", "View", "Path"];
            self.named.extend(taken.into_iter().chain(more).map(String::from));
        }
        unique(wanted.to_string(), &mut self.named)
    }

    fn keep(&mut self, place: &[String], own: &str, tensor: Tensor) {
        self.tensors.insert(format!("{}.{own}", place.join(".")), tensor);
    }
}

fn below(place: &[String], name: &str) -> Vec<String> {
    place.iter().cloned().chain([name.to_string()]).collect()
}
