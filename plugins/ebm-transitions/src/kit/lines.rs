//! Linear maps along the rows and columns of images, of each image its own.

use ebm_core::Result;
use ebm_core::candle::Tensor;

/// `R · x · Kᵀ` for each channel of the images `x (B, C, H, W)` with `rows` R `(B, H, H)` and `columns` K `(B, W, W)`;
/// none stands for the identity.
///
/// # Errors
/// If shapes differ.
pub fn along(x: &Tensor, rows: Option<&Tensor>, columns: Option<&Tensor>) -> Result<Tensor> {
    let (images, channels, height, width) = x.dims4()?;
    let mut x = x.clone();
    if let Some(columns) = columns {
        let lines = x.reshape((images, channels * height, width))?;
        x = lines.matmul(&columns.transpose(1, 2)?)?.reshape((images, channels, height, width))?;
    }
    if let Some(rows) = rows {
        x = rows.unsqueeze(1)?.broadcast_matmul(&x)?;
    }
    Ok(x)
}

/// Where the pixels of an image are taken from: for each row and each column a place in pixels, between two of them
/// by linear interpolation. Places lie inside of the image.
///
/// ```
/// use ebm_core::candle::{Device, Tensor};
/// use ebm_transitions::kit::{View, look};
///
/// let x = Tensor::new(&[[[[1f32, 2.0, 4.0]]]], &Device::Cpu)?;
/// let mut view = View::whole(1, 3);
/// view.columns = vec![2.0, 1.5, 0.0];
/// assert_eq!(look(&x, &[view])?.flatten_all()?.to_vec1::<f32>()?, [4.0, 3.0, 1.0]);
/// # Ok::<(), ebm_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct View {
    /// For each row of the result its place, in pixels from the top.
    pub rows: Vec<f32>,
    /// For each column of the result its place, in pixels from the left.
    pub columns: Vec<f32>,
}

impl View {
    /// The image as it is.
    pub fn whole(height: usize, width: usize) -> View {
        View {
            rows: (0..height).map(|i| i as f32).collect(),
            columns: (0..width).map(|i| i as f32).collect(),
        }
    }
}

/// The views, one for each image of `x (B, C, H, W)`. A pixel at a whole place keeps its bits.
///
/// # Errors
/// If the views are not as many as the images, or not of their size.
pub fn look(x: &Tensor, views: &[View]) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let lines = |n: usize, places: fn(&View) -> &[f32]| -> Result<Option<Tensor>> {
        let stays = |v: &View| places(v).iter().enumerate().all(|(i, place)| *place == i as f32);
        if views.iter().all(stays) {
            return Ok(None);
        }
        let all: Vec<f32> = views.iter().flat_map(places).copied().collect();
        let all = Tensor::from_vec(all, (views.len(), n, 1), x.device())?;
        let pixels = Tensor::arange(0f32, n as f32, x.device())?.reshape((1, 1, n))?;
        // The weight of a pixel falls to 0 at the next one.
        Ok(Some(pixels.broadcast_sub(&all)?.abs()?.affine(-1.0, 1.0)?.relu()?))
    };
    let (rows, columns) = (lines(height, |v| &v.rows)?, lines(width, |v| &v.columns)?);
    along(x, rows.as_ref(), columns.as_ref())
}
