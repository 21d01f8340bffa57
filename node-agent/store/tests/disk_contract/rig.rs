//! The disks under test, and the small things that every check needs.

use moraine_store::Buffer;
use moraine_store::disk::{
    Backend, Choice, Completion, Device, Disk, Fault, FaultyDisk, Geometry, MemoryDisk,
    OpenOptions, Operation, Order, RecordingDisk,
};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Enough for every check, small enough for a loop device in a moment.
pub(crate) const SIZE_BYTES: u64 = 8 << 20;
pub(crate) const BACKENDS: [Backend; 2] = [Backend::Uring, Backend::Threads];

/// A disk and what must outlive it.
pub(crate) struct Rig {
    pub(crate) name: String,
    pub(crate) disk: Option<Box<dyn Disk + Send>>,
    // Dropped after the disk, in this order.
    _loop_device: Option<LoopDevice>,
    _folder: Option<TempDir>,
}

impl Rig {
    fn of(name: &str, disk: impl Disk + Send + 'static) -> Self {
        Self {
            name: name.to_owned(),
            disk: Some(Box::new(disk)),
            _loop_device: None,
            _folder: None,
        }
    }

    pub(crate) fn disk(&mut self) -> &mut dyn Disk {
        self.disk.as_deref_mut().unwrap()
    }
}

pub(crate) fn all() -> Vec<Rig> {
    let mut rigs = vec![
        Rig::of("memory, 512", MemoryDisk::new(SIZE_BYTES, 512)),
        Rig::of("memory, 4096", MemoryDisk::new(SIZE_BYTES, 4096)),
        Rig::of("faulty", pass_through(MemoryDisk::new(SIZE_BYTES, 512))),
        Rig::of("recording", recording()),
    ];
    for backend in BACKENDS {
        let folder = folder();
        let path = file(&folder, SIZE_BYTES);
        let disk = open(&path, backend);
        rigs.push(Rig {
            _folder: Some(folder),
            ..Rig::of(&format!("{backend:?}, file"), disk)
        });
        for block_bytes in [512, 4096] {
            let folder = self::folder();
            let Some(device) = LoopDevice::over(&file(&folder, SIZE_BYTES), block_bytes) else {
                continue;
            };
            let disk = open(&device.path, backend);
            assert_eq!(disk.geometry().logical_block_bytes, block_bytes);
            rigs.push(Rig {
                _loop_device: Some(device),
                _folder: Some(folder),
                ..Rig::of(&format!("{backend:?}, loop, {block_bytes}"), disk)
            });
        }
    }
    for rig in &mut rigs {
        let Geometry { size_bytes, .. } = rig.disk().geometry();
        assert_eq!(size_bytes, SIZE_BYTES, "{}", rig.name);
    }
    rigs
}

fn pass_through(disk: MemoryDisk) -> FaultyDisk<MemoryDisk> {
    FaultyDisk::new(disk, Box::new(|_, _| Fault::None))
}

fn recording() -> RecordingDisk {
    RecordingDisk::new(MemoryDisk::new(SIZE_BYTES, 512), Order::Shuffled(7))
}

/// A folder beside the build, on a real file system: the usual place for such is often in memory.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Zeros that were written, since a hole costs the file system a commit for each first write.
pub(crate) fn file(folder: &TempDir, size_bytes: u64) -> PathBuf {
    let path = folder.path().join("disk");
    let mut file = std::fs::File::create_new(&path).unwrap();
    let zeros = vec![0; usize::try_from(size_bytes).unwrap()];
    file.write_all(&zeros).unwrap();
    file.sync_all().unwrap();
    path
}

pub(crate) fn options(backend: Backend) -> OpenOptions {
    OpenOptions {
        choice: Choice::Only(backend),
        ..OpenOptions::default()
    }
}

pub(crate) fn open(path: &Path, backend: Backend) -> impl Disk + Send + use<> {
    let device = Device::open(path, &options(backend)).unwrap();
    device.handle().unwrap().disk
}

/// A block device over a file, until dropped.
pub(crate) struct LoopDevice {
    pub(crate) path: PathBuf,
}

impl LoopDevice {
    /// None where this user or machine can't have one.
    pub(crate) fn over(file: &Path, block_bytes: u32) -> Option<Self> {
        let made = Command::new("losetup")
            .args([
                "--find",
                "--show",
                "--sector-size",
                &block_bytes.to_string(),
            ])
            .arg(file)
            .output()
            .ok()?;
        if !made.status.success() {
            println!(
                "no loop device here: {}",
                String::from_utf8_lossy(&made.stderr)
            );
            return None;
        }
        let path = String::from_utf8(made.stdout).unwrap();
        Some(Self {
            path: PathBuf::from(path.trim()),
        })
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let ended = Command::new("losetup")
            .arg("--detach")
            .arg(&self.path)
            .status();
        assert!(ended.unwrap().success());
    }
}

/// The same bytes for the same number, different ones for each number and sector.
pub(crate) fn pattern(number: u64) -> Vec<u8> {
    let sector = |nth: u64| (number * 8 + nth + 1).to_le_bytes().repeat(512 / 8);
    (0..8).flat_map(sector).collect()
}

/// The disk's own buffer with the patterns of these numbers.
pub(crate) fn filled(disk: &mut dyn Disk, numbers: &[u64]) -> Buffer {
    let mut buffer = disk.buffer(numbers.len());
    for (block, &number) in buffer.chunks_exact_mut(4096).zip(numbers) {
        block.copy_from_slice(&pattern(number));
    }
    buffer
}

/// Waits until nothing is in flight.
pub(crate) fn drain(disk: &mut dyn Disk) -> Vec<Completion> {
    let mut completions = Vec::new();
    while disk.in_flight() > 0 {
        let before = completions.len();
        disk.wait(&mut completions);
        assert!(
            completions.len() > before,
            "a wait brings at least one completion"
        );
    }
    completions
}

/// Runs one operation to its end.
pub(crate) fn run(disk: &mut dyn Disk, operation: Operation) -> Completion {
    disk.submit(77, operation).unwrap();
    let mut completions = drain(disk);
    assert_eq!((completions.len(), completions[0].tag), (1, 77));
    completions.remove(0)
}

pub(crate) fn write(disk: &mut dyn Disk, offset: u64, numbers: &[u64]) -> Completion {
    let buffers = vec![filled(disk, numbers)];
    run(disk, Operation::Write { offset, buffers })
}

/// Reads blocks, which must succeed.
pub(crate) fn read(disk: &mut dyn Disk, offset: u64, blocks: usize) -> Vec<u8> {
    let buffer = disk.buffer(blocks);
    let completion = run(disk, Operation::Read { offset, buffer });
    completion.outcome.unwrap();
    let Operation::Read { buffer, .. } = completion.operation else {
        panic!("another operation came back")
    };
    let bytes = buffer.to_vec();
    disk.recycle(buffer);
    bytes
}

/// A small generator, so that every run is the same.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
