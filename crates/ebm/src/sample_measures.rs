//! Samples against data: distances between features, fidelity and diversity, classes, likelihood on the plane.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use ebm_core::{DataSource, Key, Split};
use ebm_eval::{
    Features, Nearness, PlaneScore, PlaneSettings, Samples, SplitMix, cell_means, class_score, frechet,
    kernel_distance_subsets, median_distance, mmd2, pixels, plane_score, precision_recall, signs,
    sliced_wasserstein,
};
use ebm_features::Network;
use serde::Serialize;

use crate::energies::Energies;
use crate::inputs::{Fit, Inputs, Piece};
use crate::temperature;
use crate::tensors::{equally_spaced, floats};
use crate::{Error, Model, Result, open_network};

/// Samples that a set needs at least: halves of them have five neighbours and some to spare.
const LEAST: usize = 16;
/// Samples that go through a network together.
const TOGETHER: usize = 512;
/// Samples and held-out images whose nearest training images are looked for, and training images, at most.
const NEAR: usize = 2000;
const NEAR_TRAIN: usize = 4000;
/// Rows that enter MMD² at most.
const MMD_ROWS: usize = 2000;
/// Rows of which the median distance is taken.
const MEDIAN_ROWS: usize = 1000;
/// Rows of a subset of the kernel distance at most.
const SUBSET: usize = 1000;
/// Directions of the sliced Wasserstein distance.
const DIRECTIONS: usize = 128;
/// Neighbours of precision and recall (Kynkäänniemi et al. 2019), and of density and coverage (Naeem et al. 2020).
const NEIGHBOURS: (usize, usize) = (3, 5);

/// What is measured.
pub enum Measured<'a> {
    /// Samples that are drawn from a model.
    Model(&'a Model),
    /// Samples that are there.
    Set(&'a Inputs),
}

/// How samples are measured.
#[derive(Clone, Debug)]
pub struct SampleMeasureOptions {
    /// What with: a set as of `ebm eval ood`; the held-out part of a model's data without it.
    pub against: Option<String>,
    /// `values`, `pixels`, `cells:N`, `signs`, or feature networks as of [`open_network`]; empty: `pixels` and `signs` of
    /// images, `values` of others.
    pub features: Vec<String>,
    /// Samples: drawn, or used at most, at equal distances.
    pub count: usize,
    /// Samples of the other set that are used at most, at equal distances.
    pub against_count: u64,
    /// Whether images of a set are resized and recoloured to fit.
    pub fit: bool,
    /// Steps of the generation program; as configured without it.
    pub steps: Option<usize>,
    /// Pairs of subsets that the kernel distance is taken over.
    pub subsets: usize,
    /// Temperature T of exp(−E/T) in the plane.
    pub temperature: f64,
    /// Seed of samples, subsets, halves and directions; of the samples that of the run without it.
    pub seed: Option<u64>,
}

impl Default for SampleMeasureOptions {
    fn default() -> Self {
        SampleMeasureOptions {
            against: None,
            features: Vec::new(),
            count: 1000,
            against_count: 10_000,
            fit: false,
            steps: None,
            subsets: 100,
            temperature: 1.0,
            seed: None,
        }
    }
}

/// The figures, a row each.
#[derive(Clone, Debug, Serialize)]
pub struct SampleMeasures {
    /// What was measured, and how many.
    pub samples: (String, usize),
    /// What with.
    pub against: (String, usize),
    /// The training samples of the first reference column.
    pub training: Option<(String, usize)>,
    /// The networks used, with the digest of their weights.
    pub networks: Vec<(String, String)>,
    /// A row for each measure and feature network.
    pub rows: Vec<MeasureRow>,
    /// Of the energy itself, in the plane; nats.
    pub plane: Option<PlaneScore>,
    /// The seed of subsets, halves and directions.
    pub seed: u64,
}

/// One measure on one kind of features.
#[derive(Clone, Debug, Serialize)]
pub struct MeasureRow {
    /// The measure, with its features in brackets.
    pub name: String,
    /// Of the samples.
    pub samples: Figure,
    /// Of as many training samples, for comparison.
    pub training: Option<Figure>,
    /// Of one half of the other set against the other half, for comparison.
    pub halves: Option<Figure>,
}

/// A number, and how far it is spread over subsets.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figure {
    /// The number.
    pub value: f64,
    /// Standard deviation over subsets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
}

impl SampleMeasures {
    /// A line a measure.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{}: {} samples; against {}: {}\n",
            self.samples.0, self.samples.1, self.against.0, self.against.1
        );
        if let Some((name, n)) = &self.training {
            text += &format!("training column: {n} samples of {name}; ");
        }
        text += &format!(
            "halves: {} and {} samples of {}\n",
            self.against.1 / 2,
            self.against.1.div_ceil(2),
            self.against.0
        );
        let wide = self.rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0).max(7);
        text += &format!("{:<wide$} {:>21} {:>21} {:>21}\n", "measure", "samples", "training", "halves");
        let show = |f: Option<Figure>| match f {
            None => "-".to_string(),
            Some(Figure { value, sd: None }) => number(value),
            Some(Figure { value, sd: Some(sd) }) => format!("{} ± {}", number(value), number(sd)),
        };
        for r in &self.rows {
            let cells = [Some(r.samples), r.training, r.halves].map(show);
            text += &format!("{:<wide$} {:>21} {:>21} {:>21}\n", r.name, cells[0], cells[1], cells[2]);
        }
        if let Some(p) = &self.plane {
            for (name, value) in [
                ("log Z by quadrature", p.log_z),
                ("log-likelihood", p.ll),
                ("best temperature", p.t_best),
                ("log-likelihood at it", p.ll_best_t),
                ("mass outside", p.leak),
                ("MMD² of exact draws", p.mmd2_grid),
            ] {
                text += &format!("{name:<wide$} {:>21}\n", number(value));
            }
        }
        text
    }
}

/// Four digits behind the point, or three in all of what would vanish there.
fn number(v: f64) -> String {
    if v != 0.0 && v.abs() < 0.01 { format!("{v:.2e}") } else { format!("{v:.4}") }
}

/// Measures samples against data, with training samples and halves of the data to read the figures against.
///
/// Of all sets features are kept, images only as many as neighbours are looked for among.
///
/// # Errors
/// If a name is neither features nor a network, sets do not fit or are too small, or a sample is not finite.
pub fn measure_samples(what: &Measured<'_>, options: &SampleMeasureOptions) -> Result<SampleMeasures> {
    let o = options;
    let against_count = usize::try_from(o.against_count).unwrap_or(usize::MAX);
    for (name, found, least) in
        [("-n", o.count, LEAST), ("--against-n", against_count, LEAST), ("--subsets", o.subsets, 1)]
    {
        if found < least {
            return Err(Error::Usage(format!("{name} {found}: wanted at least {least}")));
        }
    }
    temperature::check(o.temperature)?;
    if matches!(what, Measured::Set(_)) && o.steps.is_some() {
        return Err(Error::Usage(
            "--steps: found samples that are there, wanted a run, which draws them".into(),
        ));
    }
    let against = match (&o.against, what) {
        (Some(name), _) => Inputs::open(name)?,
        (None, Measured::Model(model)) => Inputs::held_out(model)?,
        (None, Measured::Set(_)) => {
            return Err(Error::Usage(
                "--against: is missing; samples of a file need data to compare with".into(),
            ));
        }
    };
    let shape = match what {
        Measured::Model(model) => model.plan().data().sample_shape().to_vec(),
        Measured::Set(_) => against.shape()?,
    };
    let kinds = Kind::all(&o.features, &shape)?;
    let source = against.source().cloned();
    let keep = if shape == [2] { usize::MAX } else { NEAR };
    let gather = |set: &Inputs, most: u64| -> Result<Seen> {
        let mut seen = Seen::new(&kinds, &shape, keep);
        let fit = Fit { shape: shape.clone(), resize: o.fit };
        set.each(TOGETHER, Some(most), &fit, &mut |piece: Piece| seen.add(&piece.values))?;
        seen.enough(set.name())?;
        Ok(seen)
    };
    // The cheap set first: what is wrong with it shows before minutes of sampling.
    let real = gather(&against, o.against_count)?.tables()?;
    let (name, drawn) = match what {
        Measured::Model(model) => {
            let x = model.sample(o.count, o.steps, o.seed)?;
            let mut seen = Seen::new(&kinds, &shape, keep);
            for first in (0..o.count).step_by(TOGETHER) {
                let piece = x.narrow(0, first, TOGETHER.min(o.count - first));
                seen.add(&floats(&piece.map_err(ebm_core::Error::from)?)?)?;
            }
            ("the model".to_string(), seen.tables()?)
        }
        Measured::Set(set) => (set.name().to_string(), gather(set, o.count as u64)?.tables()?),
    };
    let training = against.training_part();
    let train = match &training {
        Some(set) => Some(gather(set, drawn.n as u64)?.tables()?),
        None => None,
    };
    let seed = o.seed.unwrap_or(0);
    let (first, second) = real.halves(seed)?;
    let work = Work { kinds: &kinds, subsets: o.subsets, seed };
    let columns = [
        Some(work.column(&real, &drawn)?),
        train.as_ref().map(|t| work.column(&real, t)).transpose()?,
        Some(work.column(&first, &second)?),
    ];
    let mut rows = Vec::new();
    for (i, (name, samples)) in columns[0].iter().flatten().enumerate() {
        let of = |column: &Option<Vec<(String, Figure)>>| column.as_ref().map(|c| c[i].1);
        rows.push(MeasureRow {
            name: name.clone(),
            samples: *samples,
            training: of(&columns[1]),
            halves: of(&columns[2]),
        });
    }
    if let (Some(source), [_, _, _]) = (&source, &shape[..])
        && training.is_some()
    {
        rows.extend(near(source, &real, &drawn, &second)?);
    }
    let plane = match (what, &shape[..]) {
        (Measured::Model(model), [2]) => Some(on_plane(model, &real.pictures, o.temperature, seed)?),
        _ => None,
    };
    let networks = kinds
        .iter()
        .filter_map(|k| if let Kind::Network(n) = k { Some(n) } else { None })
        .map(|n| Ok((n.label(), n.digest()?)))
        .collect::<Result<_>>()?;
    Ok(SampleMeasures {
        samples: (name, drawn.n),
        against: (against.name().to_string(), real.n),
        training: training.map(|t| t.name().to_string()).zip(train.map(|t| t.n)),
        networks,
        rows,
        plane,
        seed,
    })
}

/// What samples are compared by.
enum Kind {
    Values,
    Pixels,
    Cells(usize),
    Signs,
    Network(Box<Network>),
}

impl Kind {
    fn all(names: &[String], shape: &[usize]) -> Result<Vec<Kind>> {
        let image = matches!(shape, [1 | 3, _, _]);
        if names.is_empty() {
            return Ok(if image { vec![Kind::Pixels, Kind::Signs] } else { vec![Kind::Values] });
        }
        names
            .iter()
            .map(|name| {
                let kind = match (name.as_str(), name.strip_prefix("cells:")) {
                    ("values", _) => return Ok(Kind::Values),
                    ("pixels", _) => Kind::Pixels,
                    ("signs", _) => Kind::Signs,
                    (_, Some(n)) => Kind::Cells(cell(name, n, shape)?),
                    (path, None) => {
                        let weights = path.strip_prefix("inception-v3:").unwrap_or(path);
                        if !Path::new(weights).exists() {
                            return Err(Error::Usage(format!(
                                "--features {name}: is not there, and is none of values, pixels, cells:N, signs, inception-v3:WEIGHTS"
                            )));
                        }
                        Kind::Network(Box::new(open_network(path, &Device::Cpu)?))
                    }
                };
                match image {
                    true => Ok(kind),
                    false => Err(Error::Usage(format!(
                        "--features {name}: found samples of shape {shape:?}, wanted images of 1 or 3 channels; `values` takes any"
                    ))),
                }
            })
            .collect()
    }

    fn label(&self, width: usize) -> String {
        match self {
            Kind::Values => format!("values {width}"),
            Kind::Pixels => format!("pixels {width}"),
            Kind::Cells(n) => format!("cells:{n} {width}"),
            Kind::Signs => format!("signs {width}"),
            Kind::Network(n) => n.label(),
        }
    }

    fn frechet(&self, width: usize) -> String {
        match self {
            Kind::Network(n) => n.frechet_name(),
            _ => format!("Frechet[{}]", self.label(width)),
        }
    }

    /// Features and probabilities of samples of a shape.
    fn of(&self, x: &[f32], shape: &[usize]) -> Result<(Features, Option<Features>)> {
        let d = shape.iter().product::<usize>();
        let view = Samples::new(x, x.len() / d.max(1), d)?;
        let image = match *shape {
            [c, h, w] => [c, h, w],
            _ => [1, 1, d],
        };
        Ok(match self {
            Kind::Values => (view.features(), None),
            Kind::Pixels => (pixels(view)?, None),
            Kind::Cells(n) => (cell_means(view, (image[0], image[1], image[2]), *n)?, None),
            Kind::Signs => (signs(view)?, None),
            Kind::Network(n) => n.tables(x, image)?,
        })
    }
}

/// The side of the cells of `cells:N`, which must divide both sides of an image.
fn cell(name: &str, n: &str, shape: &[usize]) -> Result<usize> {
    let wrong = |wanted: &str| Err(Error::Usage(format!("--features {name}: wanted {wanted}")));
    let Ok(n) = n.parse::<usize>() else { return wrong("cells:N with the side of a cell in pixels") };
    match *shape {
        [_, h, w] if n == 0 || h % n != 0 || w % n != 0 => {
            wrong(&format!("a divisor of both sides of images of {h} x {w} pixels"))
        }
        _ => Ok(n),
    }
}

/// Collects the features of a set.
struct Seen<'a> {
    kinds: &'a [Kind],
    shape: &'a [usize],
    keep: usize,
    n: usize,
    features: Vec<Vec<f64>>,
    probabilities: Vec<Vec<f64>>,
    widths: Vec<(usize, usize)>,
    pictures: Vec<f32>,
}

impl<'a> Seen<'a> {
    fn new(kinds: &'a [Kind], shape: &'a [usize], keep: usize) -> Self {
        let none = || vec![Vec::new(); kinds.len()];
        Seen {
            kinds,
            shape,
            keep,
            n: 0,
            features: none(),
            probabilities: none(),
            widths: vec![(0, 0); kinds.len()],
            pictures: Vec::new(),
        }
    }

    fn add(&mut self, x: &[f32]) -> Result<()> {
        let d = self.shape.iter().product::<usize>().max(1);
        let left = self.keep.saturating_sub(self.n).saturating_mul(d).min(x.len());
        self.pictures.extend_from_slice(&x[..left]);
        self.n += x.len() / d;
        for (i, kind) in self.kinds.iter().enumerate() {
            let (f, p) = kind.of(x, self.shape)?;
            self.widths[i] = (f.d(), p.as_ref().map_or(0, Features::d));
            self.features[i].extend_from_slice(f.data());
            if let Some(p) = p {
                self.probabilities[i].extend_from_slice(p.data());
            }
        }
        Ok(())
    }

    fn enough(&self, name: &str) -> Result<()> {
        match self.n >= LEAST {
            true => Ok(()),
            false => Err(Error::Usage(format!("{name}: found {} samples, wanted at least {LEAST}", self.n))),
        }
    }

    fn tables(self) -> Result<Tables> {
        let n = self.n;
        let mut all = Vec::new();
        for ((f, p), (wide, classes)) in self.features.into_iter().zip(self.probabilities).zip(self.widths) {
            let p = if classes > 0 { Some(Features::new(p, n, classes)?) } else { None };
            all.push((Features::new(f, n, wide)?, p));
        }
        Ok(Tables { n, all, pictures: self.pictures, shape: self.shape.to_vec() })
    }
}

/// Features and probabilities of a set, a pair a kind.
struct Tables {
    n: usize,
    all: Vec<(Features, Option<Features>)>,
    /// The first samples themselves.
    pictures: Vec<f32>,
    shape: Vec<usize>,
}

impl Tables {
    /// Two random halves: halves in file order would differ where a file is sorted.
    fn halves(&self, seed: u64) -> Result<(Tables, Tables)> {
        let order = SplitMix::new(seed).permutation(self.n);
        let (a, b) = order.split_at(self.n / 2);
        let half = |rows: &[usize]| -> Result<Tables> {
            let of = |f: &Features| {
                Features::new(
                    rows.iter().flat_map(|r| f.row(*r).iter().copied()).collect(),
                    rows.len(),
                    f.d(),
                )
            };
            let mut all = Vec::new();
            for (f, p) in &self.all {
                all.push((of(f)?, p.as_ref().map(of).transpose()?));
            }
            let d = self.shape.iter().product::<usize>().max(1);
            let kept = self.pictures.len() / d;
            let pictures = rows.iter().filter(|r| **r < kept);
            let pictures = pictures.flat_map(|r| &self.pictures[r * d..(r + 1) * d]).copied().collect();
            Ok(Tables { n: rows.len(), all, pictures, shape: self.shape.clone() })
        };
        Ok((half(a)?, half(b)?))
    }
}

/// At most `most` rows, at equal distances.
fn thinned(f: &Features, most: usize) -> Result<Features> {
    let n = f.n().min(most);
    if n == f.n() {
        return Ok(f.clone());
    }
    let data = equally_spaced(f.n(), n).flat_map(|i| f.row(i).iter().copied()).collect();
    Ok(Features::new(data, n, f.d())?)
}

struct Work<'a> {
    kinds: &'a [Kind],
    subsets: usize,
    seed: u64,
}

impl Work<'_> {
    /// All measures of one set against another.
    fn column(&self, real: &Tables, drawn: &Tables) -> Result<Vec<(String, Figure)>> {
        let mut column = Vec::new();
        for (kind, ((a, _), (b, classes))) in self.kinds.iter().zip(real.all.iter().zip(&drawn.all)) {
            let label = kind.label(a.d());
            let mut put =
                |name: String, value: f64, sd: Option<f64>| column.push((name, Figure { value, sd }));
            put(kind.frechet(a.d()), frechet(a, b)?, None);
            let least = a.n().min(b.n());
            let (mean, sd) = kernel_distance_subsets(a, b, SUBSET.min(least / 2), self.subsets, self.seed)?;
            put(format!("Kernel[{label}]"), mean, Some(sd));
            // Equal counts, as is customary: balls are smaller where there are more.
            let (x, y) = (thinned(a, least)?, thinned(b, least)?);
            let (few, many) =
                (precision_recall(&x, &y, NEIGHBOURS.0)?, precision_recall(&x, &y, NEIGHBOURS.1)?);
            put(format!("Precision[{label}]"), few.precision, None);
            put(format!("Recall[{label}]"), few.recall, None);
            put(format!("Density[{label}]"), many.density, None);
            put(format!("Coverage[{label}]"), many.coverage, None);
            let width = median_distance(&thinned(a, MEDIAN_ROWS)?)?;
            let mmd = match width > 0.0 {
                true => mmd2(&thinned(a, MMD_ROWS)?, &thinned(b, MMD_ROWS)?, width)?,
                // More than half of the pairs are equal: no bandwidth.
                false => f64::NAN,
            };
            put(format!("MMD²[{label}]"), mmd, None);
            put(
                format!("SlicedWasserstein[{label}]"),
                sliced_wasserstein(a, b, DIRECTIONS, 1.0, self.seed)?,
                None,
            );
            if let Some(p) = classes {
                let parts = (p.n() / 500).clamp(1, 10);
                let (mean, sd) = class_score(p, parts)?;
                // One part has no spread.
                put(format!("ClassScore[{label}]"), mean, (parts > 1).then_some(sd));
            }
        }
        Ok(column)
    }
}

/// How near samples are to training images, and how many classes these have.
fn near(
    source: &Arc<dyn DataSource>,
    real: &Tables,
    drawn: &Tables,
    half: &Tables,
) -> Result<Vec<MeasureRow>> {
    let Some(train) = source.stored(Split::Train, NEAR_TRAIN)? else { return Ok(Vec::new()) };
    let d: usize = real.shape.iter().product();
    let flat = floats(&train.x)?;
    if flat.len() != train.x.dims()[0] * d {
        // Samples were made to fit; the training images were not.
        return Ok(Vec::new());
    }
    let reference = Samples::new(&flat, flat.len() / d, d)?.features();
    let table = |t: &Tables| -> Result<Features> {
        Ok(Samples::new(&t.pictures, t.pictures.len() / d, d)?.features())
    };
    let near = Nearness::new(&reference, train.labels.as_deref(), &table(real)?)?;
    let (samples, halves) = (near.of(&table(drawn)?)?, near.of(&table(half)?)?);
    let one = |value: f64| Figure { value, sd: None };
    let row = |name: &str, a: f64, b: Option<f64>| MeasureRow {
        name: format!("{name}[values {d}]"),
        samples: one(a),
        training: None,
        halves: b.map(one),
    };
    let mut rows = vec![row("Near", samples.0, Some(halves.0))];
    if let Some(classes) = samples.1 {
        rows.push(row("Classes", classes, halves.1));
    }
    Ok(rows)
}

/// The energy by quadrature over a square that holds the held-out points with half as much again around them.
fn on_plane(model: &Model, held: &[f32], temperature: f64, seed: u64) -> Result<PlaneScore> {
    let farthest = held.iter().fold(0f32, |m, v| m.max(v.abs()));
    let half = f64::from(1.5 * farthest).max(1e-3);
    let settings = PlaneSettings { half, wide: 2.0 * half, cells: 400, ..Default::default() };
    let of = Energies::of(model, model.energy()?)?;
    let energy = |points: &[f32]| -> Result<Vec<f32>> {
        Ok(of.at_points(points)?.into_iter().map(|e| (e / temperature) as f32).collect())
    };
    let key = Key::root(seed).at("plane").word(0);
    Ok(plane_score(energy, Samples::new(held, held.len() / 2, 2)?, &settings, key)?)
}
