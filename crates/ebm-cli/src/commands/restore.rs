//! `ebm restore`.

use std::path::PathBuf;

use clap::Args;
use ebm::core::candle::Tensor;
use ebm_observers::picture;

use crate::output::Output;
use crate::{End, Outcome, args};
use ebm::Error;
use ebm::model::Model;
use ebm::model::RestoreOptions;
use ebm::whole_file::{free, replace};

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// A run directory, a configuration (whose energy may name the weights of runs), or a composition: a line such as
    /// 'runs/a given 3 and not 0.3 * runs/b' (see `ebm compose --help`).
    #[arg(value_name = "RUN|CONFIG.toml")]
    target: PathBuf,
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
    /// Steps of the program; as configured without it.
    #[arg(long)]
    steps: Option<usize>,
    /// Seed; that of the run without it.
    #[arg(long)]
    seed: Option<u64>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long)]
    device: Option<String>,
    /// A sheet: the image, what is seen of it, the completions.
    #[arg(long, value_name = "FILE.png", default_value = "restored.png")]
    out: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
}

impl Restore {
    pub fn run(self, out: &mut Output) -> Outcome {
        if self.count == 0 {
            return Err(Error::Usage("--n 0: wanted at least 1".into()).into());
        }
        let hole = match self.hole[..] {
            [] => None,
            [top, left, height, width] => Some([top, left, height, width]),
            _ => {
                let found = self.hole.len();
                return Err(Error::Usage(format!(
                    "--hole: found {found} numbers, wanted four: top,left,height,width"
                ))
                .into());
            }
        };
        if self.out.extension().and_then(|e| e.to_str()) != Some("png") {
            return Err(
                Error::Usage(format!("--out {}: wanted a file ending in .png", self.out.display())).into()
            );
        }
        if self.noise.is_none() && self.temperature != 1.0 {
            return Err(Error::Usage("--temperature: is used with --noise only".into()).into());
        }
        free("--out", &self.out, self.force)?;
        let model = Model::open(&self.target, &args::numbers(None, None, self.device.as_deref())?)?;
        let options = RestoreOptions {
            image: self.image,
            mask: self.mask,
            hole,
            grey: self.grey,
            noise: self.noise,
            temperature: self.temperature,
            count: self.count,
            steps: self.steps,
            seed: self.seed,
        };
        let restored = ebm::model::restore(&model, &options)?;
        let cpu = |t: &Tensor| {
            t.to_device(&ebm::core::candle::Device::Cpu)
                .and_then(|t| t.to_dtype(ebm::core::candle::DType::F32))
        };
        let sheet = cpu(&restored.samples)
            .and_then(|s| Tensor::cat(&[&restored.image, &restored.seen, &s], 0))
            .map_err(ebm::core::Error::from)?;
        replace(&self.out, &picture::encode(&sheet, None)?)?;
        out.line(format!("{} {:?}", self.out.display(), restored.samples.dims()))?;
        out.flush()?;
        Ok(End::Done)
    }
}
