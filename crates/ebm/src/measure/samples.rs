//! Samples against data: distances between features, fidelity and diversity, classes, likelihood on the plane.

mod features;
mod figures;

use ebm_eval::{PlaneIntegral, PlaneScore};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::inputs::fit::Fit;
use crate::inputs::set::{Inputs, Piece};
use crate::measure::likelihood::own_units;
use crate::measure::temperature;
use crate::model::open::Model;
use crate::tensors::floats;
use features::{Kind, LEAST, Seen};
pub use figures::{Figure, MeasureRow};
use figures::{NEAR, Work, near, on_plane};

/// Samples that go through a network together.
const TOGETHER: usize = 512;

/// What is measured.
pub enum Subject<'a> {
    /// Samples that are drawn from a model.
    Model(&'a Model),
    /// Samples that are there.
    Set(&'a Inputs),
}

impl Subject<'_> {
    /// How sets are read to be compared with it: as its model knows samples, or as the data they are held against.
    pub(crate) fn fit(&self, against: &Inputs, shape: &[usize]) -> Fit {
        match self {
            Subject::Model(model) => Fit::known(shape, model.energy().spec().domain, model.facts()),
            Subject::Set(_) => {
                let columns = against.columns().cloned().unwrap_or_default();
                Fit { units: against.units(), columns, ..Fit::of_shape(shape) }
            }
        }
    }
}

/// How samples are measured.
#[derive(Clone, Debug)]
pub struct SampleMeasureOptions {
    /// What with: a set as of `ebm eval ood`; the held-out part of a model's data without it.
    pub against: Option<String>,
    /// `values`, `pixels`, `cells:N`, `signs`, or feature networks as of [`open_network`](crate::measure::open_network); empty: `pixels` and `signs` of
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
    /// Pairs of random subsets over which the kernel distance is taken as well; none if 0.
    pub subsets: usize,
    /// Their rows; 1,000, or half of the smaller set, without it.
    pub subset_size: Option<usize>,
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
            subsets: 0,
            subset_size: None,
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
    /// What its log-likelihood loses in the units of the table that samples were made of; nats.
    pub own_units: Option<f64>,
    /// What its quadrature was taken over.
    pub plane_cells: Option<PlaneIntegral>,
    /// Why the energy has no quadrature in the plane.
    pub no_plane: Option<String>,
    /// The seed of subsets, halves and directions.
    pub seed: u64,
}

impl SampleMeasures {
    /// Measures of the samples that are of fewer rows than there are, by their rows of data and of samples.
    pub fn fewer_rows(&self) -> Vec<(Vec<&str>, (usize, usize))> {
        let mut found: Vec<(Vec<&str>, (usize, usize))> = Vec::new();
        for row in &self.rows {
            let (Some(rows), Some((name, _))) = (row.samples.rows, row.name.split_once('[')) else {
                continue;
            };
            match found.iter_mut().find(|f| f.1 == rows) {
                Some((names, _)) if !names.contains(&name) => names.push(name),
                Some(_) => {}
                None => found.push((vec![name], rows)),
            }
        }
        found
    }
}

/// Measures samples against data, with training samples and halves of the data to read the figures against.
///
/// Of all sets features are kept, images only as many as neighbours are looked for among.
///
/// # Errors
/// If a name is neither features nor a network, sets do not fit or are too small, or a sample is not finite.
pub fn measure_samples(what: &Subject<'_>, options: &SampleMeasureOptions) -> Result<SampleMeasures> {
    let o = options;
    let against_count = usize::try_from(o.against_count).unwrap_or(usize::MAX);
    let subset = o.subset_size.unwrap_or(2);
    for (setting, found, least) in
        [("count", o.count, LEAST), ("against_count", against_count, LEAST), ("subset_size", subset, 2)]
    {
        if found < least {
            return Err(Error::invalid(setting, found, format!("at least {least}")));
        }
    }
    temperature::check(o.temperature)?;
    if let (Subject::Set(_), Some(steps)) = (what, o.steps) {
        let wanted = "a run, which draws its samples; these are there";
        return Err(Error::invalid("steps", steps, wanted));
    }
    let against = match (&o.against, what) {
        (Some(name), _) => Inputs::open(name)?,
        (None, Subject::Model(model)) => Inputs::held_out(model.data()?, "against")?,
        (None, Subject::Set(_)) => {
            return Err(Error::missing(&["against"], "samples that are there need data to compare with"));
        }
    };
    let shape = match what {
        Subject::Model(model) => model.sample_shape().to_vec(),
        Subject::Set(_) => against.shape()?,
    };
    let kinds = Kind::all(&o.features, &shape)?;
    let source = against.source().cloned();
    let keep = if shape == [2] { usize::MAX } else { NEAR };
    let fit = Fit { resize: o.fit, ..what.fit(&against, &shape) };
    let gather = |set: &Inputs, most: u64| -> Result<Seen> {
        let mut seen = Seen::new(&kinds, &shape, keep);
        set.each(TOGETHER, Some(most), &fit, &mut |piece: Piece| seen.add(&piece.floats()))?;
        seen.enough(set.name())?;
        Ok(seen)
    };
    // The cheap set first: what is wrong with it shows before minutes of sampling.
    let real = gather(&against, o.against_count)?.tables()?;
    let (name, drawn) = match what {
        Subject::Model(model) => {
            let x = model.sample(o.count, o.steps, o.seed)?;
            let mut seen = Seen::new(&kinds, &shape, keep);
            for first in (0..o.count).step_by(TOGETHER) {
                let piece = x.narrow(0, first, TOGETHER.min(o.count - first));
                seen.add(&floats(&piece.map_err(ebm_core::Error::from)?)?)?;
            }
            ("the model".to_string(), seen.tables()?)
        }
        Subject::Set(set) => (set.name().to_string(), gather(set, o.count as u64)?.tables()?),
    };
    let training = against.training_part();
    let train = match &training {
        Some(set) => Some(gather(set, drawn.n as u64)?.tables()?),
        None => None,
    };
    let seed = o.seed.unwrap_or(0);
    let (first, second) = real.halves(seed)?;
    let work = Work { kinds: &kinds, subsets: o.subsets, subset_size: o.subset_size, seed };
    let columns = [
        Some(work.column(&real, &drawn)?),
        train.as_ref().map(|t| work.column(&real, t)).transpose()?,
        Some(work.reference(&real, (&first, &second), drawn.n)?),
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
        (Subject::Model(model), [2]) => Some(on_plane(model, &real.pictures, o.temperature, seed)?),
        _ => None,
    };
    let (plane, no_plane) = plane.map_or((None, None), |p| (p.as_ref().ok().cloned(), p.err()));
    let (plane, plane_cells) = plane.unzip();
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
        own_units: match what {
            Subject::Model(model) => own_units(model),
            Subject::Set(_) => None,
        },
        plane_cells,
        no_plane,
        seed,
    })
}
