//! Pictures of a folder cut into patches of one size.

use std::path::Path;

use super::folder::{Channels, FolderOptions, Splits, read_picture, training};
use crate::{DataError, ImageSet, Report, Result};

/// The disjoint patches `(H, W)` of the pictures of a folder and its sub-folders (of a set in splits, of the training
/// part), and what was left out; picture by picture, each row by
/// row; 256 levels. What does not fill a patch is left over at the right and at the bottom in equal parts with the left and the top.
///
/// With [`Channels::AsFirst`] the first picture settles the colours: grey patches of other pictures are
/// repeated over three channels, coloured ones become luma.
///
/// # Errors
/// If there is no picture, one is damaged, or none is as large as a patch.
pub fn patches(
    root: impl AsRef<Path>,
    (h, w): (usize, usize),
    channels: Channels,
    splits: Splits,
) -> Result<(ImageSet, Report)> {
    let root = root.as_ref();
    if h == 0 || w == 0 {
        return Err(DataError::mismatch("the size of a patch", format!("({h}, {w})"), "(H, W) above 0"));
    }
    let (mut bytes, mut options) = (Vec::new(), FolderOptions { channels, ..FolderOptions::default() });
    let (mut planes, mut largest) = (0, (0, 0));
    let (files, report) = training(root, splits)?;
    for path in files {
        let picture = read_picture(&path, &options)?;
        let (c, rows, columns) = picture.shape();
        planes = c;
        options.channels = if c == 1 { Channels::Grey } else { Channels::Rgb };
        largest = largest.max((rows.min(columns), rows.max(columns)));
        let (top, left) = (rows % h / 2, columns % w / 2);
        for (y, x) in (0..rows / h).flat_map(|i| (0..columns / w).map(move |j| (top + i * h, left + j * w))) {
            for line in (0..c).flat_map(|c| (0..h).map(move |i| (c * rows + y + i) * columns + x)) {
                bytes.extend_from_slice(&picture.bytes()[line..line + w]);
            }
        }
    }
    if bytes.is_empty() {
        let found = format!("none larger than {} x {}", largest.0, largest.1);
        let what = format!("the pictures of {}", root.display());
        return Err(DataError::mismatch(what, found, format!("one of at least {h} x {w} pixels (H x W)")));
    }
    Ok((ImageSet::new(bytes, (planes, h, w), 256)?, report))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use image::{GrayImage, Luma, Rgb, RgbImage};

    use super::*;

    #[test]
    fn patches_are_cut_around_the_middle_row_by_row() {
        let folder = tempfile::tempdir().unwrap();
        let picture = RgbImage::from_fn(5, 4, |x, y| Rgb([(10 * y + x) as u8, 100 + x as u8, y as u8]));
        picture.save(folder.path().join("a.png")).unwrap();
        GrayImage::from_pixel(2, 3, Luma([7])).save(folder.path().join("b.png")).unwrap();
        GrayImage::from_pixel(1, 9, Luma([7])).save(folder.path().join("c.png")).unwrap();
        let set = patches(folder.path(), (3, 2), Channels::AsFirst, Splits::Told).unwrap().0;
        assert_eq!((set.len(), set.shape()), (3, (3, 3, 2)));
        assert_eq!(set.image(0).unwrap()[..6], [0, 1, 10, 11, 20, 21]);
        assert_eq!(set.image(1).unwrap()[..12], [2, 3, 12, 13, 22, 23, 102, 103, 102, 103, 102, 103]);
        assert_eq!(set.image(2).unwrap(), [7; 18]);
        assert_eq!(
            patches(folder.path(), (3, 2), Channels::Grey, Splits::Told).unwrap().0.shape(),
            (1, 3, 2)
        );
    }

    #[test]
    fn too_small_pictures_and_empty_folders_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            |size| patches(folder.path(), size, Channels::AsFirst, Splits::Told).unwrap_err().to_string();
        assert!(text((3, 2)).contains("without pictures"), "{}", text((3, 2)));
        GrayImage::new(5, 4).save(folder.path().join("a.png")).unwrap();
        assert!(text((6, 6)).contains("4 x 5"), "{}", text((6, 6)));
        assert!(text((0, 6)).contains("above 0"), "{}", text((0, 6)));
    }
}
