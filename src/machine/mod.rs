//! The machine under a run: memory used and left, and what an NVIDIA driver says of its GPUs. What cannot be known here
//! is `None`, never a guess.

mod gpu;
mod memory;
mod threads;

pub use gpu::{Gpu, GpuState, NVML};
pub use memory::{
    Doing, Headroom, LIMIT, Logged, Memory, NO_MEMORY, bytes, check_limit, cpu_seconds, doing, headroom,
    log_no_memory, memory, smaller_chunk, suggest_chunk, tell_no_memory,
};
pub use threads::{check_threads, start_threads};
