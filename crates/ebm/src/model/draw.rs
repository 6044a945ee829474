//! Samples of a model, written to files: numbers, pictures, chains over time, neighbours.

use std::path::PathBuf;

use candle_core::{DType, Tensor};
use ebm_core::{Condition, Split};
use ebm_data::npy::{NpyValues, encode_values};
use ebm_draw::picture;

use crate::error::{Error, Result};
use crate::model::draws::{Draws, Kept, ending};
use crate::model::film::{Film, animate, neighbours, strip};
use crate::model::moves::MoveWatch;
use crate::model::open::{Model, Sampling};
use crate::tensors::{floats, numbers};
use crate::whole_file::{apart, free, replace};

/// What to draw and where to write it.
#[derive(Clone, Debug, Default)]
pub struct SampleOptions {
    /// Number of samples.
    pub count: usize,
    /// Steps of the program; without it as configured.
    pub steps: Option<usize>,
    /// Seed; without it that of the run.
    pub seed: Option<u64>,
    /// `.png` for a picture, `.npy` for the numbers, `.csv` for a table of a model of one; numbers are in the table's own units.
    pub out: PathBuf,
    /// Whether files that are there already are replaced.
    pub overwrite: bool,
    /// A picture of the first chains over time, a row a chain (the paper's figure 5); `.png`.
    pub strip: Option<PathBuf>,
    /// All chains over time as an animation; `.gif`.
    pub animation: Option<PathBuf>,
    /// Every state after the warm-up, half of the program, with the statistics of its steps; `.npz`.
    pub draws: Option<PathBuf>,
    /// Where the chains start, `(n, ...)` with at least `count` rows, in place of fresh starts: see [`starts`](crate::model::starts).
    pub start: Option<Tensor>,
    /// Samples with their nearest training samples to the right of each; `.png`.
    pub neighbours: Option<PathBuf>,
    /// Called after every step with the number of steps done of all pieces of chains.
    pub progress: Option<fn(u64)>,
}

/// Draws samples and writes them to a file.
///
/// # Errors
/// If the ending is neither, samples cannot be drawn as a picture, the file is there already, or it cannot be written.
pub fn sample(model: &Model, options: &SampleOptions) -> Result<Tensor> {
    let ending = options.out.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let shape = model.sample_shape();
    match ending {
        "npy" => {}
        "csv" if !model.facts().columns.is_empty() => {}
        "csv" => {
            let wanted = "a file ending in .png or .npy: the model was trained on no table with columns";
            return Err(Error::invalid("out", options.out.display(), wanted));
        }
        "png" if picture::can_draw(shape) => {}
        "png" => {
            return Err(Error::invalid(
                "out",
                options.out.display(),
                format!("a file ending in .npy: samples of shape {shape:?} are no pictures"),
            ));
        }
        _ => {
            return Err(Error::invalid(
                "out",
                options.out.display(),
                "a file ending in .png or .npy, or in .csv of a model of a table",
            ));
        }
    }
    // Before minutes of sampling, not after them.
    free("out", &options.out, options.overwrite)?;
    check(model, options)?;
    let mut film = Film::new(options.strip.is_some() || options.animation.is_some(), options.progress);
    let steps = options.steps.unwrap_or(model.sampler().steps());
    let warm_up = options.draws.is_some().then_some(steps / 2);
    let draws = warm_up.map(|warm_up| {
        let size = (options.count, steps - warm_up);
        Draws::new(model.energy().as_ref(), model.dtype(), size, (warm_up, 1))
    });
    let mut kept = Kept::beside(&mut film, draws.transpose()?);
    let mut watch = MoveWatch::beside(&mut kept);
    let start = options.start.as_ref();
    let sampling =
        Sampling { steps: options.steps, warm_up, seed: options.seed, start, ..Sampling::default() };
    let drawn = model.sample_watched(options.count, sampling, &mut watch)?;
    watch.tell();
    if let (Some(draws), Some(path)) = (kept.draws(), &options.draws) {
        draws.write(path)?;
    }
    write(model, options, film, &drawn)?;
    match ending {
        "npy" => {
            let (columns, mut own) = (&model.facts().columns, numbers(&drawn)?);
            columns.to_own(&mut own);
            let single = columns.is_empty() && model.dtype() != DType::F64;
            let values = match single {
                true => NpyValues::F32(own.into_iter().map(|v| v as f32).collect()),
                false => NpyValues::F64(own),
            };
            replace(&options.out, &encode_values(&values, drawn.dims())?)?;
        }
        "csv" => write_table(model, options, &drawn)?,
        _ => picture::write(&options.out, &drawn, background(model)?.as_ref())?,
    }
    Ok(drawn)
}

/// The file that samples of a model go to where none is named: a table of what was one, else a picture, else numbers.
pub fn natural_file(model: &Model) -> &'static str {
    let columns = &model.facts().columns;
    match () {
        () if columns.list().iter().any(|c| c.name.parse::<usize>().is_err()) => "samples.csv",
        () if picture::can_draw(model.sample_shape()) => "samples.png",
        () => "samples.npy",
    }
}

/// Name of the column that tells series apart.
const SERIES: &str = "series";

/// Writes samples as rows of the table that they were made of, with the class that each was drawn under where the table has a
/// column of them; of series all rows one after the other, each with the number of its series.
fn write_table(model: &Model, options: &SampleOptions, drawn: &Tensor) -> Result<()> {
    let columns = &model.facts().columns;
    let mut names: Vec<String> = columns.list().iter().map(|c| c.name.clone()).collect();
    let mut rows = match model.dtype() {
        DType::F64 => columns.rows(&numbers(drawn)?),
        _ => columns.rows(&floats(drawn)?),
    };
    if let (Some(label), Some(classes)) = (columns.label(), classes_drawn(model, options)?) {
        names.push(label.into());
        rows.iter_mut().zip(classes).for_each(|(row, class)| row.push(class));
    }
    let series = columns.series().unwrap_or(SERIES);
    if columns.each() > 1 && !names.iter().any(|n| n == series) {
        names.insert(0, series.into());
        for (i, row) in rows.iter_mut().enumerate() {
            row.insert(0, (i / columns.each()).to_string());
        }
    }
    Ok(ebm_data::csv::write(&options.out, &names, &rows)?)
}

/// The conditions of samples.
enum Under {
    /// None, or nothing that can be said of it.
    Nothing,
    /// Of all samples, in words.
    All(String),
    /// Rows of so many numbers, used in turn.
    Rows(Vec<f32>, usize),
}

impl Under {
    fn of(model: &Model, count: usize, seed: Option<u64>) -> Result<Self> {
        let (facts, given) = (model.facts(), model.config().generate.given.as_ref());
        let length = facts.condition;
        let conditions = model.conditions_of(count, model.generation_key(seed))?;
        Ok(match (given, conditions) {
            (given, _) if length == 0 => given.map_or(Under::Nothing, |g| Under::All(g.to_string())),
            (Some(given), _) => match given.vector(length, &facts.class_names) {
                Ok(vector) => Under::Rows(vector.into_iter().map(|v| v as f32).collect(), length),
                Err(_) => Under::Nothing,
            },
            (None, Some(conditions)) if model.energy().spec().condition != Condition::None => {
                Under::Rows(floats(&conditions)?, length)
            }
            _ => Under::Nothing,
        })
    }

    /// The class of each row, if all rows are one-hot.
    fn classes(&self) -> Option<Vec<usize>> {
        let Under::Rows(values, length) = self else { return None };
        let class = |row: &[f32]| {
            let place = row.iter().position(|v| *v == 1.0)?;
            row.iter().enumerate().all(|(i, v)| i == place || *v == 0.0).then_some(place)
        };
        values.chunks(*length).map(class).collect()
    }
}

fn class_name(model: &Model, class: usize) -> String {
    model.facts().class_names.get(class).cloned().unwrap_or_else(|| class.to_string())
}

/// The class that each sample is drawn under, if they are drawn under classes.
fn classes_drawn(model: &Model, options: &SampleOptions) -> Result<Option<Vec<String>>> {
    let classes = Under::of(model, options.count, options.seed)?.classes().filter(|c| !c.is_empty());
    let each = |classes: Vec<usize>| {
        (0..options.count).map(|i| class_name(model, classes[i % classes.len()])).collect()
    };
    Ok(classes.map(each))
}

/// The conditions that `count` samples are drawn under with this seed, in words: classes, each with its number of samples if there are
/// several. `None` without a condition.
///
/// # Errors
/// As [`Model::conditions`](ebm_model::Model::conditions).
pub fn drawn_under(model: &Model, count: usize, seed: Option<u64>) -> Result<Option<String>> {
    let under = Under::of(model, count, seed)?;
    let classes = under.classes();
    let (values, length) = match under {
        Under::Nothing => return Ok(None),
        Under::All(text) => return Ok(Some(text)),
        Under::Rows(values, length) => (values, length),
    };
    let rows: Vec<&[f32]> = values.chunks(length).collect();
    // One-hot rows are classes; other conditions are only counted.
    let Some(classes) = classes else {
        return Ok(Some(match rows[..] {
            [one] => format!("{one:?}"),
            _ => format!("{} conditions of the data in turn", rows.len().min(count)),
        }));
    };
    let mut counts = vec![0usize; length];
    (0..count).for_each(|i| counts[classes[i % classes.len()]] += 1);
    let drawn: Vec<usize> = (0..length).filter(|class| counts[*class] > 0).collect();
    Ok(Some(match drawn[..] {
        [one] => class_name(model, one),
        _ => drawn
            .iter()
            .map(|c| format!("{} ({})", class_name(model, *c), counts[*c]))
            .collect::<Vec<_>>()
            .join(", "),
    }))
}

/// Refuses what cannot be drawn or written, before sampling.
fn check(model: &Model, options: &SampleOptions) -> Result<()> {
    let shape = model.sample_shape();
    apart(&[
        ("out", Some(&options.out)),
        ("strip", options.strip.as_deref()),
        ("animation", options.animation.as_deref()),
        ("neighbours", options.neighbours.as_deref()),
        ("draws", options.draws.as_deref()),
    ])?;
    for (setting, path, wanted, drawable) in [
        ("draws", &options.draws, "npz", true),
        ("strip", &options.strip, "png", matches!(shape, [1 | 3, _, _])),
        ("animation", &options.animation, "gif", picture::can_draw(shape)),
        ("neighbours", &options.neighbours, "png", matches!(shape, [1 | 3, _, _])),
    ] {
        let Some(path) = path else { continue };
        ending(setting, path, wanted)?;
        if !drawable {
            let wanted = format!("samples that are pictures, found some of shape {shape:?}");
            return Err(Error::invalid(setting, path.display(), wanted));
        }
        free(setting, path, options.overwrite)?;
    }
    Ok(())
}

/// Writes what the options ask for besides the samples.
fn write(model: &Model, options: &SampleOptions, film: Film, drawn: &Tensor) -> Result<()> {
    let frames = film.frames()?;
    if let Some(path) = &options.strip {
        strip(&frames, path)?;
    }
    if let Some(path) = &options.animation {
        animate(frames, background(model)?.as_ref(), path)?;
    }
    if let Some(path) = &options.neighbours {
        neighbours(model, drawn, path)?;
    }
    Ok(())
}

/// Training points of the plane, which its pictures show behind the samples where they are at hand.
fn background(model: &Model) -> Result<Option<Tensor>> {
    if model.sample_shape() != [2] {
        return Ok(None);
    }
    match model.data() {
        Ok(data) => Ok(data.stored(Split::Train, 4096)?.map(|l| l.x)),
        Err(e) => {
            tracing::info!("the picture is without training points: {e}");
            Ok(None)
        }
    }
}
