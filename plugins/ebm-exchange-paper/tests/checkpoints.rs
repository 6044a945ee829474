//! Checkpoints of the published program in PyTorch's old and new format, and safetensors.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{BuildCx, EnergyConfig, EnergyFn, Key};
use ebm_energies_paper::DigitsNet;
use ebm_exchange::{Incoming, exchanges};
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
        assert!(text.contains("model_state_dict_7") && text.contains("`ema_model_state_dict_0` ("), "{text}");
        assert_eq!(e.params().version(), before);
        let large = digits(2);
        let text = import_checkpoint(large.params(), file(name), Some("model_state_dict_0"))
            .unwrap_err()
            .to_string();
        assert!(text.contains("another size"), "{text}");
        assert_eq!(large.params().version(), 0);
        // Without a key the live weights are found by the names of the tensors.
        import_checkpoint(e.params(), file(name), None).unwrap();
        check_values(e.as_ref(), 1.0);
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

/// What `ebm convert` takes of one of the files that `make_torch.py` writes.
fn taken(name: &str, key: Option<&str>) -> ebm_core::Result<Incoming> {
    let exchange = exchanges().into_iter().find(|e| e.name == "du-2021").unwrap();
    (exchange.read)(&file("torch").join(name), key, digits(1).params())
}

/// Writes tensors that were taken into an energy and compares their values.
fn check_taken(tensors: &std::collections::BTreeMap<String, Tensor>, sign: f64) {
    let e = digits(1);
    for (name, value) in tensors {
        e.params().set(name, &value.to_dtype(DType::F64).unwrap()).unwrap();
    }
    check_values(e.as_ref(), sign);
}

#[test]
fn weights_are_found_in_whatever_wrapper_and_format() {
    for name in [
        "compiled.safetensors",
        "wrapped.pth",
        "lightning.ckpt",
        "averaging.ckpt",
        "swa.pth",
        "restorer.pth",
        "module.pth",
        "beside.pth",
        "model.safetensors.index.json",
    ] {
        let found = taken(name, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        check_taken(&found.live, 1.0);
        let averaged = ["wrapped.pth", "averaging.ckpt", "swa.pth", "restorer.pth"].contains(&name);
        assert_eq!(found.average.is_some(), averaged, "{name}");
        found.average.iter().for_each(|average| check_taken(average, -1.0));
    }
    // Signs that PyTorch turns when it reads are turned here, too.
    check_taken(&taken("negated.pth", None).unwrap().live, -1.0);
    // Eight bits keep 1.0 whole.
    let rounded = taken("float8.pth", None).unwrap().live["conv1.weight"].to_dtype(DType::F64).unwrap();
    assert_eq!(rounded.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0], 1.0);
}

#[test]
fn adams_moments_are_found_in_checkpoints_of_lightning() {
    let found = taken("lightning.ckpt", None).unwrap();
    let (kind, state) = found.optimiser.unwrap();
    assert_eq!((kind.as_str(), state.step), ("adam", 1));
    // A gradient of ones: 0.1 of it after one update of beta 0.9.
    let first = state.tensors["exp_avg.conv1.weight"].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(first.iter().all(|v| (v - 0.1).abs() < 1e-6), "{first:?}");
}

#[test]
fn what_would_be_taken_wrongly_is_refused_by_name() {
    for (name, key, parts) in [
        ("complex.pth", None, &["conv1.bias", "complexfloat"][..]),
        ("two.pth", None, &["`a`, `b`", "key"]),
        ("two.pth", Some("c"), &["no key `c`", "`a` (", "`b` ("]),
        ("half-average.pth", None, &["`ema`", "lacks 3 of", "`state_dict`"]),
        ("shadow.pth", None, &["`ema`", "may be an average", "`model`", "key: "]),
    ] {
        let text = taken(name, key).err().unwrap_or_else(|| panic!("{name} is taken")).to_string();
        parts.iter().for_each(|part| assert!(text.contains(part), "{name}: {part} is not in {text}"));
    }
    check_taken(&taken("two.pth", Some("b")).unwrap().live, -1.0);
    check_taken(&taken("half-average.pth", Some("state_dict")).unwrap().live, 1.0);
    check_taken(&taken("shadow.pth", Some("model")).unwrap().live, 1.0);
    let remarks = taken("nan.pth", None).unwrap().remarks.join("\n");
    assert!(remarks.contains("9 of 9 numbers of `conv1.weight` are not finite"), "{remarks}");
}

#[test]
fn an_average_that_cannot_be_read_is_not_replaced_by_the_live_weights() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(file("torch/wrapped.pth")).unwrap();
    // The second value of the average of `conv1.weight`, tensor 1.
    let value = (-(1.0f32 + 1.0 / 1024.0)).to_le_bytes();
    let at = bytes.windows(4).position(|w| w == value).unwrap();
    bytes[at] ^= 1;
    let path = dir.path().join("spoilt.pth");
    std::fs::write(&path, bytes).unwrap();
    let exchange = exchanges().into_iter().find(|e| e.name == "du-2021").unwrap();
    let params = digits(1);
    let text = (exchange.read)(&path, None, params.params()).err().unwrap().to_string();
    assert!(text.contains("the average under `ema_model_state_dict_0`") && text.contains("heck"), "{text}");
    check_taken(&(exchange.read)(&path, Some("model_state_dict_0"), params.params()).unwrap().live, 1.0);
}

#[test]
fn an_average_in_any_layout_is_not_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let net = digits(1);
    let names: Vec<&str> = net.params().names().collect();
    let exchange = exchanges().into_iter().find(|e| e.name == "du-2021").unwrap();
    let read = |average: &dyn Fn(usize) -> String| {
        let mut all = std::collections::HashMap::new();
        for (i, name) in names.iter().enumerate() {
            let value = net.params().get(name).unwrap().copy().unwrap();
            all.insert(average(i), value.clone());
            all.insert(format!("net.{name}"), value);
        }
        ebm_core::candle::safetensors::save(&all, &path).unwrap();
        (exchange.read)(&path, None, net.params())
    };
    for place in ["shadow_params", "state.ema.tensors", "model_ema.other", "swa", "optimiser.averaged.params"]
    {
        let text =
            read(&|i| format!("{place}.{i}")).err().unwrap_or_else(|| panic!("{place} is taken")).to_string();
        assert!(text.starts_with("key: ") && text.contains("may be an average"), "{place}: {text}");
    }
    // Moments of Adam are no averages of weights.
    assert!(read(&|i| format!("optimizer.state.{i}.exp_avg")).is_ok());
}

#[test]
fn files_of_other_kinds_are_named_for_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes, part) in [
        (
            "a.pth",
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"[..],
            "Git LFS pointer",
        ),
        ("a.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS"),
        ("b.pth", b"<!DOCTYPE html><html></html>", "web page"),
        ("c.safetensors", b"\x89HDF\r\n\x1a\n0000", "HDF5"),
        ("d.pth", b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00}q.", "pickle"),
        ("e.json", b"{\"a\": 1}", "weight_map"),
        ("f.npz", b"PK\x05\x06\x00\x00\x00\x00", "zip archive"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let text = import_checkpoint(digits(1).params(), &path, None).unwrap_err().to_string();
        assert!(text.contains(name) && text.contains(part), "{name}: {text}");
    }
}
