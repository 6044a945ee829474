//! `ebm eval plane`.

use std::path::PathBuf;

use clap::Args;
use ebm::measure::{Over, PlaneComparison, PlaneOptions, compare_on_plane};
use ebm::{Error, whole_file};

use super::log_z;
use crate::args::{ForceArg, ModelArgs, SeedArg};
use crate::outcome::Outcome;
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Plane {
    #[command(flatten)]
    model: ModelArgs,
    /// The other density: a run, a configuration, or an energy in TOML such as '{ kind = "rings" }'.
    #[arg(long, value_name = "RUN|CONFIG.toml|TOML")]
    against: String,
    /// Half the side of a square around 0 to which both densities are restricted; without it squares are found that
    /// hold all but a thousandth of the mass.
    #[arg(long)]
    half: Option<f64>,
    /// Cells a side of that square, and of the picture.
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u64).range(1..=4000))]
    cells: u64,
    /// Temperature T of the first density, exp(-E/T).
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Samples of the first that are drawn by its program and compared with exact draws of the other; 0 for none.
    #[arg(long = "n", short = 'n', value_name = "N", default_value_t = 0)]
    count: usize,
    #[command(flatten)]
    seed: SeedArg,
    /// Draw both densities (their square roots) side by side.
    #[arg(long, value_name = "FILE.png")]
    picture: Option<PathBuf>,
    #[command(flatten)]
    force: ForceArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Plane {
    pub fn run(self, out: &mut Output) -> Outcome {
        if let Some(path) = &self.picture {
            if path.extension().and_then(|e| e.to_str()) != Some("png") {
                return Err(Error::invalid("picture", path.display(), "a file ending in .png").into());
            }
            whole_file::free("picture", path, self.force.force)?;
        }
        let model = self.model.open()?;
        let options = PlaneOptions {
            against: self.against,
            half: self.half,
            cells: self.cells as usize,
            temperature: self.temperature,
            count: self.count,
            seed: self.seed.seed,
            picture: self.picture,
        };
        let found = compare_on_plane(&model, &options)?;
        out.found(self.json, &found, || table(&found))
    }
}

/// What a density was integrated over, in words.
fn over(of: &Over) -> String {
    match of {
        Over::Found(p) => log_z::over(p),
        Over::Asked { half, cells, outside: Ok(share) } => format!(
            "over [-{half}, {half}]², {cells} x {cells} cells; outside {:.2} % of the mass, which is left out",
            100.0 * share
        ),
        Over::Asked { half, cells, outside: Err(why) } => {
            format!("over [-{half}, {half}]², {cells} x {cells} cells; outside an unknown share: {why}")
        }
    }
}

/// The figures as lines.
fn table(found: &PlaneComparison) -> String {
    let d = &found.distance;
    let mut text = format!("against {}; temperature {}\n", found.against, found.temperature);
    for (name, of) in [("this density", &found.over), ("the other", &found.over_other)] {
        text += &format!("{name:<22} {}\n", over(of));
    }
    for (name, value) in [
        ("log Z", d.log_z.0),
        ("log Z of the other", d.log_z.1),
        ("total variation", d.total_variation),
        ("Jensen-Shannon", d.jensen_shannon),
        ("KL(this, other)", d.kl),
        ("KL(other, this)", d.reverse_kl),
    ] {
        text += &format!("{name:<22} {value:>12.5}\n");
    }
    if let Some(s) = found.samples {
        let rows = [
            ("MMD²", s.mmd2, s.mmd2_exact),
            ("sliced Wasserstein", s.sliced_wasserstein, s.sliced_wasserstein_exact),
        ];
        for (name, value, exact) in rows {
            text += &format!("{name:<22} {value:>12.5}  ({exact:.5} of two sets of exact draws)\n");
        }
    }
    text
}
