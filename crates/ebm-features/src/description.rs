//! A network as a list of operations, in TOML.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{FeatureError, Result};

/// The newest version of the format.
pub const FORMAT: u32 = 1;

/// A feed-forward network: what it takes, what it does, and which of its values are features and logits.
///
/// Read from TOML by [`Description::parse`]; the weights are named tensors in the layouts of PyTorch: convolutions
/// `(out, in / groups, H, W)`, linear maps `(out, in)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Version of the format.
    pub format: u32,
    /// Name, as it stands in the names of measures.
    pub name: String,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// File of the weights, beside the description.
    #[serde(default = "weights")]
    pub weights: String,
    /// `(C, H, W)` of what the first operation takes.
    pub input: [usize; 3],
    /// What is done to samples before.
    #[serde(default)]
    pub normalise: Normalise,
    /// Name of the tap whose values are the features.
    pub features: String,
    /// Name of the tap whose values are the logits of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<String>,
    /// Names of the classes; without them their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The operations, in order.
    pub ops: Vec<Op>,
}

fn weights() -> String {
    "weights.safetensors".into()
}

/// From samples in `[0, 1]` to what the network takes: colours, levels, size, then `(scale x - mean) / sd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalise {
    /// Samples are first rounded down to this many levels, `floor(levels x) / (levels - 1)`, as stored pictures are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<u32>,
    /// How samples of another size are resized.
    #[serde(default)]
    pub resize: Resize,
    /// Factor; 255 for networks on bytes.
    #[serde(default = "one_f")]
    pub scale: f64,
    /// Subtracted: nothing, one number, or one a channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f64>,
    /// Divided by: nothing, one number, or one a channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sd: Vec<f64>,
}

impl Default for Normalise {
    fn default() -> Self {
        Normalise { levels: None, resize: Resize::None, scale: 1.0, mean: Vec::new(), sd: Vec::new() }
    }
}

fn one_f() -> f64 {
    1.0
}

/// How samples of another size become the network's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Not at all: another size is an error.
    #[default]
    None,
    /// The nearest pixel, as `torch.nn.functional.interpolate(mode="nearest")`.
    Nearest,
    /// Two pixels a direction however much smaller it gets, as `interpolate(mode="bilinear", align_corners=False)`.
    Bilinear,
    /// Pillow's bilinear filter on bytes, which widens when it shrinks.
    BilinearPillow,
}

/// One operation. Images are `(B, C, H, W)`; `at` is what the names of its weights begin with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Op {
    /// Convolution with `at.weight`, and `at.bias` unless there is none.
    Conv {
        /// Prefix of its weights.
        at: String,
        /// Whether there is a bias.
        #[serde(default = "yes")]
        bias: bool,
        /// Pixels between its places.
        #[serde(default = "one")]
        stride: usize,
        /// Zeros around.
        #[serde(default)]
        padding: Padding,
        /// Groups of channels.
        #[serde(default = "one")]
        groups: usize,
    },
    /// `(x - running_mean) / √(running_var + eps) weight + bias`, a channel at a time.
    BatchNorm {
        /// Prefix of its weights.
        at: String,
        /// Added to the variance.
        eps: f64,
    },
    /// `W x + b` with `at.weight`, and `at.bias` unless there is none, of vectors.
    Linear {
        /// Prefix of its weights.
        at: String,
        /// Whether there is a bias.
        #[serde(default = "yes")]
        bias: bool,
    },
    /// `max(x, 0)`.
    Relu {},
    /// `min(max(x, 0), 6)`.
    Relu6 {},
    /// `x / (1 + exp(-x))`.
    Swish {},
    /// The greatest of `size` x `size` pixels.
    MaxPool {
        /// Side of the window.
        size: usize,
        /// Pixels between windows; the size without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<usize>,
        /// What lies outside is never the greatest.
        #[serde(default)]
        padding: Padding,
    },
    /// The mean of `size` x `size` pixels.
    AvgPool {
        /// Side of the window.
        size: usize,
        /// Pixels between windows; the size without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stride: Option<usize>,
        /// Zeros around.
        #[serde(default)]
        padding: Padding,
        /// Whether the zeros around count in the mean.
        #[serde(default = "yes")]
        count_include_pad: bool,
    },
    /// The mean over all pixels: `(B, C)`.
    GlobalPool {},
    /// `(B, C, H, W)` as vectors, in this order.
    Flatten {},
    /// Gives the value at this place a name.
    Tap {
        /// The name.
        name: String,
    },
    /// Several lists of operations of the same value; an empty list passes it on.
    Branches {
        /// How their ends become one.
        #[serde(default)]
        join: Join,
        /// The lists.
        of: Vec<Vec<Op>>,
    },
}

/// How branches end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Join {
    /// Channels one after the other.
    #[default]
    Channels,
    /// Added.
    Sum,
}

/// Pixels around an image: `1`, `[0, 3]` (rows, columns), or `"same"` as TensorFlow has it: as many places as pixels
/// over the stride, an odd pixel at the bottom and right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Rows above and below, columns left and right.
    Fixed(usize, usize),
    /// TensorFlow's `SAME`.
    Same,
}

impl Default for Padding {
    fn default() -> Self {
        Padding::Fixed(0, 0)
    }
}

impl Padding {
    /// Before and after, along an axis of `len` pixels.
    pub(crate) fn along(self, axis: usize, len: usize, window: usize, stride: usize) -> (usize, usize) {
        match self {
            Padding::Fixed(rows, columns) => {
                let n = if axis == 0 { rows } else { columns };
                (n, n)
            }
            Padding::Same => {
                let places = len.div_ceil(stride.max(1)).max(1);
                let total = ((places - 1) * stride + window).saturating_sub(len);
                (total / 2, total - total / 2)
            }
        }
    }
}

impl Serialize for Padding {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Padding::Fixed(a, b) if a == b => s.serialize_u64(*a as u64),
            Padding::Fixed(a, b) => [*a, *b].serialize(s),
            Padding::Same => s.serialize_str("same"),
        }
    }
}

impl<'de> Deserialize<'de> for Padding {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let value = toml::Value::deserialize(d)?;
        let whole = |v: &toml::Value| v.as_integer().and_then(|i| usize::try_from(i).ok());
        let pair = |v: &[toml::Value]| match v {
            [a, b] => Some(Padding::Fixed(whole(a)?, whole(b)?)),
            _ => None,
        };
        let found = match &value {
            toml::Value::String(s) if s == "same" => Some(Padding::Same),
            toml::Value::Array(v) => pair(v),
            other => whole(other).map(|n| Padding::Fixed(n, n)),
        };
        found.ok_or_else(|| {
            serde::de::Error::custom(format!("padding: found {value}, wanted 1, [0, 3] or \"same\""))
        })
    }
}

fn yes() -> bool {
    true
}

fn one() -> usize {
    1
}

impl Description {
    /// Reads TOML; `place` stands in messages.
    ///
    /// # Errors
    /// If it is no TOML, has unknown settings or operations, or does not hold together.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let read: Description =
            toml::from_str(text).map_err(|e| FeatureError::description(place, e.to_string().trim()))?;
        read.check(place)?;
        Ok(read)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`Description::parse`], or if it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|source| FeatureError::Io { path: path.into(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    fn check(&self, place: &str) -> Result<()> {
        let wrong = |message: String| Err(FeatureError::description(place, message));
        if self.format != FORMAT {
            return wrong(format!("format = {}: wanted {FORMAT}", self.format));
        }
        let plain = |c: char| !c.is_control() && !"[]\"".contains(c);
        if self.name.trim().is_empty() || !self.name.chars().all(plain) {
            return wrong(format!("name = {:?}: wanted a word without brackets and quotes", self.name));
        }
        let file = Path::new(&self.weights);
        if file.components().count() != 1 || file.file_name().is_none() {
            return wrong(format!("weights = {:?}: wanted the name of a file beside it", self.weights));
        }
        let [c, h, w] = self.input;
        let values = c.checked_mul(h).and_then(|n| n.checked_mul(w));
        if !matches!(c, 1 | 3) || values.is_none_or(|n| n == 0 || n > 1 << 24) {
            return wrong(format!("input = {:?}: wanted [1 or 3, H, W]", self.input));
        }
        let n = &self.normalise;
        for (name, values) in [("mean", &n.mean), ("sd", &n.sd)] {
            if !(values.is_empty() || values.len() == 1 || values.len() == c)
                || values.iter().any(|v| !v.is_finite() || (name == "sd" && *v <= 0.0))
            {
                return wrong(format!(
                    "normalise.{name} = {values:?}: wanted nothing, one number, or {c}, finite{}",
                    if name == "sd" { " and positive" } else { "" }
                ));
            }
        }
        if !n.scale.is_finite() || n.levels.is_some_and(|l| !(2..=65536).contains(&l)) {
            return wrong("normalise: wanted a finite scale and 2 to 65536 levels".into());
        }
        if n.resize == Resize::BilinearPillow && n.levels.is_some_and(|l| l != 256) {
            return wrong("normalise: Pillow's filter works on bytes, wanted levels = 256".into());
        }
        let mut taps = Vec::new();
        sound(&self.ops, 0, &mut taps).or_else(wrong)?;
        for (key, tap) in [("features", Some(&self.features)), ("logits", self.logits.as_ref())] {
            if let Some(tap) = tap
                && !taps.contains(tap)
            {
                return wrong(format!(
                    "{key} = {tap:?}: no tap has this name; there are {}",
                    taps.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// The description as TOML, an operation a line.
    pub fn to_toml(&self) -> String {
        let quoted = |s: &str| toml::Value::from(s).to_string();
        let list = |v: &[f64]| toml::Value::from(v.to_vec()).to_string();
        let mut text = format!("format = {}\nname = {}\n", self.format, quoted(&self.name));
        if let Some(source) = &self.source {
            text += &format!("source = {}\n", quoted(source));
        }
        text += &format!("weights = {}\ninput = {:?}\n", quoted(&self.weights), self.input);
        text += &format!("features = {}\n", quoted(&self.features));
        if let Some(logits) = &self.logits {
            text += &format!("logits = {}\n", quoted(logits));
        }
        if !self.classes.is_empty() {
            text += &format!("classes = {}\n", toml::Value::from(self.classes.clone()));
        }
        text += "ops = [\n";
        for op in &self.ops {
            // Every operation is a table of plain values, which TOML can hold.
            let value = toml::Value::try_from(op).map_or_else(|e| format!("# {e}"), |v| v.to_string());
            text += &format!("    {value},\n");
        }
        text += "]\n\n[normalise]\n";
        let n = &self.normalise;
        if let Some(levels) = n.levels {
            text += &format!("levels = {levels}\n");
        }
        let resize = toml::Value::try_from(n.resize).map_or_else(|e| format!("# {e}"), |v| v.to_string());
        text += &format!("resize = {resize}\nscale = {:?}\n", n.scale);
        if !n.mean.is_empty() {
            text += &format!("mean = {}\n", list(&n.mean));
        }
        if !n.sd.is_empty() {
            text += &format!("sd = {}\n", list(&n.sd));
        }
        text
    }
}

/// Checks numbers that would divide by zero, and gathers the names of taps.
fn sound(ops: &[Op], depth: usize, taps: &mut Vec<String>) -> std::result::Result<(), String> {
    if depth > 8 {
        return Err("branches: found more than 8 within each other".into());
    }
    for op in ops {
        match op {
            Op::Conv { at, stride, groups, padding, .. } => {
                if *stride == 0 || *groups == 0 {
                    return Err(format!("conv `{at}`: found a stride or groups of 0, wanted at least 1"));
                }
                wide(*padding, &format!("conv `{at}`"))?;
            }
            Op::MaxPool { size, stride, padding } | Op::AvgPool { size, stride, padding, .. } => {
                if *size == 0 || *stride == Some(0) {
                    return Err("pooling: found a size or stride of 0, wanted at least 1".into());
                }
                // A window that lies outside altogether has no greatest and no mean.
                if let Padding::Fixed(a, b) = padding
                    && 2 * a.max(b) > *size
                {
                    return Err(format!(
                        "pooling: found a padding of {}, wanted at most half of the size",
                        a.max(b)
                    ));
                }
            }
            Op::BatchNorm { at, eps } if !(*eps >= 0.0 && eps.is_finite()) => {
                return Err(format!("batch-norm `{at}`: eps = {eps}, wanted at least 0"));
            }
            Op::Tap { name } => {
                if taps.contains(name) {
                    return Err(format!("tap `{name}`: found twice, wanted one of this name"));
                }
                taps.push(name.clone());
            }
            Op::Branches { of, .. } => {
                if of.is_empty() {
                    return Err("branches: found none, wanted at least one list of operations".into());
                }
                of.iter().try_for_each(|ops| sound(ops, depth + 1, taps))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn wide(padding: Padding, what: &str) -> std::result::Result<(), String> {
    match padding {
        Padding::Fixed(a, b) if a.max(b) > 1024 => {
            Err(format!("{what}: found a padding of {}, wanted at most 1024", a.max(b)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = r#"
format = 1
name = "small"
input = [1, 4, 4]
features = "f"
logits = "l"
ops = [
    { op = "conv", at = "a", stride = 2, padding = "same" },
    { op = "branches", of = [[], [{ op = "conv", at = "b", padding = [0, 1], bias = false }]] },
    { op = "relu" },
    { op = "max-pool", size = 2 },
    { op = "flatten" },
    { op = "tap", name = "f" },
    { op = "linear", at = "c" },
    { op = "tap", name = "l" },
]
[normalise]
mean = [0.5]
"#;

    #[test]
    fn a_description_comes_back_from_its_toml() {
        let d = Description::parse(TEXT, "t").unwrap();
        assert_eq!(
            d.ops[0],
            Op::Conv { at: "a".into(), bias: true, stride: 2, padding: Padding::Same, groups: 1 }
        );
        assert_eq!(Description::parse(&d.to_toml(), "again").unwrap(), d, "{}", d.to_toml());
    }

    #[test]
    fn each_mistake_is_named() {
        for (from, to, part) in [
            ("format = 1", "format = 2", "wanted 1"),
            ("name = \"small\"", "name = \"FID]\"", "without brackets"),
            ("[1, 4, 4]", "[2, 4, 4]", "[1 or 3, H, W]"),
            ("features = \"f\"", "features = \"g\"", "there are f, l"),
            ("\"relu\"", "\"rleu\"", "rleu"),
            ("stride = 2", "stride = 0", "stride"),
            ("\"same\"", "\"smae\"", "wanted 1, [0, 3] or"),
            ("size = 2", "size = 2, sise = 3", "sise"),
            ("name = \"l\"", "name = \"f\"", "found twice"),
            ("mean = [0.5]", "mean = [0.5, 0.5]", "normalise.mean"),
            ("mean = [0.5]", "sd = [0.0]", "positive"),
            ("input", "weights = \"../x\"\ninput", "beside it"),
        ] {
            let text = Description::parse(&TEXT.replacen(from, to, 1), "net.toml").unwrap_err().to_string();
            assert!(text.starts_with("net.toml: ") && text.contains(part), "{to}: {text}");
        }
    }

    #[test]
    fn same_is_tensorflows() {
        // 5 pixels, window 3: stride 2 gives 3 places, one pixel each side; 4 pixels: 2 places, one after.
        assert_eq!(Padding::Same.along(0, 5, 3, 2), (1, 1));
        assert_eq!(Padding::Same.along(0, 4, 3, 2), (0, 1));
        assert_eq!(Padding::Same.along(1, 7, 1, 2), (0, 0));
    }
}
