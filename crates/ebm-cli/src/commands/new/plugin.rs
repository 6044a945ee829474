//! `ebm new plugin`: a crate of its own around one kind, from the working example of its family.

use std::path::{Path, PathBuf};

use clap::Args;
use ebm::core::{Family, catalogue};
use ebm::whole_file;

use crate::outcome::{End, Failure, Outcome, io};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct NewPlugin {
    /// Name of the kind and of the crate: small letters, digits and `-`, such as `my-energy`.
    #[arg(value_name = "NAME")]
    name: String,
    /// What it is: energy, transition, sampler, entropy, objective, replay, data, optimiser, observer, policy.
    #[arg(long, value_name = "FAMILY")]
    kind: String,
    /// Where the crates of the framework are: a folder with its workspace, a git address, or a version of the registry.
    #[arg(long, value_name = "FOLDER|URL|VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    ebm: String,
    /// The folder to make; without it one of the crate's name. It must not be there, or be empty.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// The working example of each family: its text, its kind, its type.
const EXAMPLES: [(Family, &str, &str, &str); 10] = [
    (Family::Energy, include_str!("../../../templates/energy.rs"), "squared-experts", "SquaredExperts"),
    (Family::Transition, include_str!("../../../templates/transition.rs"), "leaping", "Leaping"),
    (Family::Sampler, include_str!("../../../templates/sampler.rs"), "two-speed", "TwoSpeed"),
    (Family::Entropy, include_str!("../../../templates/entropy.rs"), "spread", "Spread"),
    (Family::Objective, include_str!("../../../templates/objective.rs"), "denoising", "Denoising"),
    (Family::Replay, include_str!("../../../templates/replay.rs"), "newest", "Newest"),
    (Family::Data, include_str!("../../../templates/data.rs"), "spiral", "Spiral"),
    (Family::Optimiser, include_str!("../../../templates/optimiser.rs"), "heavy-ball", "HeavyBall"),
    (Family::Observer, include_str!("../../../templates/observer.rs"), "lines", "Lines"),
    (Family::Policy, include_str!("../../../templates/policy.rs"), "halving", "Halving"),
];

/// The sections of a run on the two moons, in their order; a plugin takes the place of one of its family.
const SECTIONS: [(&str, &str); 9] = [
    ("data", "[data]\nkind = \"toy2d\"\nname = \"moons\""),
    ("energy", "[energy]\nkind = \"mlp\"\nhidden = [32, 32]"),
    (
        "sampler",
        "# Noise is the square root of twice the step size: temperature 1.\n[sampler]\nkind = \"chain\"\nsteps = 8\n\
         transition = { kind = \"langevin\", step_size = 0.01, noise = 0.141 }",
    ),
    ("replay", "[replay]\nkind = \"random-overwrite\"\ncapacity = 1000"),
    ("objective", "[objective]\nkind = \"contrastive\"\nenergy_l2 = 0.1"),
    ("optimiser", "[optimiser]\nkind = \"adam\"\nrate = 1e-3"),
    ("generate", "[generate]\nsteps = 50"),
    ("observer", "[[observer]]\nkind = \"jsonl\""),
    ("policy", ""),
];

impl NewPlugin {
    pub fn run(self, out: &mut Output) -> Outcome {
        let family = Family::named(&self.kind).ok_or_else(|| {
            let all: Vec<&str> = Family::ALL.into_iter().map(Family::name).collect();
            Failure::Usage(format!("--kind: found `{}`, wanted one of {}", self.kind, all.join(", ")))
        })?;
        self.check(family)?;
        let folder = self.out.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        whole_file::new("out", &folder)?;
        let files = self.files(family)?;
        whole_file::make_folder(&folder, |at| {
            for (name, text) in &files {
                let path = at.join(name);
                let parent = path.parent().unwrap_or(at);
                std::fs::create_dir_all(parent).map_err(io(parent))?;
                whole_file::replace(&path, text.as_bytes())?;
            }
            Ok(())
        })?;
        let at = folder.display();
        out.line(format!("{at}: {} `{}` to begin with; in that folder", family.one(), self.name))?;
        out.line("  cargo test                        holds it to the laws of its family")?;
        out.line("  cargo run -- train run.toml       trains with it")?;
        out.line(format!("  cargo run -- plugins show {}", self.name))?;
        out.flush()?;
        Ok(End::Done)
    }

    /// A name that is a package, a crate and a kind, and nobody else's.
    fn check(&self, family: Family) -> Result<(), Failure> {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let parts = self.name.split('-').all(|p| p.starts_with(|c: char| c.is_ascii_lowercase()));
        if !parts || !self.name.chars().all(letters) || self.name.len() > 64 {
            return Err(Failure::Usage(format!(
                "NAME: found `{}`, wanted words of small letters and digits with `-` between them, such as `my-energy`",
                self.name
            )));
        }
        // Words of the language are no names of crates, and a crate that has the name of one that it uses hides it.
        const TAKEN: [&str; 24] = [
            "as", "break", "const", "continue", "crate", "dyn", "else", "enum", "fn", "for", "if", "impl",
            "in", "loop", "match", "mod", "move", "ref", "self", "static", "test", "core", "std", "ebm",
        ];
        if TAKEN.contains(&self.name.as_str()) || self.name.starts_with("ebm-") {
            return Err(Failure::Usage(format!(
                "NAME: `{}` is a word of the language or of the framework; choose another, such as `my-{}`",
                self.name,
                family.name()
            )));
        }
        if let Some(c) = catalogue::find(family, &self.name) {
            return Err(Failure::Usage(format!(
                "NAME: {} `{}` is there already, from {}; choose another",
                family.name(),
                self.name,
                c.origin
            )));
        }
        Ok(())
    }

    fn files(&self, family: Family) -> Result<Vec<(&'static str, String)>, Failure> {
        let (_, text, kind, name) = EXAMPLES
            .into_iter()
            .find(|(f, ..)| *f == family)
            .ok_or_else(|| Failure::Usage(format!("there is no example of {}", family.one())))?;
        // As a name alone: `lines` is also a function.
        let code = ['"', '`'].iter().fold(text.replace(name, &pascal(&self.name)), |code, quote| {
            code.replace(&format!("{quote}{kind}{quote}"), &format!("{quote}{}{quote}", self.name))
        });
        let lib = self.name.replace('-', "_");
        let main = format!(
            "//! The `ebm` command with the plugin of this crate.\n\nuse ebm_plugins as _;\n// Without this line the linker drops the plugin.\n\
             use {lib} as _;\n\nfn main() -> std::process::ExitCode {{\n    ebm_cli::main()\n}}\n"
        );
        let test = format!(
            "//! Every kind of this crate keeps the laws of its family.\n\n// Examples may name standard kinds.\nuse ebm_plugins as _;\n\n\
             ebm_testkit::conformance!({lib});\n"
        );
        Ok(vec![
            ("Cargo.toml", self.manifest()?),
            ("src/lib.rs", code),
            ("src/main.rs", main),
            ("tests/conformance.rs", test),
            ("run.toml", self.run_file(family)),
            ("README.md", self.readme(family)),
            ("LICENSE-MIT", include_str!("../../../templates/LICENSE-MIT").into()),
            (".gitignore", "/target\n/run\nebm.schema.json\n".into()),
        ])
    }

    fn manifest(&self) -> Result<String, Failure> {
        let from = |folder: &str, name: &str, rest: &str| -> Result<String, Failure> {
            let place = self.place(&format!("{folder}/{name}"))?;
            Ok(format!("{name} = {{ {place}{rest} }}\n"))
        };
        let mut text = format!(
            "[package]\nname = \"{}\"\nversion = \"0.1.0\"\nedition = \"2024\"\nrust-version = \"1.95\"\nlicense = \"MIT\"\n\n\
             # A workspace of its own, wherever the folder stands.\n[workspace]\n\n[dependencies]\n",
            self.name
        );
        text += &from("crates", "ebm-cli", ", default-features = false")?;
        text += &from("crates", "ebm-core", "")?;
        text += &from("plugins", "ebm-plugins", "")?;
        text += "serde = { version = \"1\", features = [\"derive\"] }\nserde_json = \"1\"\n\n[dev-dependencies]\n";
        text += &from("crates", "ebm-testkit", "")?;
        text += "\n";
        text += include_str!("../../../templates/profile.toml");
        Ok(text)
    }

    /// Where a crate of the framework is, as Cargo has it.
    fn place(&self, below: &str) -> Result<String, Failure> {
        let from = self.ebm.as_str();
        if from.contains("://") || from.starts_with("git@") || from.ends_with(".git") {
            return Ok(format!("git = {}", toml::Value::from(from)));
        }
        let version = from.starts_with(|c: char| c.is_ascii_digit()) && !from.contains(['/', '\\']);
        if version && !Path::new(from).exists() {
            return Ok(format!("version = {}", toml::Value::from(from)));
        }
        let folder = Path::new(from).join(below);
        if !folder.join("Cargo.toml").is_file() {
            return Err(Failure::Usage(format!(
                "--ebm: found `{from}`, which has no {below}/Cargo.toml; wanted the folder of the framework's workspace, a git \
                 address, or a version"
            )));
        }
        let folder = std::fs::canonicalize(&folder).map_err(io(&folder))?;
        Ok(format!("path = {}", toml::Value::from(folder.to_string_lossy().into_owned())))
    }

    fn run_file(&self, family: Family) -> String {
        let own = |settings: &str| format!("kind = \"{}\"\n{settings}", self.name);
        let (place, section) = match family {
            Family::Energy => ("energy", format!("[energy]\n{}", own("experts = 4"))),
            Family::Transition => (
                "sampler",
                format!(
                    "[sampler]\nkind = \"chain\"\nsteps = 8\ntransition = {{ kind = \"{}\", step_size = 0.01, noise = 0.141, leaps = 0.01 }}",
                    self.name
                ),
            ),
            Family::Sampler => (
                "sampler",
                format!(
                    "[sampler]\n{}",
                    own("steps = 8\ncoarse = { kind = \"langevin\", step_size = 0.01, noise = 0.141 }\n\
                         fine = { kind = \"langevin\", step_size = 0.002, noise = 0.063 }")
                ),
            ),
            Family::Entropy => (
                "objective",
                format!(
                    "[objective]\nkind = \"contrastive\"\nenergy_l2 = 0.1\nkl = {{ weight = 0.1, trail = 1 }}\n\
                     entropy = {{ weight = 0.01, bank = 100, bank_above = 500, estimator = {{ kind = \"{}\" }} }}",
                    self.name
                ),
            ),
            Family::Objective => ("objective", format!("[objective]\n{}", own("sigma = 0.1"))),
            Family::Replay => ("replay", format!("[replay]\n{}", own("capacity = 1000"))),
            Family::Data => ("data", format!("[data]\n{}", own("noise = 0.05"))),
            Family::Optimiser => ("optimiser", format!("[optimiser]\n{}", own("rate = 1e-3"))),
            Family::Observer => (
                "observer",
                format!("[[observer]]\nkind = \"jsonl\"\n\n[[observer]]\n{}", own("file = \"energies.txt\"")),
            ),
            Family::Policy => ("policy", format!("[[policy]]\n{}", own("limit = 100.0"))),
        };
        let mut text = format!(
            "#:schema ./ebm.schema.json\n# A short run with {} `{}`: `cargo run -- train run.toml --out run`.\n\
             # The schema is for editors: `cargo run -- plugins schema > ebm.schema.json`.\nformat = 1\n\n\
             [run]\nname = \"{}\"\nsteps = 300\nbatch = 64\n",
            family.name(),
            self.name,
            self.name
        );
        let all = SECTIONS.iter().map(|(name, usual)| if *name == place { section.as_str() } else { usual });
        for section in all.filter(|s| !s.is_empty()) {
            text += &format!("\n{section}\n");
        }
        text
    }

    fn readme(&self, family: Family) -> String {
        format!(
            "# {}\n\n{} for the `ebm` framework.\n\n    cargo test                                  # the laws of its family\n    \
             cargo run -- plugins show {}\n    cargo run -- train run.toml --out run\n    cargo run -- report run\n\n\
             `src/lib.rs` has the kind, `src/main.rs` the command line that knows it, `tests/conformance.rs` its test. Whoever else wants\n\
             the kind depends on this crate and writes `use {} as _;` in a binary of theirs.\n",
            self.name,
            capital(family.one()),
            self.name,
            self.name.replace('-', "_")
        )
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `my-energy` as a type: `MyEnergy`.
fn pascal(name: &str) -> String {
    name.split('-').map(capital).collect()
}
