//! `tensorboard`: numbers, histograms and sheets of samples as event files.

use std::path::PathBuf;

use ebm_core::{Event, Look, Observer, ObserverConfig, Report, Result, RunPaths, RunView, Settings, plugin};
use ebm_draw::picture;

use crate::course::Course;
use crate::events::{self, Events};
use crate::probe::{self, Bins, Of};
use crate::sheet::{What, shown};

/// Bins of a histogram; TensorBoard draws them anew in 30.
const BINS: usize = 64;

/// Writes event files below `tensorboard/` for `tensorboard --logdir`: all numbers of the report, with the first dot
/// of a name as a slash (`energy/data`), histograms of energies, slopes and values, and sheets.
#[derive(Clone, Debug, Settings)]
pub struct TensorboardConfig {
    /// Steps between numbers; those of the last step are always written.
    #[setting(default = 10, at_least = 1, unit = "updates")]
    pub every: u64,
    /// Steps between histograms of energies, slopes and values; 0 for none.
    #[setting(default = 500, unit = "updates")]
    pub histograms: u64,
    /// Samples of a histogram.
    #[setting(default = 256, at_least = 1, at_most = 1_000_000, unit = "samples")]
    pub rows: usize,
    /// Which samples histograms look at; fresh ones cost a generation.
    #[setting(default = Of::Buffer)]
    pub of: Of,
    /// Steps between sheets of samples; 0 for none.
    #[setting(default = 1000, unit = "updates")]
    pub sheets: u64,
    /// Samples of a sheet; a scatter shows 16 times as many.
    #[setting(default = 64, at_least = 1, at_most = 100_000, unit = "samples")]
    pub count: usize,
    /// What sheets show.
    #[setting(default = What::Samples)]
    pub what: What,
}

struct Tensorboard {
    config: TensorboardConfig,
    folder: PathBuf,
    events: Option<Events>,
    last: u64,
}

impl Tensorboard {
    fn scalars(&mut self, report: &Report) -> Result<()> {
        let Some(events) =
            self.events.as_mut().filter(|_| report.step > self.last && !report.values.is_empty())
        else {
            return Ok(());
        };
        self.last = report.step;
        let values = report.values.iter().map(|(name, v)| events::scalar(&name.replacen('.', "/", 1), *v));
        events.write(report.step, values)
    }

    fn histograms(&mut self, view: &dyn RunView, step: u64) -> Result<()> {
        let Some(events) = &mut self.events else { return Ok(()) };
        let seen = probe::look(view, self.config.rows, self.config.of)?;
        let values = seen.iter().filter_map(|s| {
            let bins = Bins::of(&s.values, BINS)?;
            Some(events::histogram(&format!("histogram/{}", s.name), &bins))
        });
        events.write(step, values)
    }

    fn sheets(&mut self, view: &dyn RunView, step: u64) -> Result<()> {
        let Some(events) = self.events.as_mut().filter(|_| picture::can_draw(view.sample_shape())) else {
            return Ok(());
        };
        let (all, background) = shown(view, self.config.what, self.config.count)?;
        for (what, samples) in all {
            let png = picture::encode(&samples, background.as_ref())?;
            events.write(step, [events::image(&format!("sheet/{what}"), &png)])?;
        }
        Ok(())
    }
}

impl Observer for Tensorboard {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        let due = |step: u64, every: u64| every > 0 && step.is_multiple_of(every);
        match event {
            Event::Start { step, of, .. } => {
                let course = Course { step: *step, of: *of, every: self.config.every };
                let events = Events::open(&self.folder, course)?;
                self.last = events.last();
                self.events = Some(events);
            }
            Event::Step { report, view } => {
                if due(report.step, self.config.every) {
                    self.scalars(report)?;
                }
                if due(report.step, self.config.histograms) {
                    self.histograms(*view, report.step)?;
                }
                if due(report.step, self.config.sheets) {
                    self.sheets(*view, report.step)?;
                }
            }
            Event::Saving { step } => self.events.as_mut().map_or(Ok(()), |e| e.save(*step))?,
            Event::Finish { report, .. } => {
                self.scalars(report)?;
                self.events.as_mut().map_or(Ok(()), Events::sync)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn looks(&self, sample_shape: &[usize]) -> Vec<Look> {
        let c = &self.config;
        [c.of.looks(c.histograms, c.rows), c.what.looks(c.sheets, c.count, sample_shape)].concat()
    }

    fn remarks(&mut self) -> Vec<String> {
        self.events.as_mut().map(Events::remarks).unwrap_or_default()
    }

    fn entries(&self) -> Option<(String, u64)> {
        self.events.as_ref().map(|events| ("tensorboard".into(), events.entries()))
    }

    fn name(&self) -> String {
        "tensorboard".into()
    }
}

#[plugin(
    "tensorboard",
    summary = "numbers, histograms and sheets of samples as event files of TensorBoard",
    source = "TensorFlow's record files and event protocol",
    example = "every = 10\nhistograms = 500\nsheets = 1000"
)]
impl ObserverConfig for TensorboardConfig {
    fn make(&self, paths: &RunPaths) -> Result<Box<dyn Observer>> {
        let folder = paths.claim("", "tensorboard")?;
        Ok(Box::new(Tensorboard { config: self.clone(), folder, events: None, last: 0 }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::events::tests::{read, values};
    use crate::fake_tests as fake;
    use crate::protobuf::{Value, field};

    #[test]
    fn a_resumed_run_has_every_number_histogram_and_sheet_once() {
        let folder = tempfile::tempdir().unwrap();
        let paths = RunPaths::new(folder.path());
        let text = "kind = 'tensorboard'\nevery = 2\nhistograms = 4\nsheets = 3\nrows = 5\nwhat = 'both'";
        let config: Box<dyn ObserverConfig> = toml::from_str(text).unwrap();
        fake::run(&mut *config.build(&paths).unwrap(), folder.path(), 0, 5, "interrupted").unwrap();
        fake::run(&mut *config.build(&paths).unwrap(), folder.path(), 3, 9, "done").unwrap();
        let all = read(&folder.path().join("tensorboard"));
        let found = |tag: &str| -> Vec<(u64, Vec<u8>)> {
            let of = |e: &Vec<u8>| {
                let step = events::step_of(e);
                values(e).into_iter().filter(|v| v.0 == tag).map(move |v| (step, v.2)).collect::<Vec<_>>()
            };
            all.iter().flat_map(of).collect()
        };
        let steps = |tag: &str| found(tag).iter().map(|f| f.0).collect::<Vec<_>>();
        assert_eq!(steps("energy/data"), [2, 4, 6, 8, 9]);
        assert_eq!(found("energy/data")[0].1, (-0.5f32).to_le_bytes());
        assert_eq!((steps("rate").len(), steps("loss/kl").len()), (5, 5));
        assert_eq!((steps("histogram/energy.data"), steps("sheet/buffer")), (vec![4, 8], vec![3, 6, 9]));
        // Fields of the histogram: smallest, largest, number; then the edges end at the largest.
        let histogram = &found("histogram/values.data")[0].1;
        let mut rest = &histogram[..];
        let fields: Vec<_> = std::iter::from_fn(|| field(&mut rest)).collect();
        let double = |v: f64| v.to_le_bytes();
        assert_eq!(fields[0], (1, Value::Fixed(&double(0.0))));
        assert_eq!(fields[1], (2, Value::Fixed(&double(1.0))));
        assert_eq!(fields[2], (3, Value::Fixed(&double(80.0))));
        let (6, Value::Bytes(edges)) = fields[5] else { panic!("{fields:?}") };
        assert_eq!((edges.len(), &edges[504..]), (512, &double(1.0)[..]));
        // The picture is whole, and its claimed size is that of the file.
        let sheet = &found("sheet/samples")[0].1;
        let mut rest = &sheet[..];
        let fields: Vec<_> = std::iter::from_fn(|| field(&mut rest)).collect();
        let (4, Value::Bytes(png)) = fields[3] else { panic!("{fields:?}") };
        let size = image_size(png);
        assert_eq!((fields[0], fields[1]), ((1, Value::Int(size.1)), (2, Value::Int(size.0))));
        assert_eq!(fields[2], (3, Value::Int(1)));
    }

    fn image_size(png: &[u8]) -> (u64, u64) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), png).unwrap();
        let set = ebm_data::folder::read(folder.path(), &Default::default()).unwrap();
        (set.shape().2 as u64, set.shape().1 as u64)
    }

    #[test]
    fn samples_that_cannot_be_drawn_have_no_sheet_and_the_rest_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let paths = RunPaths::new(folder.path());
        let text = "kind = 'tensorboard'\nevery = 1\nhistograms = 1\nsheets = 1";
        let config: Box<dyn ObserverConfig> = toml::from_str(text).unwrap();
        let view = fake::Run::new(&[5]);
        fake::run_of(&mut *config.build(&paths).unwrap(), folder.path(), &view, 0, 2, "done").unwrap();
        let all = read(&folder.path().join("tensorboard"));
        let tags: Vec<String> = all.iter().flat_map(|e| values(e)).map(|v| v.0).collect();
        assert!(
            tags.contains(&"histogram/slope.samples".into()) && !tags.iter().any(|t| t.starts_with("sheet"))
        );
    }
}
