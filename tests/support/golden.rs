//! Golden files taken apart, changed, and put together again.

#![allow(dead_code, clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// Settings and tensors of a safetensors file.
pub struct Golden {
    pub settings: HashMap<String, String>,
    pub tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

/// The golden file of the repository.
pub fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../plugins/ebm-exchange-paper/tests/golden/cifar_square.safetensors")
}

/// Golden files of `EBM_PARITY_DIR`, or of `shared/parity` beside the workspace; none if there is no such directory.
pub fn more() -> Vec<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/parity");
    let dir = std::env::var_os("EBM_PARITY_DIR").map_or_else(beside, PathBuf::from);
    let Ok(entries) = std::fs::read_dir(dir) else {
        println!("skipped: the directory of golden files is missing; set EBM_PARITY_DIR to one");
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|f| f.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
    files.sort();
    files
}

impl Golden {
    pub fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let all = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = all
            .iter()
            .map(|(n, t)| (n.to_string(), (t.dtype(), t.shape().to_vec(), t.data().to_vec())))
            .collect();
        Golden { settings: header.metadata().clone().unwrap_or_default(), tensors }
    }

    pub fn save(&self, path: &Path) {
        let views = self
            .tensors
            .iter()
            .map(|(n, (dtype, shape, data))| (n, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        let settings = (!self.settings.is_empty()).then(|| self.settings.clone());
        std::fs::write(path, safetensors::serialize(views, settings).unwrap()).unwrap();
    }
}
