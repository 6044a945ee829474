//! The pictures of a run directory, as data URIs for one page, at the size at which their pixels stay sharp.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use ebm_data::ImageSet;
use ebm_data::folder::FolderOptions;
use ebm_draw::picture::SCATTER;

use crate::error::{Error, Result};

/// Pictures of one kind over the steps.
#[derive(Clone, Debug)]
pub(super) struct Sheets {
    /// `samples`, `buffer`.
    pub kind: String,
    /// In the order of their steps.
    pub pictures: Vec<Picture>,
}

/// One picture.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// After this update.
    pub step: u64,
    /// As a `data:` URI.
    pub data: String,
    /// Width and height in pixels of a page.
    pub size: (usize, usize),
}

/// Wider pictures are shown at half their size if that loses nothing, so that several stand beside each other.
const WIDE: usize = 300;

/// The pictures below `directory/sheets`, evenly thinned to about `bytes` for each kind; the last is always there. One that
/// cannot be decoded is left out with a note.
pub(super) fn read(directory: &Path, bytes: u64, notes: &mut Vec<String>) -> Result<Vec<Sheets>> {
    let mut files: BTreeMap<String, BTreeMap<u64, PathBuf>> = BTreeMap::new();
    let folder = directory.join("sheets");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(&folder)(e)),
    };
    for entry in entries {
        let path = entry.map_err(Error::io(&folder))?.path();
        // sheets/samples-00001000.png
        let named = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_suffix(".png"))
            .and_then(|n| n.rsplit_once('-'))
            .and_then(|(kind, step)| Some((kind.to_string(), step.parse().ok()?)));
        if let Some((kind, step)) = named {
            files.entry(kind).or_default().insert(step, path);
        }
    }
    files
        .into_iter()
        .map(|(kind, files)| {
            let files: Vec<(u64, PathBuf)> = files.into_iter().collect();
            let size: u64 = files.iter().filter_map(|(_, p)| p.metadata().ok()).map(|m| m.len()).sum();
            let keep = (files.len() as u64 * bytes / size.max(1)).clamp(2, 1 << 20) as usize;
            let pictures =
                thinned(files.len(), keep).filter_map(|i| picture(files[i].0, &files[i].1, notes)).collect();
            Ok(Sheets { kind, pictures })
        })
        .collect()
}

/// A picture of a step; one that cannot be decoded is left out with a note.
pub(super) fn picture(step: u64, path: &Path, notes: &mut Vec<String>) -> Option<Picture> {
    let read = ebm_data::folder::read_picture(path, &FolderOptions::default())
        .map_err(Error::from)
        .and_then(|image| Ok((image, ebm_core::regular::read(path).map_err(Error::io(path))?)));
    match read {
        Ok((image, bytes)) => {
            let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
            Some(Picture { step, data: format!("data:image/png;base64,{text}"), size: shown(&image) })
        }
        Err(e) => {
            notes.push(format!("Left out: {e}."));
            None
        }
    }
}

/// The size a picture is shown at: its own, or half of it where each pixel is two by two of the file, or a point is.
fn shown(image: &ImageSet) -> (usize, usize) {
    let (_, height, width) = image.shape();
    let pairs = |line: &[u8]| line.chunks(2).all(|p| p.first() == p.last());
    let rows = |two: &[u8]| two.len() < 2 * width || two[..width] == two[width..];
    let doubled = || {
        let planes = image.bytes().chunks(height * width);
        planes.into_iter().all(|p| p.chunks(width).all(pairs) && p.chunks(2 * width).all(rows))
    };
    match width > WIDE && ((height, width) == (SCATTER, SCATTER) || doubled()) {
        true => (width / 2, height / 2),
        false => (width, height),
    }
}

/// Up to `keep` of `n` numbers, evenly spaced, with the first and the last.
fn thinned(n: usize, keep: usize) -> impl Iterator<Item = usize> {
    let kept = keep.max(2).min(n);
    (0..kept).map(move |i| if kept < 2 { 0 } else { i * (n - 1) / (kept - 1) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_picture_is_halved_where_that_loses_nothing() {
        let of = |zoom: usize, side: usize| {
            let images: Vec<f32> = (0..side * side).map(|i| (i % 3) as f32 / 2.0).collect();
            let sheet = ebm_data::png::Sheet { zoom, ..Default::default() };
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.png");
            sheet.write(&path, &images, (1, 1, side, side)).unwrap();
            picture(0, &path, &mut Vec::new()).unwrap().size
        };
        assert_eq!((of(4, 100), of(1, 400), of(4, 20)), ((202, 202), (404, 404), (84, 84)));
    }

    #[test]
    fn pictures_are_thinned_evenly_and_keep_their_ends() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sheets")).unwrap();
        let picture = ebm_data::png::Sheet::default().encode(&[0.5; 4], (1, 1, 2, 2)).unwrap();
        let file = |step: u64| folder.path().join(format!("sheets/samples-{step:08}.png"));
        (0..10).for_each(|step| std::fs::write(file(step), &picture).unwrap());
        std::fs::write(folder.path().join("sheets/notes.txt"), "mine").unwrap();
        let mut notes = Vec::new();
        let mut steps = |pictures: usize| -> Vec<u64> {
            let bytes = (pictures * picture.len()) as u64;
            read(folder.path(), bytes, &mut notes).unwrap()[0].pictures.iter().map(|p| p.step).collect()
        };
        assert_eq!(steps(100), (0..10).collect::<Vec<_>>());
        assert_eq!(steps(4), [0, 3, 6, 9]);
        assert_eq!(steps(0), [0, 9]);
        // One that was cut is not shown as if it were whole.
        std::fs::write(file(9), &picture[..picture.len() / 2]).unwrap();
        assert_eq!(steps(0), [0]);
        assert!(notes.len() == 1 && notes[0].contains("samples-00000009.png"), "{notes:?}");
        assert_eq!(thinned(1, 5).collect::<Vec<_>>(), [0]);
        assert_eq!(thinned(0, 5).count(), 0);
    }
}
