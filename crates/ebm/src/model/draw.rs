//! Samples of a model, written to files: numbers, pictures, chains over time, neighbours.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use ebm_core::{Columns, Condition, Split};
use ebm_data::npy::{NpyValues, encode_values};
use ebm_draw::picture;

use crate::error::{Error, Result};
use crate::model::draws::{Draws, Kept, ending};
use crate::model::film::{Film, animate, neighbours, strip};
use crate::model::moves::MoveWatch;
use crate::model::open::{Model, Sampling};
use crate::tensors::floats;
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
            let (columns, values) = (&model.facts().columns, floats(&drawn)?);
            let values = if columns.is_empty() {
                NpyValues::F32(values)
            } else {
                let mut own = values.into_iter().map(f64::from).collect::<Vec<_>>();
                columns.to_own(&mut own);
                NpyValues::F64(own)
            };
            replace(&options.out, &encode_values(&values, drawn.dims())?)?;
        }
        "csv" => write_table(&model.facts().columns, &floats(&drawn)?, &options.out)?,
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

/// Writes samples as rows of the table that they were made of; of series all rows one after the other, each with the number of
/// its series.
fn write_table(columns: &Columns, values: &[f32], out: &Path) -> Result<()> {
    let mut names: Vec<String> = columns.list().iter().map(|c| c.name.clone()).collect();
    let mut rows = columns.rows(values);
    if columns.each() > 1 && !names.iter().any(|n| n == SERIES) {
        names.insert(0, SERIES.into());
        for (i, row) in rows.iter_mut().enumerate() {
            row.insert(0, (i / columns.each()).to_string());
        }
    }
    Ok(ebm_data::csv::write(out, &names, &rows)?)
}

/// The conditions that `count` samples are drawn under with this seed, in words: classes, each with its number of samples if there are
/// several. `None` without a condition.
///
/// # Errors
/// As [`Model::conditions`](ebm_model::Model::conditions).
pub fn drawn_under(model: &Model, count: usize, seed: Option<u64>) -> Result<Option<String>> {
    let (facts, given) = (model.facts(), model.config().generate.given.as_ref());
    let length = facts.condition;
    let values: Vec<f32> = match (given, model.conditions_of(count, model.generation_key(seed))?) {
        _ if length == 0 => return Ok(given.map(ToString::to_string)),
        (Some(given), _) => match given.vector(length, &facts.class_names) {
            Ok(vector) => vector.into_iter().map(|v| v as f32).collect(),
            Err(_) => return Ok(None),
        },
        (None, Some(conditions)) if model.energy().spec().condition != Condition::None => {
            floats(&conditions)?
        }
        _ => return Ok(None),
    };
    let rows: Vec<&[f32]> = values.chunks(length).collect();
    // One-hot rows are classes; other conditions are only counted.
    let class = |row: &[f32]| {
        let place = row.iter().position(|v| *v == 1.0)?;
        row.iter().enumerate().all(|(i, v)| i == place || *v == 0.0).then_some(place)
    };
    let Some(classes) = rows.iter().map(|row| class(row)).collect::<Option<Vec<usize>>>() else {
        return Ok(Some(match rows[..] {
            [one] => format!("{one:?}"),
            _ => format!("{} conditions of the data in turn", rows.len().min(count)),
        }));
    };
    let mut counts = vec![0usize; length];
    (0..count).for_each(|i| counts[classes[i % classes.len()]] += 1);
    let names = &facts.class_names;
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let drawn: Vec<usize> = (0..length).filter(|class| counts[*class] > 0).collect();
    Ok(Some(match drawn[..] {
        [one] => name(one),
        _ => drawn.iter().map(|c| format!("{} ({})", name(*c), counts[*c])).collect::<Vec<_>>().join(", "),
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
