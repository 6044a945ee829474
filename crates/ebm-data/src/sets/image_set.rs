//! Images as bytes `(N, C, H, W)` with optional labels: what every image reader returns.

use crate::{DataError, Result};

/// Equally sized images with values `0..levels`, in memory as one byte a value.
///
/// The grey value `v` stands for the intensity `v / (levels − 1)` in [0, 1]: 256 levels for ordinary
/// files, 17 for the UCI digits.
///
/// ```
/// use ebm_data::ImageSet;
/// let set = ImageSet::new(vec![0, 1, 2, 3, 3, 2, 1, 0], (1, 2, 2), 4)?
///     .with_labels(vec![0, 1], vec!["up".into(), "down".into()])?;
/// assert_eq!((set.len(), set.shape()), (2, (1, 2, 2)));
/// assert_eq!(set.unit_values()[3], 1.0);
/// # Ok::<(), ebm_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSet {
    images: Vec<u8>,
    shape: (usize, usize, usize),
    labels: Option<Vec<u32>>,
    levels: u32,
    class_names: Vec<String>,
}

impl ImageSet {
    /// Images `(N, C, H, W)` from their bytes and the shape `(C, H, W)` of one of them.
    ///
    /// # Errors
    /// If the shape is empty, the bytes are no multiple of it, `levels` is not in 2..=256, or a byte is
    /// not below `levels`.
    pub fn new(images: Vec<u8>, shape: (usize, usize, usize), levels: u32) -> Result<Self> {
        let (c, h, w) = shape;
        let len = c.checked_mul(h).and_then(|n| n.checked_mul(w)).unwrap_or(0);
        if len == 0 {
            return Err(DataError::mismatch("shape of one image", format!("{shape:?}"), "(C, H, W) above 0"));
        }
        if !images.len().is_multiple_of(len) {
            return Err(DataError::mismatch(
                "bytes of an image set",
                images.len().to_string(),
                format!("a multiple of C·H·W = {len}"),
            ));
        }
        if !(2..=256).contains(&levels) {
            return Err(DataError::mismatch("levels", levels.to_string(), "2 to 256"));
        }
        if let Some(at) = images.iter().position(|&v| u32::from(v) >= levels) {
            return Err(DataError::mismatch(
                format!("value {} of image {}", at % len, at / len),
                images[at].to_string(),
                format!("below levels = {levels}"),
            ));
        }
        Ok(Self { images, shape, labels: None, levels, class_names: Vec::new() })
    }

    /// Images `(N, H, W, C)`, as most picture programs lay them out, and `(H, W, C)` of one of them.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_channels_last(bytes: &[u8], shape: (usize, usize, usize), levels: u32) -> Result<Self> {
        let (h, w, c) = shape;
        // Checked before the copy, on the bytes as they stand: the sizes are the same either way.
        let mut set = Self::new(bytes.to_vec(), (c, h, w), levels)?;
        for (to, from) in set.images.chunks_exact_mut(c * h * w).zip(bytes.chunks_exact(c * h * w)) {
            for (channel, plane) in to.chunks_exact_mut(h * w).enumerate() {
                plane.iter_mut().zip(from.iter().skip(channel).step_by(c)).for_each(|(t, f)| *t = *f);
            }
        }
        Ok(set)
    }

    /// The same images resized to `(H, W)` by [`bilinear`](crate::resize::bilinear), stretched to fit.
    ///
    /// # Errors
    /// If a size is 0.
    pub fn resize(&self, to: (usize, usize)) -> Result<Self> {
        let (c, h, w) = self.shape;
        if to.0 == 0 || to.1 == 0 {
            return Err(DataError::mismatch("size to resize to", format!("{to:?}"), "(H, W) above 0"));
        }
        let images = crate::resize::bilinear(&self.images, (h, w), to);
        Ok(Self { images, shape: (c, to.0, to.1), ..self.clone_without_images() })
    }

    fn clone_without_images(&self) -> Self {
        Self {
            images: Vec::new(),
            shape: self.shape,
            labels: self.labels.clone(),
            levels: self.levels,
            class_names: self.class_names.clone(),
        }
    }

    /// The same images with one label each; `class_names` may be empty (classes without names).
    ///
    /// # Errors
    /// If there is not one label an image, or a label has no name although names are given.
    pub fn with_labels(mut self, labels: Vec<u32>, class_names: Vec<String>) -> Result<Self> {
        if labels.len() != self.len() {
            return Err(DataError::mismatch(
                "labels",
                labels.len().to_string(),
                format!("one for each of {} images", self.len()),
            ));
        }
        if let Some(at) =
            labels.iter().position(|&l| !class_names.is_empty() && l as usize >= class_names.len())
        {
            return Err(DataError::mismatch(
                format!("label of image {at}"),
                labels[at].to_string(),
                format!("below the number of class names, {}", class_names.len()),
            ));
        }
        self.labels = Some(labels);
        self.class_names = class_names;
        Ok(self)
    }

    /// The same images and labels with names of the classes.
    ///
    /// # Errors
    /// If a label has no name.
    pub fn with_names(mut self, class_names: Vec<String>) -> Result<Self> {
        match self.labels.take() {
            Some(labels) => self.with_labels(labels, class_names),
            None => Ok(self),
        }
    }

    /// Number of images N.
    pub fn len(&self) -> usize {
        self.images.len() / self.sample_len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// `(C, H, W)` of one image.
    pub fn shape(&self) -> (usize, usize, usize) {
        self.shape
    }

    /// C·H·W, the number of values of one image.
    pub fn sample_len(&self) -> usize {
        self.shape.0 * self.shape.1 * self.shape.2
    }

    /// All values `(N, C, H, W)`, row-major.
    pub fn bytes(&self) -> &[u8] {
        &self.images
    }

    /// The values `(C, H, W)` of image `i`, or `None` past the end.
    pub fn image(&self, i: usize) -> Option<&[u8]> {
        let n = self.sample_len();
        self.images.get(i.checked_mul(n)?..i.checked_add(1)?.checked_mul(n)?)
    }

    /// Class of every image `(N,)`, if known.
    pub fn labels(&self) -> Option<&[u32]> {
        self.labels.as_deref()
    }

    /// Number of grey levels; values lie in `0..levels`.
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// Name of each class by its label; empty if classes have no names.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Number of classes: of names if there are any, else the largest label plus one, 0 without labels.
    pub fn classes(&self) -> usize {
        if !self.class_names.is_empty() {
            return self.class_names.len();
        }
        self.labels.as_deref().and_then(|l| l.iter().max()).map_or(0, |&m| m as usize + 1)
    }

    /// All values `(N, C, H, W)` as intensities `v / (levels − 1)` in [0, 1].
    pub fn unit_values(&self) -> Vec<f32> {
        let top = (self.levels - 1) as f32;
        self.images.iter().map(|&v| f32::from(v) / top).collect()
    }

    /// The images at `indices`, in that order, repeats allowed.
    ///
    /// # Errors
    /// If an index is not below [`len`](Self::len).
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let mut images = Vec::with_capacity(indices.len().saturating_mul(self.sample_len()));
        for &i in indices {
            let image = self.image(i).ok_or_else(|| {
                DataError::mismatch("index of an image", i.to_string(), format!("below {}", self.len()))
            })?;
            images.extend_from_slice(image);
        }
        let labels = self.labels.as_ref().map(|l| indices.iter().map(|&i| l[i]).collect());
        Ok(Self { images, labels, ..self.clone_without_images() })
    }

    /// The images whose label is one of `classes`, in their order; labels keep their numbers.
    ///
    /// # Errors
    /// If there are no labels, or a class has no image.
    pub fn of_classes(&self, classes: &[u32]) -> Result<Self> {
        let labels = self.labels.as_ref().ok_or_else(|| {
            DataError::mismatch("the choice of classes", "images without labels", "labelled images")
        })?;
        if let Some(missing) = classes.iter().find(|c| !labels.contains(c)) {
            let expected = format!("classes of the set, which has {}", self.classes());
            return Err(DataError::mismatch("the choice of classes", missing.to_string(), expected));
        }
        let rows: Vec<usize> = (0..self.len()).filter(|&i| classes.contains(&labels[i])).collect();
        self.select(&rows)
    }

    /// `(training, held-out)`: images 0, k, 2k, … are held out, see [`every`](crate::split::every).
    ///
    /// # Errors
    /// If `k` is below 2, which would leave nothing to train on.
    pub fn split_every(&self, k: usize) -> Result<(Self, Self)> {
        let (train, held) = crate::split::every(self.len(), k)?;
        Ok((self.select(&train)?, self.select(&held)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ten() -> ImageSet {
        let bytes = (0..10).flat_map(|i| [i, i + 10]).collect();
        ImageSet::new(bytes, (1, 1, 2), 256).unwrap().with_labels((0..10).collect(), vec![]).unwrap()
    }

    #[test]
    fn chosen_classes_keep_their_numbers_and_missing_ones_are_named() {
        let set = ten().of_classes(&[7, 2]).unwrap();
        assert_eq!((set.labels().unwrap(), set.bytes()), ([2, 7].as_slice(), [2, 12, 7, 17].as_slice()));
        let text = ten().of_classes(&[3, 12]).unwrap_err().to_string();
        assert!(text.contains("12"), "{text}");
    }

    #[test]
    fn a_split_keeps_images_and_their_labels_together() {
        let (train, held) = ten().split_every(5).unwrap();
        assert_eq!(held.labels().unwrap(), [0, 5]);
        assert_eq!(train.labels().unwrap(), [1, 2, 3, 4, 6, 7, 8, 9]);
        assert_eq!(held.image(1).unwrap(), [5, 15]);
        assert_eq!(train.bytes()[..4], [1, 11, 2, 12]);
    }

    #[test]
    fn a_resized_set_keeps_labels_and_levels() {
        let set = ImageSet::new(vec![0, 16, 0, 16], (1, 2, 2), 17).unwrap();
        let set = set.with_labels(vec![3], vec![]).unwrap().resize((4, 4)).unwrap();
        assert_eq!((set.shape(), set.levels(), set.labels()), ((1, 4, 4), 17, Some(&[3][..])));
        assert_eq!(set.image(0).unwrap()[..4], [0, 4, 12, 16]);
        assert!(set.resize((0, 4)).is_err());
    }

    #[test]
    fn wrong_counts_levels_and_labels_are_refused_with_both_values() {
        let text = |r: Result<ImageSet>| r.unwrap_err().to_string();
        assert_eq!(
            text(ImageSet::new(vec![0; 5], (1, 2, 2), 256)),
            "bytes of an image set: found 5, expected a multiple of C·H·W = 4"
        );
        assert_eq!(
            text(ImageSet::new(vec![0, 0, 0, 0, 0, 17], (1, 1, 2), 17)),
            "value 1 of image 2: found 17, expected below levels = 17"
        );
        assert!(text(ImageSet::new(vec![], (usize::MAX, 2, 2), 256)).contains("shape"));
        assert!(text(ImageSet::new(vec![], (1, 2, 2), 257)).contains("levels"));
        assert!(text(ten().with_labels(vec![0], vec![])).contains("one for each of 10 images"));
        assert!(text(ten().with_labels(vec![3; 10], vec!["a".into(); 3])).contains("label of image 0"));
        assert!(ten().select(&[10]).is_err());
        assert_eq!(ten().image(usize::MAX), None);
    }
}
