//! With the feature `cuda`: compiles `kernels/operators.cu`, which includes the rest, to PTX with the nvcc that candle's kernels need anyway. PTX, not machine
//! code: the driver compiles it for the GPU it finds.

use std::path::PathBuf;
use std::process::Command;
use std::{env, process};

fn main() {
    println!("cargo:rerun-if-changed=kernels");
    for name in ["CUDA_COMPUTE_CAP", "NVCC", "CUDA_HOME"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let nvcc = env::var("NVCC").unwrap_or_else(|_| match env::var("CUDA_HOME") {
        Ok(home) => format!("{home}/bin/nvcc"),
        Err(_) => "nvcc".into(),
    });
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".into());
    let digits: String = capability.chars().filter(char::is_ascii_digit).collect();
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let made = Command::new(&nvcc)
        .args(["--ptx", "-O3", &format!("-arch=compute_{digits}"), "-o"])
        .arg(folder.join("operators.ptx"))
        .arg("kernels/operators.cu")
        .status();
    match made {
        Ok(status) if status.success() => {}
        Ok(_) => fail(&format!("{nvcc} failed on kernels/operators.cu")),
        Err(e) => fail(&format!(
            "the feature `cuda` needs nvcc; `{nvcc}` did not start: {e} (scripts/setup-cuda.sh gets one)"
        )),
    }
}

fn fail(why: &str) -> ! {
    eprintln!("{why}");
    process::exit(1)
}
