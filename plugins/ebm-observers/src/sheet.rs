//! `sheet`: pictures of samples and of the replay buffer while a run goes on.

use std::path::PathBuf;

use ebm_core::candle::Tensor;
use ebm_core::{Error, Event, Look, Observer, ObserverConfig, Result, RunPaths, RunView, Settings, plugin};
use ebm_draw::picture;

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
}

impl Observer for Sheets {
    fn on(&mut self, event: &Event<'_>) -> Result<()> {
        match event {
            Event::Step { report, view } if report.step.is_multiple_of(self.config.every) => {
                self.draw(*view, report.step)
            }
            _ => Ok(()),
        }
    }

    fn looks(&self, sample_shape: &[usize]) -> Vec<Look> {
        self.config.what.looks(self.config.every, self.config.count, sample_shape)
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
        Ok(Box::new(Sheets { config: self.clone(), folder }))
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
        };
        let text = sheets.draw(&fake::Run::new(&[5]), 1).unwrap_err().to_string();
        assert!(text.contains("picture"), "{text}");
    }
}
