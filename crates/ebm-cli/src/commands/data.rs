//! `ebm data`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ebm::core::{Family, Key, Split, catalogue, class_list};
use ebm::inputs::{open_data, open_data_noting};
use serde_json::json;

use crate::outcome::{End, Failure, Outcome};
use crate::output::Output;

/// Kinds whose data are compiled into a program that has the kind.
const EMBEDDED: [&str; 2] = ["digits", "mnist-5k"];

/// Those of them that this program has.
fn embedded() -> Vec<&'static str> {
    EMBEDDED.into_iter().filter(|kind| catalogue::find(Family::Data, kind).is_some()).collect()
}

/// Where sets that are not embedded are to be had, by their publishers' pages.
const ELSEWHERE: [(&str, &str); 2] = [
    (
        "cifar10",
        "cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html, unpacked; then data.root = the folder",
    ),
    (
        "mnist",
        "the four IDX files from http://yann.lecun.com/exdb/mnist/; then the kind `idx`, or the embedded `mnist-5k`",
    ),
];

#[derive(Debug, Args)]
pub(crate) struct Data {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The kinds of data that are linked.
    List,
    /// Say where a set comes from; nothing is downloaded.
    Fetch {
        /// Its name.
        name: String,
    },
    /// Download a set from the Hugging Face hub to a new folder: mnist, fashion-mnist or cifar10 (feature `hub`).
    Get {
        /// Its name.
        name: String,
        /// The new folder; nothing is overwritten.
        dest: PathBuf,
    },
    /// Read a set from its first sample to its last.
    Verify {
        /// A linked kind, perhaps with settings (npy:path=a.npy,layout=channels-last), a folder or a file as of `--data`.
        what: String,
    },
    /// Draw training samples as a picture.
    Preview {
        /// A linked kind, perhaps with settings (npy:path=a.npy,layout=channels-last), a folder or a file as of `--data`.
        what: String,
        /// Number of samples.
        #[arg(long = "n", short = 'n', default_value_t = 64)]
        count: usize,
        /// Where to.
        #[arg(long, default_value = "preview.png")]
        out: PathBuf,
    },
}

impl Data {
    pub fn run(self, out: &mut Output) -> Outcome {
        catalogue::check()?;
        match self.action.unwrap_or(Action::List) {
            Action::List => list(out, self.json)?,
            Action::Fetch { name } => fetch(out, &name)?,
            Action::Get { name, dest } => get(out, &name, &dest, self.json)?,
            Action::Verify { what } => verify(out, &what, self.json)?,
            Action::Preview { what, count, out: file } => {
                if file.extension().is_none_or(|e| !e.eq_ignore_ascii_case("png")) {
                    let message = format!(
                        "--out {}: previews are PNG files, wanted a name that ends in .png",
                        file.display()
                    );
                    return Err(Failure::Usage(message));
                }
                let source = open_data(&what)?;
                let batch =
                    source.batch(0, 0, count.clamp(1, source.len().max(1)), Key::root(0).at("data"))?;
                ebm::draw::picture::write(&file, &batch.x, None)?;
                out.line(format!("{} {:?}", file.display(), batch.x.dims()))?;
            }
        }
        out.flush()?;
        Ok(End::Done)
    }
}

fn list(out: &mut Output, json: bool) -> Result<(), Failure> {
    let all: Vec<_> = catalogue::components().into_iter().filter(|c| c.family == Family::Data).collect();
    let needs = |kind: &str| if EMBEDDED.contains(&kind) { "embedded" } else { "" };
    if json {
        let rows: Vec<_> = all
            .iter()
            .map(|c| json!({ "kind": c.kind, "embedded": EMBEDDED.contains(&c.kind), "summary": c.summary }))
            .collect();
        return out.json(&rows);
    }
    for c in all {
        out.line(format!("{:<14} {:<9} {}", c.kind, needs(c.kind), c.summary))?;
    }
    out.line(format!("\n`ebm data get NAME FOLDER` downloads {}", ON_HUB.join(", ")))
}

/// Sets that [`get`] can download.
const ON_HUB: [&str; 3] = ["mnist", "fashion-mnist", "cifar10"];

fn get(out: &mut Output, name: &str, dest: &std::path::Path, json: bool) -> Result<(), Failure> {
    if !ON_HUB.contains(&name) {
        let message = format!("data get {name}: wanted one of {}", ON_HUB.join(", "));
        return Err(Failure::Usage(message));
    }
    download(out, name, dest, json)
}

#[cfg(feature = "hub")]
fn download(out: &mut Output, name: &str, dest: &std::path::Path, json: bool) -> Result<(), Failure> {
    use ebm::data::hub::{self, Published};
    let Some(set) = Published::ALL.into_iter().find(|s| s.name() == name) else {
        return Err(Failure::Usage(format!("data get {name}: is unknown to this build")));
    };
    let files = hub::get(set, dest).map_err(Error::from)?;
    if json {
        let rows: Vec<_> = files
            .iter()
            .map(|f| json!({ "path": f.path, "sha256": f.sha256, "as_published": f.known }))
            .collect();
        return out.json(&rows);
    }
    for f in files {
        let known = match f.known {
            Some(true) => "as published",
            Some(false) => "NOT the digest of the published file",
            None => "",
        };
        out.line(format!("{} {} {known}", f.sha256, f.path.display()))?;
    }
    Ok(())
}

#[cfg(not(feature = "hub"))]
fn download(_: &mut Output, name: &str, dest: &std::path::Path, _: bool) -> Result<(), Failure> {
    Err(Failure::Usage(format!(
        "data get {name}: this program was built without the feature `hub`; build it with \
         `cargo install --path crates/ebm-cli --features hub` or run \
         `cargo run --release -p ebm-cli --features hub -- data get {name} {}` (needs a C compiler)",
        dest.display()
    )))
}

fn fetch(out: &mut Output, name: &str) -> Result<(), Failure> {
    if embedded().contains(&name) {
        return out.line(format!("{name} is embedded in this program: there is nothing to fetch"));
    }
    let place = ELSEWHERE.iter().find(|(n, _)| *n == name).map(|(_, place)| *place);
    let message = match place {
        Some(place) => format!(
            "{name}: `ebm data get {name} FOLDER` downloads it in a program with the feature `hub`; by hand: {place}"
        ),
        None => format!(
            "{name}: cannot be fetched; embedded sets are {}, your own files are named by `--data PATH`",
            embedded().join(" and ")
        ),
    };
    Err(Failure::Usage(message))
}

fn verify(out: &mut Output, what: &str, json: bool) -> Result<(), Failure> {
    let (source, notes) = open_data_noting(what)?;
    // Every training sample passes through the reader once, in batches as training sees them.
    let size = 256.min(source.len().max(1));
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for index in 0..source.batches(size) {
        let x = source.batch(0, index, size, Key::root(0).at("data"))?.x;
        let x = x.to_dtype(ebm::core::candle::DType::F64).and_then(|x| x.flatten_all()?.to_vec1::<f64>());
        for v in x.map_err(ebm::core::Error::from)? {
            if !v.is_finite() {
                return Err(
                    ebm::core::Error::data(what, format!("holds the value {v} in batch {index}")).into()
                );
            }
            (low, high) = (low.min(v), high.max(v));
        }
    }
    let held = source.held_out()?;
    let labels = source.stored(Split::Train, 1)?.is_some_and(|l| l.labels.is_some());
    if json {
        return out.json(&json!({
            "data": what, "training": source.len(), "held_out": held, "sample_shape": source.sample_shape(),
            "smallest": low, "largest": high, "labels": labels, "class_names": source.class_names(),
            "notes": notes,
        }));
    }
    out.line(format!(
        "{what}: {} training and {held} held-out samples of shape {:?}, values {low:.4} to {high:.4}, {}",
        source.len(),
        source.sample_shape(),
        match (labels, source.class_names()) {
            (false, _) => "without labels".to_string(),
            (true, []) => "with labels".to_string(),
            (true, names) => format!("with labels of {} classes: {}", names.len(), class_list(names)),
        }
    ))?;
    notes.iter().try_for_each(|note| out.line(note))
}
