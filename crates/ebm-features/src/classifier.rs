//! Small convolutional classifiers: planned for a shape, trained, examined.

use candle_core::{Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use ebm_eval::SplitMix;

use crate::description::{Description, FORMAT, Normalise, Op, Padding, Resize};
use crate::error::{FeatureError, Result};
use crate::input::prepare;
use crate::network::Network;
use crate::ops::{Runner, Weights};

/// Images `(n, C, H, W)` in `[0, 1]` with the class of each.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// All values.
    pub values: &'a [f32],
    /// `[C, H, W]` of one image.
    pub shape: [usize; 3],
    /// Class of each image, from 0.
    pub labels: &'a [u32],
}

impl Labelled<'_> {
    fn check(&self, what: &str, classes: usize) -> Result<()> {
        let len: usize = self.shape.iter().product();
        if !matches!(self.shape, [1 | 3, h, w] if h * w > 0) {
            return Err(FeatureError::input(
                what,
                format!("shape {:?}", self.shape),
                "images (1 or 3, H, W)",
            ));
        }
        if self.values.len() != len * self.labels.len() {
            let found = format!("{} labels", self.labels.len());
            return Err(FeatureError::input(
                what,
                found,
                format!("{}, one for each image", self.values.len() / len),
            ));
        }
        if self.labels.is_empty() {
            return Err(FeatureError::input(what, "0 images", "at least 1"));
        }
        if let Some(l) = self.labels.iter().find(|l| **l as usize >= classes) {
            return Err(FeatureError::input(
                what,
                format!("the label {l}"),
                format!("labels below {classes}"),
            ));
        }
        Ok(())
    }
}

/// How a classifier is trained.
#[derive(Clone, Debug)]
pub struct ClassifierOptions {
    /// Times each image is seen; without it as many as make some 300,000 images, 2 to 20.
    pub epochs: Option<usize>,
    /// Images of an update.
    pub batch: usize,
    /// Adam's rate at the beginning; it falls to 0 as a half cosine.
    pub rate: f64,
    /// Channels of the first convolution.
    pub width: usize,
    /// Features: the width of the layer before the logits.
    pub features: usize,
    /// Seed of weights and order.
    pub seed: u64,
}

impl Default for ClassifierOptions {
    fn default() -> Self {
        ClassifierOptions { epochs: None, batch: 64, rate: 2e-3, width: 16, features: 64, seed: 0 }
    }
}

/// Where a training stands, after each epoch.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Epochs done.
    pub epoch: usize,
    /// Of as many.
    pub of: usize,
    /// Mean cross-entropy of the epoch, in nats.
    pub loss: f64,
}

/// How a classifier does on images with known classes.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Number of images.
    pub count: usize,
    /// Share whose most probable class is theirs.
    pub accuracy: f64,
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// Row: the class; column: what it was taken for.
    pub confusion: Vec<Vec<usize>>,
}

/// Convolutions that halve the image, one hidden layer (the features), logits.
///
/// Up to 8 pixels a side the first convolution keeps the size (3 x 3); above it is 5 x 5 with stride 2. Then come 3 x 3 ones
/// with stride 2 and twice the channels (at most 128) until the image is at most 7 pixels a side, 4 for images of 3 channels.
fn plan(shape: [usize; 3], classes: usize, o: &ClassifierOptions) -> (Vec<Op>, Vec<(String, Vec<usize>)>) {
    let [c, mut h, mut w] = shape;
    let (mut ops, mut weights) = (Vec::new(), Vec::new());
    let conv = |i: usize, from: usize, to: usize, size: usize, stride: usize| {
        let at = format!("conv{i}");
        let shapes = [(format!("{at}.weight"), vec![to, from, size, size]), (format!("{at}.bias"), vec![to])];
        (Op::Conv { at, bias: true, stride, padding: Padding::Fixed(size / 2, size / 2), groups: 1 }, shapes)
    };
    let small = if c == 1 { 7 } else { 4 };
    let (mut i, mut from, mut to) = (1, c, o.width);
    loop {
        let first = i == 1;
        let (size, stride) = match (first, h.max(w) <= 8) {
            (true, true) => (3, 1),
            (true, false) => (5, 2),
            _ => (3, 2),
        };
        let (op, shapes) = conv(i, from, to, size, stride);
        ops.extend([op, Op::Relu {}]);
        weights.extend(shapes);
        (h, w) = (h.div_ceil(stride), w.div_ceil(stride));
        (from, to) = (to, (2 * to).min(128.max(o.width)));
        i += 1;
        if !first && h.max(w) <= small {
            break;
        }
    }
    let linear = |at: &str, from: usize, to: usize| {
        let shapes = [(format!("{at}.weight"), vec![to, from]), (format!("{at}.bias"), vec![to])];
        (Op::Linear { at: at.into(), bias: true }, shapes)
    };
    let (hidden, shapes) = linear("hidden", from * h * w, o.features);
    weights.extend(shapes);
    let (logits, shapes) = linear("logits", o.features, classes);
    weights.extend(shapes);
    let tap = |name: &str| Op::Tap { name: name.into() };
    ops.extend([Op::Flatten {}, hidden, Op::Relu {}, tap("features"), logits, tap("logits")]);
    (ops, weights)
}

/// Trains a classifier of `classes` classes by cross-entropy without label smoothing and Adam; the same network from the
/// same images, options and processor. `each` is told after every epoch.
///
/// # Errors
/// If images and labels do not fit, an option is out of range, or the loss is not finite.
pub fn train(
    name: &str,
    set: &Labelled<'_>,
    classes: usize,
    options: &ClassifierOptions,
    each: &mut dyn FnMut(Progress),
) -> Result<Network> {
    set.check("training images", classes)?;
    let o = options;
    for (what, found, most) in [
        ("width", o.width, 1024),
        ("features", o.features, 65_536),
        ("batch", o.batch, 1 << 20),
        ("classes", classes, 65_536),
    ] {
        let least = if what == "classes" { 2 } else { 1 };
        if !(least..=most).contains(&found) {
            return Err(FeatureError::input(what, found, format!("{least} to {most}")));
        }
    }
    if !(o.rate > 0.0 && o.rate <= 1.0) {
        return Err(FeatureError::input("rate", o.rate, "a number in (0, 1]"));
    }
    let n = set.labels.len();
    let epochs = o.epochs.unwrap_or_else(|| (300_000 / n).clamp(2, 20));
    if epochs == 0 {
        return Err(FeatureError::input("epochs", 0, "at least 1"));
    }
    let (mean, sd) = moments(set);
    let (ops, shapes) = plan(set.shape, classes, o);
    let description = Description {
        format: FORMAT,
        name: name.into(),
        source: Some("trained by ebm".into()),
        weights: "weights.safetensors".into(),
        input: set.shape,
        normalise: Normalise { levels: None, resize: Resize::None, scale: 1.0, mean, sd },
        features: "features".into(),
        logits: Some("logits".into()),
        classes: Vec::new(),
        ops,
    };
    // What was written must be read again.
    let description = Description::parse(&description.to_toml(), name)?;
    let mut stream = SplitMix::new(o.seed);
    let mut vars = Vec::new();
    let mut weights = Weights::new();
    for (key, dims) in &shapes {
        let var = Var::from_tensor(&start(key, dims, &mut stream)?)?;
        weights.insert(key.clone(), var.as_tensor().clone());
        vars.push(var);
    }
    let params = ParamsAdamW { lr: o.rate, weight_decay: 0.0, ..Default::default() };
    let mut adam = AdamW::new(vars, params)?;
    let updates = epochs * n.div_ceil(o.batch);
    let mut done = 0;
    for epoch in 0..epochs {
        let order = stream.permutation(n);
        let mut total = 0.0;
        for rows in order.chunks(o.batch) {
            adam.set_learning_rate(
                o.rate * 0.5 * (1.0 + (std::f64::consts::PI * done as f64 / updates as f64).cos()),
            );
            let (x, y) = batch(&description, set, rows)?;
            let mut runner = Runner {
                network: name,
                weights: &weights,
                patches: true,
                wanted: &[],
                taps: Default::default(),
            };
            let loss = candle_nn::loss::cross_entropy(&runner.run(&description.ops, x, "ops")?, &y)?;
            let value = f64::from(loss.to_scalar::<f32>()?);
            if !value.is_finite() {
                let wanted = "a finite one; lower the rate";
                return Err(FeatureError::input(&format!("loss of update {done}"), value, wanted));
            }
            adam.backward_step(&loss)?;
            total += value * rows.len() as f64;
            done += 1;
        }
        each(Progress { epoch: epoch + 1, of: epochs, loss: total / n as f64 });
    }
    let trained = weights.into_iter().map(|(k, t)| Ok((k, t.detach().copy()?))).collect::<Result<_>>()?;
    Network::new(description, trained, None, &Device::Cpu)
}

/// Compares the most probable classes with the known ones.
///
/// # Errors
/// If the network has no classes, or images and labels do not fit.
pub fn examine(network: &Network, set: &Labelled<'_>) -> Result<Examined> {
    let Some(classes) = network.classes() else {
        return Err(FeatureError::input(network.name(), "no logits", "a network with classes"));
    };
    set.check("images", classes)?;
    let seen = network.see(set.values, set.shape)?;
    let mut found = Examined {
        count: set.labels.len(),
        accuracy: 0.0,
        loss: 0.0,
        confusion: vec![vec![0; classes]; classes],
    };
    for (p, label) in seen.probabilities.unwrap_or_default().chunks_exact(classes).zip(set.labels) {
        let label = *label as usize;
        found.confusion[label][most_probable(p)] += 1;
        // f32 may round a probability to 0.
        found.loss -= f64::from(p[label].max(f32::MIN_POSITIVE)).ln();
    }
    let right: usize = (0..classes).map(|k| found.confusion[k][k]).sum();
    found.accuracy = right as f64 / found.count as f64;
    found.loss /= found.count as f64;
    Ok(found)
}

/// The first of the greatest.
pub fn most_probable(p: &[f32]) -> usize {
    (0..p.len()).fold(0, |best, i| if p[i] > p[best] { i } else { best })
}

fn batch(d: &Description, set: &Labelled<'_>, rows: &[usize]) -> Result<(Tensor, Tensor)> {
    let len: usize = set.shape.iter().product();
    let mut values = Vec::with_capacity(rows.len() * len);
    rows.iter().for_each(|r| values.extend_from_slice(&set.values[r * len..(r + 1) * len]));
    let [c, h, w] = set.shape;
    let x = Tensor::from_vec(prepare(d, &values, set.shape)?, (rows.len(), c, h, w), &Device::Cpu)?;
    let labels: Vec<u32> = rows.iter().map(|r| set.labels[*r]).collect();
    Ok((x, Tensor::new(labels, &Device::Cpu)?))
}

/// Mean and standard deviation of each channel; 1 where a channel does not vary.
fn moments(set: &Labelled<'_>) -> (Vec<f64>, Vec<f64>) {
    let [c, h, w] = set.shape;
    let mut sums = vec![(0.0, 0.0); c];
    for (i, plane) in set.values.chunks_exact(h * w).enumerate() {
        let s = &mut sums[i % c];
        for v in plane {
            let v = f64::from(*v);
            *s = (s.0 + v, s.1 + v * v);
        }
    }
    let count = (set.labels.len() * h * w) as f64;
    let mean: Vec<f64> = sums.iter().map(|s| s.0 / count).collect();
    let sd = sums.iter().zip(&mean).map(|(s, m)| (s.1 / count - m * m).max(0.0).sqrt());
    let sd = sd.map(|v| if v > 1e-6 { v } else { 1.0 }).collect();
    (mean, sd)
}

/// Normal weights of variance 2 over the inputs of a value (He et al. 2015), biases of 0.
fn start(key: &str, dims: &[usize], stream: &mut SplitMix) -> Result<Tensor> {
    let n: usize = dims.iter().product();
    if key.ends_with(".bias") {
        return Ok(Tensor::zeros(dims, candle_core::DType::F32, &Device::Cpu)?);
    }
    let sd = (2.0 / (n / dims[0]) as f64).sqrt();
    let values: Vec<f32> = (0..n).map(|_| (sd * stream.normal()) as f32).collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Bars: class 0 lies, class 1 stands, at any place, with noise.
    fn bars(n: usize, side: usize, channels: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
        let mut stream = SplitMix::new(seed);
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let (class, at) = (stream.below(2), stream.below(side));
            for _ in 0..channels {
                for i in 0..side * side {
                    let on = if class == 0 { i / side == at } else { i % side == at };
                    values.push(0.6 * f32::from(u8::from(on)) + 0.4 * stream.uniform() as f32);
                }
            }
            labels.push(class as u32);
        }
        (values, labels)
    }

    #[test]
    fn bars_are_learnt_in_every_shape_and_twice_the_same() {
        for (side, c) in [(8, 1), (12, 3)] {
            let (values, labels) = bars(400, side, c, 1);
            let set = Labelled { values: &values, shape: [c, side, side], labels: &labels };
            let o = ClassifierOptions {
                epochs: Some(15),
                width: 8,
                features: 8,
                batch: 20,
                ..Default::default()
            };
            let mut losses = Vec::new();
            let net = train("bars", &set, 2, &o, &mut |p| losses.push(p.loss)).unwrap();
            assert!(losses[14] < losses[0], "{losses:?}");
            let (values, labels) = bars(200, side, c, 2);
            let found = examine(&net, &Labelled { values: &values, shape: [c, side, side], labels: &labels })
                .unwrap();
            assert!(found.accuracy > 0.9, "{found:?}");
            assert_eq!(found.confusion.iter().flatten().sum::<usize>(), 200);
            let again = train("bars", &set, 2, &o, &mut |_| ()).unwrap();
            assert_eq!(again.digest().unwrap(), net.digest().unwrap());
        }
    }

    #[test]
    fn the_plan_ends_small_at_every_size() {
        for (shape, hidden) in [
            ([1, 8, 8], 32 * 16),
            ([1, 28, 28], 32 * 49),
            ([3, 32, 32], 64 * 16),
            ([1, 64, 48], 128 * 12),
            ([1, 1, 1], 32),
        ] {
            let (_, weights) = plan(shape, 10, &ClassifierOptions::default());
            let dims = &weights.iter().find(|(k, _)| k == "hidden.weight").unwrap().1;
            assert_eq!(dims[1], hidden, "{shape:?} {weights:?}");
        }
    }

    #[test]
    fn wrong_sets_and_options_are_named() {
        let ok = ClassifierOptions { epochs: Some(1), ..Default::default() };
        let text = |shape, labels: &[u32], classes, o: &ClassifierOptions| {
            let set = Labelled { values: &[0.5; 8], shape, labels };
            train("t", &set, classes, o, &mut |_| ()).unwrap_err().to_string()
        };
        assert!(text([2, 2, 2], &[0], 2, &ok).contains("images (1 or 3, H, W)"));
        assert!(text([1, 2, 2], &[0], 2, &ok).contains("found 1 labels, wanted 2"));
        assert!(text([1, 2, 2], &[0, 5], 2, &ok).contains("label 5"));
        assert!(text([1, 2, 2], &[0, 0], 1, &ok).contains("classes: found 1"));
        assert!(text([1, 2, 2], &[0, 1], 2, &ClassifierOptions { rate: 2.0, ..ok.clone() }).contains("rate"));
        assert!(text([1, 2, 2], &[0, 1], 2, &ClassifierOptions { epochs: Some(0), ..ok }).contains("epochs"));
    }
}
