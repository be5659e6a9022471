//! With the feature `cuda`: compiles the kernels to PTX, for the GPU here or the one that `CUDA_COMPUTE_CAP` names.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/ops/device/kernels");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    #[cfg(feature = "cuda")]
    if let Err(error) = cudaforge::KernelBuilder::new()
        .source_files(["src/ops/device/kernels/kernels.cu"])
        .args(["-std=c++17", "-O3"])
        // Cargo knows when: the builder's own memory looks at kernels.cu alone and missed changes of what it includes.
        .no_incremental()
        .build_ptx()
    {
        println!(
            "cargo::error=the CUDA kernels do not compile ({error}); the feature cuda needs a CUDA toolkit"
        );
    }
}
