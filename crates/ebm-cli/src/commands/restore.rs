//! `ebm restore`: pictures of which a part is given, completed.

use std::path::PathBuf;

use clap::Args;
use ebm::Error;
use ebm::model::{RestoreOptions, restore};
use ebm::whole_file::{free, replace};

use crate::args::{DrawArgs, ForceArg, ModelArgs};
use crate::outcome::{End, Failure, Outcome};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    model: ModelArgs,
    /// The picture, of the size of the model's samples.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// A picture that is white where the image is given, black where it is to be filled.
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// A rectangle to be filled, in pixels.
    #[arg(long, value_name = "TOP,LEFT,HEIGHT,WIDTH", value_delimiter = ',', num_args = 1)]
    hole: Vec<usize>,
    /// Only the grey is given: colourise.
    #[arg(long)]
    grey: bool,
    /// What is given has noise of this standard deviation: denoise.
    #[arg(long, value_name = "SD")]
    noise: Option<f64>,
    /// Temperature of the sampler, for --noise; of cold Langevin steps of size λ and noise σ it is about σ²/(2λ).
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Number of completions.
    #[arg(long = "n", short = 'n', default_value_t = 14)]
    count: usize,
    #[command(flatten)]
    draw: DrawArgs,
    /// A sheet: the image, what is seen of it, the completions.
    #[arg(long, value_name = "FILE.png", default_value = "restored.png")]
    out: PathBuf,
    #[command(flatten)]
    force: ForceArg,
}

impl Restore {
    pub fn run(self, out: &mut Output) -> Outcome {
        if self.count == 0 {
            return Err(Error::invalid("count", 0, "at least 1").into());
        }
        let hole = match self.hole[..] {
            [] => None,
            [top, left, height, width] => Some([top, left, height, width]),
            _ => {
                let found = self.hole.len();
                let wanted = format!("four numbers, top,left,height,width, found {found} numbers");
                return Err(Error::invalid("hole", "", wanted).into());
            }
        };
        if self.out.extension().and_then(|e| e.to_str()) != Some("png") {
            return Err(Error::invalid("out", self.out.display(), "a file ending in .png").into());
        }
        if self.noise.is_none() && self.temperature != 1.0 {
            return Err(Failure::Usage("--temperature: is used with --noise only".into()));
        }
        free("out", &self.out, self.force.force)?;
        let model = self.model.open()?;
        let options = RestoreOptions {
            image: self.image,
            mask: self.mask,
            hole,
            grey: self.grey,
            noise: self.noise,
            temperature: self.temperature,
            count: self.count,
            steps: self.draw.steps,
            seed: self.draw.seed.seed,
        };
        let restored = restore(&model, &options)?;
        replace(&self.out, &restored.sheet()?)?;
        out.line(format!("{} {:?}", self.out.display(), restored.samples.dims()))?;
        out.flush()?;
        Ok(End::Done)
    }
}
