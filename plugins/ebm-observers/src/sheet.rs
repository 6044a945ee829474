//! `sheet`: pictures of samples and of the replay buffer while a run goes on.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use ebm_core::candle::Tensor;
use ebm_core::{Error, Event, Look, Observer, ObserverConfig, Result, RunPaths, RunView, Settings, plugin};
use ebm_draw::picture;

use crate::course::Course;

/// Writes `sheets/samples-00001000.png` and `sheets/buffer-00001000.png`: images as a sheet, points of the plane as
/// a scatter over the data.
#[derive(Clone, Debug, Settings)]
pub struct SheetConfig {
    /// Steps between pictures.
    #[setting(default = 1000, at_least = 1, unit = "updates")]
    pub every: u64,
    /// Samples of a picture; a scatter shows 16 times as many.
    #[setting(default = 64, at_least = 1, at_most = 100_000, unit = "samples")]
    pub count: usize,
    /// What to draw.
    #[setting(default = What::Samples)]
    pub what: What,
}

/// What a sheet shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Settings)]
pub enum What {
    /// Samples drawn from fresh starts, as after training; costs a generation.
    #[default]
    Samples,
    /// Chains of the replay buffer; costs nothing.
    Buffer,
    /// Both.
    Both,
}

impl What {
    /// Names of what is shown.
    fn names(self) -> &'static [&'static str] {
        match self {
            What::Samples => &["samples"],
            What::Buffer => &["buffer"],
            What::Both => &["samples", "buffer"],
        }
    }

    /// The look at the buffer of who shows `count` samples every so many steps.
    pub(crate) fn looks(self, every: u64, count: usize, sample_shape: &[usize]) -> Vec<Look> {
        let look = Look { every, rows: rows(count, sample_shape) };
        if self == What::Samples { Vec::new() } else { vec![look] }
    }
}

/// Samples of a picture: a scatter of points of the plane shows more.
fn rows(count: usize, sample_shape: &[usize]) -> usize {
    if sample_shape == [2] { count * 16 } else { count }
}

struct Sheets {
    config: SheetConfig,
    folder: PathBuf,
    remarks: Vec<String>,
}

/// What a sheet shows, by name, and points to lay behind it; a scatter takes 16 times `count` samples.
pub(crate) type Shown = (Vec<(&'static str, Tensor)>, Option<Tensor>);

/// Samples to draw.
pub(crate) fn shown(view: &dyn RunView, what: What, count: usize) -> Result<Shown> {
    let n = rows(count, view.sample_shape());
    let background = if view.sample_shape() == [2] { view.data(4 * n)? } else { None };
    let mut all = Vec::new();
    if what != What::Buffer {
        all.push(("samples", view.samples(n)?));
    }
    if what != What::Samples
        && let Some(held) = view.buffered(n)?
    {
        all.push(("buffer", held));
    }
    Ok((all, background))
}

impl Sheets {
    fn draw(&self, view: &dyn RunView, step: u64) -> Result<()> {
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::io(&self.folder, e))?;
        let (all, background) = shown(view, self.config.what, self.config.count)?;
        for (what, samples) in all {
            let file = self.folder.join(format!("{what}-{step:08}.png"));
            picture::write(&file, &samples, background.as_ref())?;
        }
        Ok(())
    }

    /// Remarks on pictures of steps up to where the run goes on: the last ones should be there, and all should be whole.
    fn look_back(&mut self, course: Course) {
        for what in self.config.what.names() {
            let prefix = format!("{what}-");
            let mut steps = Vec::new();
            for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let step =
                    name.strip_prefix(&prefix).and_then(|n| n.strip_suffix(".png")?.parse::<u64>().ok());
                let Some(step) = step.filter(|s| *s <= course.step) else { continue };
                steps.push(step);
                if !is_whole(&entry.path()) {
                    self.remarks.push(format!("sheets/{name}: is no whole picture"));
                }
            }
            steps.sort_unstable();
            // The first one is due after as many steps as lie between two.
            let start = if *what == "samples" && !steps.is_empty() { Some(0) } else { None };
            let steps: Vec<u64> = start.into_iter().chain(steps).collect();
            let apart = steps.windows(2).map(|w| (w[1] - w[0], w[0], w[1]));
            if let (Some((widest, from, to)), Some((nearest, ..))) = (apart.clone().max(), apart.min())
                && widest > nearest.max(course.every)
            {
                self.remarks.push(format!("sheets/{what}: there is none between steps {from} and {to}"));
            }
            // A buffer may have held too few chains for the first pictures.
            if *what == "samples" || !steps.is_empty() {
                let last = |back: usize| steps.iter().nth_back(back).copied().unwrap_or(0);
                self.remarks.extend(course.gap(&format!("sheets/{what}"), last(0), last(1)));
            }
        }
    }
}

/// Whether a file ends as a png file does.
fn is_whole(path: &Path) -> bool {
    const END: &[u8; 8] = b"IEND\xaeB`\x82";
    let end = || {
        let mut file = std::fs::File::open(path)?;
        file.seek(SeekFrom::End(-(END.len() as i64)))?;
        let mut end = [0; END.len()];
        file.read_exact(&mut end).map(|()| end)
    };
    end().is_ok_and(|end: [u8; 8]| end == *END)
}

impl Observer for Sheets {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Start { step, of, .. } => {
                self.look_back(Course { step: *step, of: *of, every: self.config.every });
                Ok(())
            }
            Event::Step { report, view } if report.step.is_multiple_of(self.config.every) => {
                self.draw(*view, report.step)
            }
            _ => Ok(()),
        }
    }

    fn looks(&self, sample_shape: &[usize]) -> Vec<Look> {
        self.config.what.looks(self.config.every, self.config.count, sample_shape)
    }

    fn remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    fn name(&self) -> String {
        "sheet".into()
    }
}

#[plugin(
    "sheet",
    summary = "pictures of samples and of the replay buffer",
    source = "this project",
    example = "every = 1000\nwhat = \"both\""
)]
impl ObserverConfig for SheetConfig {
    fn make(&self, paths: &RunPaths) -> Result<Box<dyn Observer>> {
        let mut folder = PathBuf::new();
        for what in self.what.names() {
            folder = paths.claim_sheets(what)?;
        }
        Ok(Box::new(Sheets { config: self.clone(), folder, remarks: Vec::new() }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fake_tests as fake;

    fn names(shape: &[usize], config: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let paths = RunPaths::new(folder.path());
        let config: Box<dyn ObserverConfig> = toml::from_str(&format!("kind = 'sheet'\n{config}")).unwrap();
        let mut sheets = config.build(&paths).unwrap();
        fake::run_of(&mut *sheets, folder.path(), &fake::Run::new(shape), 0, 4, "done").unwrap();
        let list = std::fs::read_dir(folder.path().join("sheets")).unwrap();
        let mut names: Vec<String> = list.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn pictures_come_every_so_many_steps() {
        assert_eq!(names(&[1, 4, 4], "every = 2"), ["samples-00000002.png", "samples-00000004.png"]);
        let both = names(&[2], "every = 4\nwhat = 'both'\ncount = 2");
        assert_eq!(both, ["buffer-00000004.png", "samples-00000004.png"]);
    }

    #[test]
    fn samples_that_cannot_be_drawn_are_an_error_once() {
        let sheets = Sheets {
            config: SheetConfig { every: 1, count: 4, what: What::Samples },
            folder: tempfile::tempdir().unwrap().path().join("sheets"),
            remarks: Vec::new(),
        };
        let text = sheets.draw(&fake::Run::new(&[5]), 1).unwrap_err().to_string();
        assert!(text.contains("picture"), "{text}");
    }
}
