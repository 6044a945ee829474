//! Checkpoints of the published program in PyTorch's old and new format, and safetensors.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Key};
use ebm_energies_paper::DigitsNet;
use ebm_exchange_paper::import_checkpoint;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn digits(filters: usize) -> Arc<dyn EnergyFn> {
    let mut cx = BuildCx::new(&[1, 28, 28], DType::F64, &Device::Cpu, Key::root(0));
    DigitsNet { filters }.build(&mut cx).unwrap()
}

/// Entry i of tensor j in order of names is `sign·(j + i/1024)`: see `make_checkpoints.py`.
fn check_values(e: &dyn EnergyFn, sign: f64) {
    let mut names: Vec<&str> = e.params().names().chain(["map_fc1.bias"]).collect();
    names.sort_unstable();
    for (j, name) in names.into_iter().enumerate() {
        let Some(t) = e.params().get(name) else { continue };
        let values = t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (i, v) in values.into_iter().enumerate() {
            // Sums of small integers and 1024ths are exact in f32.
            assert_eq!(v, sign * (j as f64 + i as f64 / 1024.0), "{name}[{i}]");
        }
    }
}

#[test]
fn both_formats_of_pytorch_are_read_with_strides_and_offsets() {
    for name in ["legacy.pth", "zipped.pth"] {
        let e = digits(1);
        let done = import_checkpoint(e.params(), file(name), Some("model_state_dict_0")).unwrap();
        assert_eq!(done.written.len(), e.params().len(), "{name}");
        assert_eq!(done.ignored, ["map_fc1.bias"], "{name}");
        check_values(e.as_ref(), 1.0);
        import_checkpoint(e.params(), file(name), Some("ema_model_state_dict_0")).unwrap();
        check_values(e.as_ref(), -1.0);
    }
}

#[test]
fn a_wrong_key_or_network_is_refused_and_nothing_is_written() {
    for name in ["legacy.pth", "zipped.pth"] {
        let e = digits(1);
        let before = e.params().version();
        let text =
            import_checkpoint(e.params(), file(name), Some("model_state_dict_7")).unwrap_err().to_string();
        assert!(text.contains("model_state_dict_7"), "{text}");
        assert_eq!(e.params().version(), before);
        let large = digits(2);
        let text = import_checkpoint(large.params(), file(name), Some("model_state_dict_0"))
            .unwrap_err()
            .to_string();
        assert!(text.contains("another size"), "{text}");
        assert_eq!(large.params().version(), 0);
        let text = import_checkpoint(e.params(), file(name), None).unwrap_err().to_string();
        assert!(text.contains("key"), "{text}");
    }
}

#[test]
fn a_truncated_file_says_where_it_ends() {
    let dir = std::env::temp_dir().join(format!("ebm-truncated-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let whole = std::fs::read(file("legacy.pth")).unwrap();
    let path = dir.join("cut.pth");
    for (length, word) in [(whole.len() - 10, "ends inside storage"), (3000, "pickle"), (10, "cut.pth")] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let e = digits(1);
        let text = import_checkpoint(e.params(), &path, Some("model_state_dict_0")).unwrap_err().to_string();
        assert!(text.contains(word) && text.contains("cut.pth"), "{length}: {text}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn safetensors_under_published_names_are_read() {
    let dir = std::env::temp_dir().join(format!("ebm-import-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (source, target) = (digits(1), digits(1));
    let tensors: std::collections::HashMap<String, Tensor> = source
        .params()
        .names()
        .map(|n| (n.to_string(), (source.params().get(n).unwrap() + 1.0).unwrap()))
        .collect();
    let path = dir.join("weights.safetensors");
    ebm_core::candle::safetensors::save(&tensors, &path).unwrap();
    import_checkpoint(target.params(), &path, None).unwrap();
    for (name, want) in &tensors {
        let found = target.params().get(name).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(found, want.flatten_all().unwrap().to_vec1::<f64>().unwrap(), "{name}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
