//! Runs a launch on the CPU: the kernels' own source, built by the system's C++ compiler, a coroutine a thread.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Storage, Tensor, bail};

use super::{Arg, Launch};

/// The compiled emulator, or `None` without a C++ compiler.
fn program() -> Option<&'static PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            let dir = tempfile::tempdir().expect("folder").keep();
            let out = dir.join("emulator");
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops/device/kernels/emulator.cpp");
            let built = Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".into()))
                .args(["-std=c++20", "-O2", "-fsanitize=bounds", "-o"])
                .arg(&out)
                .arg(source)
                .output();
            match built {
                Ok(output) if output.status.success() => Some(out),
                Ok(output) => {
                    panic!("the kernels do not compile:\n{}", String::from_utf8_lossy(&output.stderr))
                }
                Err(_) => None,
            }
        })
        .as_ref()
}

/// Says so, and returns true, where the kernels cannot be run here.
pub(super) fn skipped(test: &str) -> bool {
    let skip = program().is_none();
    if skip {
        let text = "no C++ compiler (set CXX or install one, Debian: apt install g++)";
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {text}");
    }
    skip
}

/// A contiguous tensor's bytes.
fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("not in main memory") };
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("an argument is not contiguous") };
    Ok(match storage {
        CpuStorage::F32(d) => d[start..end].iter().flat_map(|x| x.to_le_bytes()).collect(),
        CpuStorage::BF16(d) => d[start..end].iter().flat_map(|x| x.to_le_bytes()).collect(),
        CpuStorage::U32(d) => d[start..end].iter().flat_map(|x| x.to_le_bytes()).collect(),
        CpuStorage::I64(d) => d[start..end].iter().flat_map(|x| x.to_le_bytes()).collect(),
        CpuStorage::F64(d) => d[start..end].iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => bail!("no kernel takes this type of tensor"),
    })
}

/// The number by which `emulator.cpp` knows this type, and how far the tensor's first element lies behind its storage's, in bytes:
/// on a GPU every storage begins at a multiple of 256.
fn place(tensor: &Tensor) -> Result<[u64; 2]> {
    let number = match tensor.dtype() {
        DType::F32 => 1,
        DType::BF16 => 2,
        DType::U32 => 3,
        DType::I64 => 4,
        DType::F64 => 5,
        other => bail!("no kernel takes {other:?}"),
    };
    let start = tensor.layout().start_offset() * tensor.dtype().size_in_bytes();
    Ok([number, start as u64])
}

/// Replaces a tensor's elements by these bytes.
struct Replace(Vec<u8>);

impl InplaceOp1 for Replace {
    fn name(&self) -> &'static str {
        "replace"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("an argument is not contiguous") };
        macro_rules! fill {
            ($data:expr, $type:ty, $size:literal) => {
                for (x, b) in $data[start..end].iter_mut().zip(self.0.chunks_exact($size)) {
                    *x = <$type>::from_le_bytes(b.try_into().expect("size"));
                }
            };
        }
        match storage {
            CpuStorage::F32(d) => fill!(d, f32, 4),
            CpuStorage::BF16(d) => fill!(d, half::bf16, 2),
            CpuStorage::U32(d) => fill!(d, u32, 4),
            CpuStorage::I64(d) => fill!(d, i64, 8),
            CpuStorage::F64(d) => fill!(d, f64, 8),
            _ => bail!("no kernel takes this type of tensor"),
        }
        Ok(())
    }
}

/// Runs the kernel and puts what it wrote into the tensors.
pub(super) fn launch(launch: &Launch<'_>) -> Result<()> {
    let Some(program) = program() else { bail!("no C++ compiler") };
    let mut request = Vec::new();
    let number = |request: &mut Vec<u8>, n: u64| request.extend(n.to_le_bytes());
    let buffer = |request: &mut Vec<u8>, bytes: &[u8]| {
        request.extend((bytes.len() as u64).to_le_bytes());
        request.extend(bytes);
    };
    buffer(&mut request, launch.kernel.as_bytes());
    for n in [launch.grid.0, launch.grid.1, launch.threads, launch.shared, launch.args.len()] {
        number(&mut request, n as u64);
    }
    // (tensor, whether the kernel may change it), in the order of the answer.
    let mut tensors: Vec<(&Tensor, bool)> = Vec::new();
    for arg in launch.args {
        let (kind, list, changes): (u64, &[Tensor], bool) = match arg {
            Arg::Null => (0, &[], false),
            Arg::Read(t) => (1, std::slice::from_ref(*t), false),
            Arg::Write(t) => (1, std::slice::from_ref(*t), true),
            Arg::Pointers(list) => (2, &list.tensors, false),
            Arg::WritePointers(list) => (2, &list.tensors, true),
            Arg::U32(_) => (3, &[], false),
            Arg::U64(_) => (4, &[], false),
            Arg::F32(_) => (5, &[], false),
        };
        number(&mut request, kind);
        match arg {
            Arg::U32(n) => number(&mut request, u64::from(*n)),
            Arg::U64(n) => number(&mut request, *n),
            Arg::F32(x) => number(&mut request, u64::from(x.to_bits())),
            Arg::Pointers(_) | Arg::WritePointers(_) => number(&mut request, list.len() as u64),
            _ => {}
        }
        for tensor in list {
            place(tensor)?.into_iter().for_each(|n| number(&mut request, n));
            buffer(&mut request, &bytes(tensor)?);
            tensors.push((tensor, changes));
        }
    }
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().expect("stdin");
    let writer = std::thread::spawn(move || stdin.write_all(&request));
    let output = child.wait_with_output()?;
    writer.join().expect("writer")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("kernel {}: the emulator ended with {}: {}", launch.kernel, output.status, said.trim());
    }
    let mut answer = output.stdout.as_slice();
    for (tensor, changes) in tensors {
        let before = bytes(tensor)?;
        let (after, rest) = answer.split_at(before.len());
        answer = rest;
        if changes {
            tensor.inplace_op1(&Replace(after.to_vec()))?;
        } else if after != before {
            bail!("kernel {} wrote to an argument that it may only read", launch.kernel);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use half::bf16;

    use super::*;

    /// What is said of the launch of a wrong kernel, or of a wrong launch, on `count` numbers from the one at `start` on.
    fn refused(kernel: &str, (start, count): (usize, usize), change: impl FnOnce(&mut Launch<'_>)) -> String {
        let all = Tensor::zeros(start + count, DType::F32, &Device::Cpu).expect("tensor");
        let out = all.narrow(0, start, count).expect("part");
        let args = [Arg::Write(&out)];
        let mut wrong = Launch { kernel, grid: (1, 1), threads: 32, shared: 1024, args: &args };
        change(&mut wrong);
        launch(&wrong).expect_err(kernel).to_string()
    }

    #[test]
    fn kernels_that_lack_a_barrier_are_found() {
        if skipped("kernels_that_lack_a_barrier_are_found") {
            return;
        }
        for kernel in ["without_barrier", "without_warp_barrier", "without_arrival"] {
            let error = refused(kernel, (0, 32), |_| ());
            assert!(error.contains("depends on the order"), "{error}");
        }
        for (kernel, part) in [
            ("never_arrives", "copies are under way"),
            ("in_same_banks", "the same banks"),
            ("parted_lanes", "not all lanes"),
        ] {
            let error = refused(kernel, (0, 32), |_| ());
            assert!(error.contains(part), "{kernel}: {error}");
        }
    }

    /// Runs a kernel by one warp.
    fn warp(kernel: &str, args: &[Arg<'_>]) {
        launch(&Launch { kernel, grid: (1, 1), threads: 32, shared: 512, args }).expect(kernel);
    }

    /// Two numbers as a register holds them, the first in the lower half.
    fn register(low: f32, high: f32) -> u32 {
        u32::from(bf16::from_f32(low).to_bits()) | u32::from(bf16::from_f32(high).to_bits()) << 16
    }

    /// Places of a lane's registers as offsets from (lane / 4, 2 (lane % 4)), after the PTX ISA's figures of mma.m16n8k16; in B the two
    /// change sides.
    #[test]
    fn products_of_a_warp_have_the_layout_of_the_ptx_isa() {
        if skipped("products_of_a_warp_have_the_layout_of_the_ptx_isa") {
            return;
        }
        // Small whole numbers, whose sums are exact, and which tell every place from its neighbours.
        let a = |row: usize, k: usize| ((row * 7 + k * k * 3) % 19) as f32 - 9.0;
        let b = |k: usize, column: usize| ((k * 5 + column * column * 11) % 17) as f32 - 8.0;
        let c = |row: usize, column: usize| (row * 8 + column) as f32;
        let (mut left, mut right, mut sums, mut wanted) = (vec![], vec![], vec![], vec![]);
        for lane in 0..32 {
            let (g, t) = (lane / 4, 2 * (lane % 4));
            for (down, across) in [(0, 0), (8, 0), (0, 8), (8, 8)] {
                left.push(register(a(g + down, t + across), a(g + down, t + across + 1)));
            }
            for down in [0, 8] {
                right.push(register(b(t + down, g), b(t + down + 1, g)));
            }
            for (down, across) in [(0, 0), (0, 1), (8, 0), (8, 1)] {
                let (row, column) = (g + down, t + across);
                sums.push(c(row, column));
                wanted.push((0..16).fold(c(row, column), |sum, k| sum + a(row, k) * b(k, column)));
            }
        }
        let cpu = &Device::Cpu;
        let left = Tensor::from_vec(left, 128, cpu).expect("A");
        let right = Tensor::from_vec(right, 64, cpu).expect("B");
        let sums = Tensor::from_vec(sums, 128, cpu).expect("C");
        warp("registers_of_mma", &[Arg::Read(&left), Arg::Read(&right), Arg::Write(&sums)]);
        assert_eq!(sums.to_vec1::<f32>().expect("C"), wanted);
    }

    #[test]
    fn matrices_of_a_warp_are_loaded_as_the_ptx_isa_says() {
        if skipped("matrices_of_a_warp_are_loaded_as_the_ptx_isa_says") {
            return;
        }
        // Four matrices of eight rows of eight, numbered through.
        let all: Vec<f32> = (0..256u16).map(f32::from).collect();
        let rows =
            Tensor::from_vec(all, 256, &Device::Cpu).and_then(|t| t.to_dtype(DType::BF16)).expect("rows");
        let registers = || Tensor::zeros(128, DType::U32, &Device::Cpu).expect("registers");
        let (plain, transposed) = (registers(), registers());
        warp("registers_of_ldmatrix", &[Arg::Read(&rows), Arg::Write(&plain), Arg::Write(&transposed)]);
        let at = |matrix: usize, row: usize, column: usize| (64 * matrix + 8 * row + column) as f32;
        let (mut wanted, mut turned) = (vec![], vec![]);
        for lane in 0..32 {
            let (g, t) = (lane / 4, 2 * (lane % 4));
            for m in 0..4 {
                wanted.push(register(at(m, g, t), at(m, g, t + 1)));
                turned.push(register(at(m, t, g), at(m, t + 1, g)));
            }
        }
        assert_eq!(plain.to_vec1::<u32>().expect("plain"), wanted);
        assert_eq!(transposed.to_vec1::<u32>().expect("transposed"), turned);
    }

    #[test]
    fn accesses_that_are_not_aligned_are_found() {
        if skipped("accesses_that_are_not_aligned_are_found") {
            return;
        }
        for (kernel, start, bytes) in [("unaligned_pack", 1, 16), ("unaligned_tile", 0, 32)] {
            let error = refused(kernel, (start, 32), |_| ());
            assert!(error.contains(&format!("aligned to {bytes} bytes")), "{error}");
        }
        // The same kernel where its argument begins at a multiple of sixteen bytes.
        let all = Tensor::zeros(36, DType::F32, &Device::Cpu).expect("tensor");
        let out = all.narrow(0, 4, 32).expect("part");
        let args = [Arg::Write(&out)];
        launch(&Launch { kernel: "unaligned_pack", grid: (1, 1), threads: 32, shared: 0, args: &args })
            .expect("aligned");
    }

    #[test]
    fn accesses_beyond_arguments_and_shared_memory_are_found() {
        if skipped("accesses_beyond_arguments_and_shared_memory_are_found") {
            return;
        }
        for (kernel, part) in [
            ("writes_behind", "beyond argument 0"),
            ("writes_before", "beyond argument 0"),
            ("reads_behind", "what lies around"),
            ("shares_behind", "beyond its shared memory"),
        ] {
            let error = refused(kernel, (3, 32), |_| ());
            assert!(error.contains(part), "{kernel}: {error}");
        }
    }

    #[test]
    fn launches_that_a_gpu_refuses_or_misreads_are_found() {
        if skipped("launches_that_a_gpu_refuses_or_misreads_are_found") {
            return;
        }
        let said = |change: fn(&mut Launch<'_>)| refused("writes_behind", (0, 2000), change);
        assert!(said(|l| l.threads = 1025).contains("1025 threads"));
        assert!(said(|l| l.grid = (1, 65536)).contains("1 by 65536"));
        assert!(said(|l| l.grid = (0, 1)).contains("0 by 1"));
        assert!(said(|l| l.shared = 100 * 1024).contains("102400 bytes"));
        let (out, ids) =
            (Tensor::zeros(4, DType::F32, &Device::Cpu), Tensor::zeros(4, DType::U32, &Device::Cpu));
        let (out, ids) = (out.expect("f32"), ids.expect("u32"));
        let list = super::super::Addresses::new(vec![out.clone()]).expect("addresses");
        let run = |args: &[Arg<'_>]| {
            launch(&Launch { kernel: "takes_wide", grid: (1, 1), threads: 32, shared: 0, args })
        };
        run(&[Arg::U64(7), Arg::Write(&out)]).expect("what the kernel takes");
        for (index, args) in [
            (0, [Arg::U32(7), Arg::Write(&out)]),
            (0, [Arg::F32(7.0), Arg::Write(&out)]),
            (0, [Arg::Null, Arg::Write(&out)]),
            (1, [Arg::U64(7), Arg::Write(&ids)]),
            (1, [Arg::U64(7), Arg::U64(7)]),
            (1, [Arg::U64(7), Arg::Pointers(&list)]),
        ] {
            let error = run(&args).expect_err("another type").to_string();
            assert!(error.contains(&format!("argument {index} has another type")), "{error}");
        }
    }
}
