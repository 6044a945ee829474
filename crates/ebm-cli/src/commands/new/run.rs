//! `ebm new run`: a configuration with comments, out of the catalogue.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ebm::core::{DataSource, Domain, Family, Param, ParamKind, catalogue};
use ebm::inputs::{data_setting_from, open_data};
use ebm::train::{RUN_SECTIONS, RunConfig};
use ebm::whole_file;
use toml::{Table, Value};

use crate::args::ForceArg;
use crate::commands::schema;
use crate::outcome::{End, Failure, Outcome};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct NewRun {
    /// The configuration to write.
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
    /// What to train on: a linked kind, perhaps with settings (npy:path=a.npy), a folder of images, an .npy, CSV or IDX file.
    #[arg(long, value_name = "NAME|PATH", default_value = "digits")]
    data: String,
    /// How to train: contrastive, denoising or noise-contrast; of discrete samples contrastive or pseudo-likelihood.
    #[arg(long, value_enum, default_value_t = Recipe::Contrastive)]
    recipe: Recipe,
    #[command(flatten)]
    force: ForceArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Recipe {
    /// Contrastive divergence with chains that go on (Tieleman 2008).
    Contrastive,
    /// Denoising score matching; nothing is sampled in training.
    Denoising,
    /// Noise contrast, which learns log Z too; for points and tables.
    NoiseContrast,
    /// Pseudo-likelihood of spins and bits; nothing is sampled in training.
    PseudoLikelihood,
}

impl NewRun {
    pub fn run(self, out: &mut Output) -> Outcome {
        whole_file::free("file", &self.file, self.force.force)?;
        let folder = self.file.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let source = open_data(&self.data)?;
        let mut sections: Vec<(&str, String)> = self.recipe.sections(source.as_ref())?;
        let data = data_setting_from(folder, &self.data)?;
        let name = self.file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let run = format!("name = {}\nseed = 0\nsteps = 5000\nbatch = 128", Value::from(name));
        sections.insert(0, ("run", run));
        sections.insert(1, ("data", toml_of(&data)?));
        let schema_file = folder.join("ebm.schema.json");
        let text = written(&sections)?;
        RunConfig::from_toml(&text)?;
        whole_file::replace(&self.file, text.as_bytes())?;
        // What is linked says what editors complete; it may be written anew at any time.
        whole_file::replace(&schema_file, whole_file::json(&schema::schema())?.as_bytes())?;
        let file = self.file.display();
        out.line(format!("{file}: `ebm check {file}` says what it costs, `ebm train {file}` trains"))?;
        out.flush()?;
        Ok(End::Done)
    }
}

fn toml_of(value: &Value) -> Result<String, Failure> {
    let table = value.as_table().cloned().unwrap_or_default();
    toml::to_string(&table).map_err(|e| Failure::Usage(format!("the data: {e}")))
}

impl Recipe {
    /// Sections of a run on these data, as TOML.
    fn sections(self, data: &dyn DataSource) -> Result<Vec<(&'static str, String)>, Failure> {
        let images = data.sample_shape().len() == 3;
        let discrete = data.domain().is_discrete();
        let clamp =
            data.range().map_or(String::new(), |(low, high)| format!(", clamp = [{low:?}, {high:?}]"));
        if discrete != (self == Recipe::PseudoLikelihood) && !(discrete && self == Recipe::Contrastive) {
            let found = if discrete { "takes a few values alone" } else { "are real numbers" };
            return Err(Failure::Usage(format!(
                "--recipe: the data {found}; `denoising` and `noise-contrast` are for real numbers, `pseudo-likelihood` for spins and \
                 bits (data with `values = \"spins\"` or `binary = \"threshold\"`), `contrastive` for both"
            )));
        }
        let net = match (discrete, data.domain(), images) {
            (true, Domain::Binary, _) => "kind = \"rbm\"\nhidden = 64",
            (true, ..) => "kind = \"ising\"",
            (_, _, true) => "kind = \"mlp\"\nhidden = [256, 256]\nactivation = \"swish\"",
            _ => "kind = \"mlp\"\nhidden = [128, 128]\nactivation = \"swish\"",
        };
        let adam = "kind = \"adam\"\nrate = 1e-3\nbetas = [0.0, 0.9]\nclip_norm = 0.5\naverage = 0.99";
        let steady = "kind = \"adam\"\nrate = 1e-3\nbetas = [0.9, 0.99]\naverage = 0.99\nschedule = { shape = \"cosine\", end = 0.0 }";
        let langevin = match images {
            true => format!("kind = \"langevin\", step_size = 1.0, noise = 0.03{clamp}"),
            false => format!("kind = \"langevin\", step_size = 0.01, noise = 0.141{clamp}"),
        };
        let moves = match (discrete, data.domain()) {
            (true, Domain::Binary) => "kind = \"block-gibbs\"".to_string(),
            (true, _) => "kind = \"gibbs-with-gradients\"".to_string(),
            _ => langevin,
        };
        let chain = |steps: usize, moves: &str| {
            format!("kind = \"chain\"\nsteps = {steps}\ntransition = {{ {moves} }}")
        };
        let mala = "kind = \"mala\", step_size = 0.005, target_acceptance = 0.65";
        let generating = if discrete { moves.as_str() } else { mala };
        Ok(match self {
            Recipe::Contrastive => vec![
                ("energy", net.into()),
                ("sampler", chain(20, &moves)),
                ("chains", "from = \"replay\"\nrestart = 0.05".into()),
                ("replay", "kind = \"random-overwrite\"\ncapacity = 10000".into()),
                ("objective", "kind = \"contrastive\"\nenergy_l2 = 1.0".into()),
                ("optimiser", adam.into()),
                ("generate", "steps = 200\ncount = 64".into()),
            ],
            Recipe::Denoising if images => vec![
                (
                    "energy",
                    "kind = \"noise-conditioned\"\nenergy = { kind = \"mlp\", hidden = [256, 256, 256], activation = \"swish\", conditional = true }"
                        .into(),
                ),
                (
                    "objective",
                    "kind = \"denoising-score-matching\"\nlevels = { mean = -1.5, deviation = 1.4, range = [0.01, 40.0] }\nantithetic = false"
                        .into(),
                ),
                ("optimiser", steady.into()),
                (
                    "generate",
                    format!("sampler = {{ kind = \"probability-flow\", levels = 20, highest = 20.0, lowest = 0.01{clamp} }}\ncount = 64"),
                ),
            ],
            Recipe::Denoising => vec![
                ("energy", net.into()),
                ("objective", "kind = \"denoising-score-matching\"\nsigma = 0.05".into()),
                ("optimiser", steady.into()),
                ("sampler", chain(400, mala)),
            ],
            Recipe::NoiseContrast | Recipe::PseudoLikelihood => vec![
                ("energy", net.into()),
                (
                    "objective",
                    format!("kind = \"{}\"", if self == Recipe::NoiseContrast { "noise-contrast" } else { "pseudo-likelihood" }),
                ),
                ("optimiser", steady.into()),
                ("sampler", chain(400, generating)),
            ],
        })
    }
}

/// The sections with what each setting means, and those that keep their default as comments.
fn written(sections: &[(&str, String)]) -> Result<String, Failure> {
    let mut text = String::from(
        "#:schema ./ebm.schema.json\n# Settings that begin with `#` have the value that stands there; `ebm plugins show KIND` tells more.\nformat = 1\n",
    );
    for (name, body) in sections {
        let table: Table = body.parse().map_err(|e| Failure::Usage(format!("section `{name}`: {e}")))?;
        let of_run = RUN_SECTIONS.iter().find(|p| p.name == *name);
        let doc = of_run.map_or("", |p| p.doc);
        text += &format!("\n# {doc}\n[{name}]\n");
        let params = match (of_run.map(|p| p.kind), table.get("kind").and_then(Value::as_str)) {
            (Some(ParamKind::Part(family)), Some(kind)) => {
                let c = catalogue::find(family, kind).ok_or_else(|| unlinked(family, kind))?;
                text += &format!("# {}: {}.\nkind = {:?}\n", c.kind, c.summary, c.kind);
                c.params
            }
            (Some(ParamKind::Table(inner)), _) => inner,
            _ => &[],
        };
        settings(&mut text, params, &table);
    }
    for (family, kind) in [(Family::Observer, "progress"), (Family::Observer, "jsonl")] {
        text += &format!("\n[[{}]]\nkind = {kind:?}\n", family.name());
    }
    text += "\n[[policy]]\nkind = \"checkpoint\"\nevery = 1000\n\n# Ends a run whose energies run away.\n[[policy]]\nkind = \"stop-on-divergence\"\nmax_energy = 1000.0\n";
    Ok(text)
}

fn unlinked(family: Family, kind: &str) -> Failure {
    Failure::Usage(format!(
        "{} `{kind}` is not linked; the recipes are made of the standard set: write `use ebm_plugins as _;` in main.rs",
        family.name()
    ))
}

fn settings(text: &mut String, params: &[Param], given: &Table) {
    for p in params {
        let range = match p.range() {
            r if r.is_empty() => String::new(),
            r => format!(" ({r})"),
        };
        let line = p.doc.replace('\n', " ");
        match (given.get(p.name), p.default) {
            (Some(v), _) => *text += &format!("# {line}{range}\n{} = {v}\n", p.name),
            (None, Some(default)) if default != "none" => {
                *text += &format!("# {line}{range}\n# {} = {default}\n", p.name)
            }
            _ => {}
        }
    }
}
