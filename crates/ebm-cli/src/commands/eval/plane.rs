//! `ebm eval plane`.

use std::path::PathBuf;

use clap::Args;

use crate::Outcome;
use crate::args;
use crate::output::Output;
use ebm::Error;
use ebm::measure::PlaneOptions;
use ebm::model::Model;

#[derive(Debug, Args)]
pub(crate) struct Plane {
    /// A run directory, or a configuration (whose energy may name the weights of runs).
    #[arg(value_name = "RUN|CONFIG.toml")]
    target: PathBuf,
    /// The other density: a run, a configuration, or an energy in TOML such as '{ kind = "rings" }'.
    #[arg(long, value_name = "RUN|CONFIG.toml|TOML")]
    against: String,
    /// Half the side of the square around 0.
    #[arg(long, default_value_t = 4.0)]
    half: f64,
    /// Cells a side.
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=4000))]
    cells: u64,
    /// Temperature T of the first density, exp(-E/T).
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Samples of the first that are drawn by its program and compared with exact draws of the other; 0 for none.
    #[arg(long = "n", short = 'n', value_name = "N", default_value_t = 0)]
    count: usize,
    /// Seed; that of the run without it.
    #[arg(long)]
    seed: Option<u64>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long)]
    device: Option<String>,
    /// Draw both densities (their square roots) side by side.
    #[arg(long, value_name = "FILE.png")]
    picture: Option<PathBuf>,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Plane {
    pub fn run(self, out: &mut Output) -> Outcome {
        if let Some(path) = &self.picture {
            if path.extension().and_then(|e| e.to_str()) != Some("png") {
                let message = format!("--picture {}: wanted a file ending in .png", path.display());
                return Err(Error::Usage(message).into());
            }
            ebm::whole_file::free("--picture", path, self.force)?;
        }
        let model = Model::open(&self.target, &args::numbers(None, None, self.device.as_deref())?)?;
        let options = PlaneOptions {
            against: self.against,
            half: self.half,
            cells: self.cells as usize,
            temperature: self.temperature,
            count: self.count,
            seed: self.seed,
            picture: self.picture,
        };
        let found = ebm::measure::compare_on_plane(&model, &options)?;
        out.found(self.json, &found, || found.table())
    }
}
