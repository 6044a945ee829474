//! Trains densities of the plane and scores them by quadrature, one line of JSON a run.

mod cpu;
mod picture;
mod score;
mod training;

use std::path::{Path, PathBuf};

use clap::Parser;
use ebm::data::toy2d::Toy2d;
use ebm::{Error, Result};
use ebm_plugins as _;

/// Trains densities of the plane and scores them by quadrature, one line of JSON a run.
#[derive(Parser)]
struct Arguments {
    /// Data sets.
    #[arg(long, value_delimiter = ',', default_value = "moons,grid25,checker,rings,pinwheel")]
    sets: Vec<String>,
    /// Seeds.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    seeds: Vec<u64>,
    /// Configuration; the one beside this program without it.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Changes to it, as `optimiser.rate=0.005`.
    #[arg(long = "set")]
    changes: Vec<String>,
    /// Folder with NAME_train.npy and NAME_heldout.npy, read instead of drawing points.
    #[arg(long)]
    data: Option<PathBuf>,
    /// File to which lines are appended.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Folder for the energies that another program needs to score a run.
    #[arg(long)]
    arrays: Option<PathBuf>,
    /// Picture (png) of the densities of the first seed, true ones below.
    #[arg(long)]
    picture: Option<PathBuf>,
    /// Name of the recipe in the lines.
    #[arg(long, default_value = "soap-jump")]
    objective: String,
}

fn main() -> std::process::ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut tiles = Vec::new();
    for (i, seed) in arguments.seeds.iter().enumerate() {
        for name in &arguments.sets {
            let set = Toy2d::from_name(name)?;
            let run = training::train(
                arguments.config.as_deref(),
                set,
                *seed,
                arguments.data.as_deref(),
                &arguments.changes,
            )?;
            let arrays = arguments.arrays.as_ref().map(|folder| folder.join(format!("{name}-{seed}")));
            let mut line = run.line(&arguments.objective);
            line.append(&mut score::score(&run, set, arrays.as_deref())?);
            let line = serde_json::Value::Object(line).to_string();
            println!("{line}");
            if let Some(path) = &arguments.out {
                append(path, &line)?;
            }
            if i == 0 && arguments.picture.is_some() {
                tiles.push(picture::tiles(run.energy.as_ref(), set)?);
            }
        }
    }
    match &arguments.picture {
        Some(path) => picture::write(path, &tiles),
        None => Ok(()),
    }
}

fn append(path: &Path, line: &str) -> Result<()> {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut f| writeln!(f, "{line}"));
    written.map_err(|e| Error::unfit(path.display(), format!("cannot be written: {e}")))
}
