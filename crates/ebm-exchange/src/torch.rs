//! Energies as modules of PyTorch: one Python file that rebuilds the energy, and the tensors it loads.

mod blocks;
mod compose;
mod names;
mod net;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use ebm_core::{Condition, EnergyFn, Result};

use self::compose::Writer;

/// The name of the Python file.
pub const PYTHON: &str = "energy.py";
/// The name of the file of tensors, which the Python file reads.
pub const WEIGHTS: &str = "weights.safetensors";

/// An energy for PyTorch.
#[derive(Clone, Debug)]
pub struct Module {
    /// The text of [`PYTHON`].
    pub python: String,
    /// The module's state, to be saved as [`WEIGHTS`].
    pub tensors: BTreeMap<String, Tensor>,
}

/// Writes `energy` down as a `torch.nn.Module` whose `forward(x, condition=None)` gives energies `(B,)` in nats, in single precision or, of
/// `F64`, in double; `about`, a
/// few lines, stands at the head of the file.
///
/// # Errors
/// If a part of it has no such form (it is named), or a tensor cannot be read.
pub fn module(energy: &dyn EnergyFn, dtype: DType, about: &str) -> Result<Module> {
    let mut writer = Writer::default();
    let root = writer.energy(&energy.outline()?, &["energy".into()], "")?;
    let root = root.replace('\n', "\n        ");
    let spec = energy.spec();
    let (length, required) = match spec.condition {
        Condition::None => (0, false),
        Condition::Optional(n) => (n, false),
        Condition::Required(n) => (n, true),
    };
    let double = dtype == DType::F64;
    let mut tensors = BTreeMap::new();
    for (name, tensor) in writer.tensors {
        // PyTorch counts in 64 bits, and half precision is only how a run may store what it computes in single.
        let dtype = match tensor.dtype().is_float() {
            true if double => DType::F64,
            true => DType::F32,
            false => DType::I64,
        };
        tensors.insert(name, tensor.detach().to_device(&Device::Cpu)?.to_dtype(dtype)?.contiguous()?);
    }
    let shape = names::tuple(&spec.sample_shape);
    let (dtype, required) =
        (if double { "float64" } else { "float32" }, if required { "True" } else { "False" });
    let batch: String = spec.sample_shape.iter().map(|d| format!(", {d}")).collect();
    let under = match length {
        0 => String::new(),
        n => format!("\nThe condition is a tensor (B, {n}).\n"),
    };
    let mut python = format!(
        "\"\"\"{about}\n\n    from energy import load\n    energy = load()  # reads {WEIGHTS} beside this file\n    energy(x)        # energies (B,) in nats of x (B{batch})\n{under}\"\"\"\n\n"
    );
    python += "import math\nfrom pathlib import Path\n\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n";
    for block in blocks::in_order(&writer.blocks) {
        python += "\n\n";
        python += block;
    }
    for class in writer.classes {
        python += "\n\n";
        python += &class;
    }
    python += &format!(
        r#"

class Energy(nn.Module):
    """The whole energy: `forward(x, condition=None)` gives energies (B,) in nats."""

    shape = {shape}
    condition_length = {length}
    condition_required = {required}

    def __init__(self):
        super().__init__()
        self.energy = {root}

    def forward(self, x, condition=None):
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"x has shape {{tuple(x.shape)}}, expected (B{batch})")
        if self.condition_length == 0:
            condition = None
        elif condition is None and self.condition_required:
            raise ValueError(f"condition is missing, expected shape (B, {{self.condition_length}})")
        elif condition is not None and tuple(condition.shape) != (len(x), self.condition_length):
            found = tuple(condition.shape)
            raise ValueError(f"condition has shape {{found}}, expected ({{len(x)}}, {{self.condition_length}})")
        return self.energy(x, condition)


def load(weights=None, device="cpu"):
    """The energy with its weights: of {WEIGHTS} beside this file, or of another file of its kind."""
    from safetensors.torch import load_file

    energy = Energy().to(torch.{dtype})
    energy.load_state_dict(load_file(weights or Path(__file__).with_name("{WEIGHTS}")))
    return energy.to(device).eval()
"#
    );
    Ok(Module { python, tensors })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use ebm_core::{Autograd, Diff, EnergySpec, Forward, ParamSet, Part, SoftMin, Sum, View};

    use super::*;

    /// An energy whose author wrote it out, or did not.
    struct Bowl(Option<&'static str>);

    impl Forward for Bowl {
        fn terms<V: Diff>(&self, _: &View, x: &V, _: Option<&Tensor>) -> Result<V> {
            x.flatten()?.square()?.sum_last()
        }

        fn python(&self) -> Option<String> {
            self.0.map(Into::into)
        }
    }

    fn bowl(name: &str, python: Option<&'static str>) -> Arc<dyn EnergyFn> {
        Arc::new(Autograd::new(name, Bowl(python), EnergySpec::new(&[2], &["bowl"]), ParamSet::default()))
    }

    #[test]
    fn what_its_author_did_not_write_out_is_refused_by_name() {
        let inner = SoftMin::new(vec![Part::new("a", bowl("energy.parts[1].energy", None))], 1.0).unwrap();
        let parts = vec![
            Part::new("b", bowl("x", Some("return x.square().sum(1)"))),
            Part::new("c", Arc::new(inner)),
        ];
        let text = module(&Sum::new(parts).unwrap(), DType::F32, "").map(|_| ()).unwrap_err().to_string();
        assert!(text.contains("energy.parts[1].energy") && text.contains("Forward::python"), "{text}");
    }

    #[test]
    fn parts_of_one_name_are_classes_of_their_own() {
        let twice = ["a", "b"].map(|n| Part::new(n, bowl("x", Some("return x.square().sum(1)"))));
        let made = module(&Sum::new(twice.into()).unwrap(), DType::F32, "two").unwrap();
        assert!(made.tensors.is_empty());
        for line in [
            "class Bowl(nn.Module)",
            "class Bowl_2(nn.Module)",
            "\"a\": (1.0, Bowl()),",
            "\"b\": (1.0, Bowl_2()),",
        ] {
            assert!(made.python.contains(line), "{line}:\n{}", made.python);
        }
        assert!(!made.python.contains("class SoftMin"), "only what is used");
    }
}
