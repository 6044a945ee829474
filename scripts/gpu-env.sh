# Sourced: where the libraries of CUDA are when Python packages brought them, beside all the places where they are otherwise.
#
# The driver's own library (libcuda.so.1) comes from the machine, so what LD_LIBRARY_PATH named before stays.
packages=$(python3 - << 'END' 2> /dev/null || true
import glob, sys
folders = {f for p in sys.path if p.endswith("packages") for f in glob.glob(p + "/nvidia/*/lib")}
print(":".join(sorted(folders, key=lambda f: ("cu13" not in f, f))))
END
)
LD_LIBRARY_PATH="${packages:+$packages:}/usr/local/cuda/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}:/usr/local/nvidia/lib64"
unset packages
# What the driver compiled of our kernels for its GPU is kept for the next process: the first takes seconds for it.
export LD_LIBRARY_PATH CUDA_CACHE_MAXSIZE=4294967296 RUST_BACKTRACE=1
