//! Opens a file or block device as a disk, for this process alone, with the best backend that the
//! system allows.
//!
//! A file is locked with `flock`, a block device claimed with `O_EXCL` (which also refuses one that
//! is mounted or part of an array). Both end with the last handle. It does not look at what is on
//! the disk: formats are the store's matter. It logs nothing; what it chose and why are values.

mod error;

pub use error::{OpenError, OpenErrorKind};

use super::{Completion, Disk, Geometry, Operation, PoolReport, ThreadDisk, UringDisk};
use crate::Buffer;
use error::Place;
use moraine_model::BLOCK_BYTES;
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags, SeekFrom, StatxFlags,
};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How often a busy device is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// The unit of a power cut where nothing better is known: the smallest.
const SECTOR_BYTES: u32 = 512;

/// How a handle talks to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// [`UringDisk`].
    Uring,
    /// [`ThreadDisk`].
    Threads,
}

/// Which backend to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// `io_uring`, or threads where the system refuses it.
    #[default]
    Best,
    /// This one or an error.
    Only(Backend),
}

/// Why a handle has its backend.
#[derive(Debug)]
pub enum Why {
    /// It is the best there is.
    Best,
    /// The caller asked for it.
    Asked,
    /// The system refused `io_uring`, with this error.
    UringRefused(io::Error),
}

/// How to open a device.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Which backend to use.
    pub choice: Choice,
    /// Operations in flight for each handle.
    pub queue_depth: usize,
    /// Memory that each `io_uring` handle may register with the kernel. It counts against
    /// `RLIMIT_MEMLOCK` of the user, over all its processes, unless the process has `CAP_IPC_LOCK`.
    pub registered_bytes: usize,
    /// Threads of each handle that has no `io_uring`.
    pub threads: usize,
    /// Refuse every write, discard and sync, and need no permission for them.
    pub read_only: bool,
    /// How long to try again while another process has the device. A process that was killed
    /// gives it back only when the kernel has finished its I/O.
    pub patience: Duration,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            choice: Choice::Best,
            queue_depth: 128,
            registered_bytes: 4 << 20,
            threads: 8,
            read_only: false,
            patience: Duration::from_secs(1),
        }
    }
}

/// An open device, locked against every other process (and every other `Device`) until it and its
/// handles are dropped.
#[derive(Debug)]
pub struct Device {
    file: Arc<File>,
    geometry: Geometry,
    direct: bool,
    options: OpenOptions,
    place: Place,
}

/// A handle of a device, for one thread.
#[derive(Debug)]
pub struct Opened {
    /// The handle.
    pub disk: DeviceDisk,
    /// How it talks to the kernel.
    pub backend: Backend,
    /// Why in this way.
    pub why: Why,
}

/// A disk of the kernel, whichever way it is asked.
#[derive(Debug)]
pub enum DeviceDisk {
    /// By `io_uring`.
    Uring(Box<UringDisk>),
    /// By threads.
    Threads(ThreadDisk),
}

impl Device {
    /// Opens and locks the file or block device at `path`.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self, OpenError> {
        let place = Place::new(path);
        let kind = file_type(&rustix::fs::stat(path).map_err(place.during("look at"))?);
        let exclusive = match kind {
            FileType::BlockDevice => OFlags::EXCL,
            FileType::RegularFile => OFlags::empty(),
            _ => return Err(place.refuse(OpenErrorKind::NotADisk, "use")),
        };
        let started = Instant::now();
        let (file, direct) = loop {
            match open_locked(&place, options.read_only, exclusive) {
                Err(error)
                    if error.kind == OpenErrorKind::Busy
                        && started.elapsed() < options.patience =>
                {
                    thread::sleep(BUSY_PAUSE);
                }
                other => break other?,
            }
        };
        let stat = rustix::fs::fstat(&file).map_err(place.during("look at"))?;
        if file_type(&stat) != kind {
            return Err(place.refuse(OpenErrorKind::NotADisk, "use"));
        }
        let (logical_block_bytes, size) = match kind {
            FileType::BlockDevice => block_device(&file, &place)?,
            _ => (
                direct_unit(&file, &place)?,
                u64::try_from(stat.st_size).unwrap_or(0),
            ),
        };
        let size_bytes = size - size % BLOCK_BYTES as u64;
        if size_bytes == 0 {
            return Err(place.refuse(OpenErrorKind::TooSmall, "use"));
        }
        Ok(Self {
            file: Arc::new(file),
            geometry: Geometry {
                size_bytes,
                logical_block_bytes,
                queue_depth: options.queue_depth.clamp(1, 4096),
            },
            direct,
            options: options.clone(),
            place,
        })
    }

    /// Size and units.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Whether transfers go past the page cache. They do unless the file system can't; then writes
    /// are durable all the same, but memory holds everything twice.
    pub fn direct(&self) -> bool {
        self.direct
    }

    /// A handle with a ring, or threads, of its own.
    pub fn handle(&self) -> Result<Opened, OpenError> {
        if self.options.choice == Choice::Only(Backend::Threads) {
            return self.threads(Why::Asked);
        }
        let file = Arc::clone(&self.file);
        let why = match self.options.choice {
            Choice::Best => Why::Best,
            Choice::Only(_) => Why::Asked,
        };
        match UringDisk::new(file, self.geometry, self.options.registered_bytes) {
            Ok(disk) => Ok(Opened {
                disk: DeviceDisk::Uring(Box::new(disk)),
                backend: Backend::Uring,
                why,
            }),
            Err(error) if self.options.choice == Choice::Best => {
                self.threads(Why::UringRefused(error))
            }
            Err(error) => {
                Err(self
                    .place
                    .failed(OpenErrorKind::NoBackend, "set up io_uring for", error))
            }
        }
    }

    fn threads(&self, why: Why) -> Result<Opened, OpenError> {
        let file = Arc::clone(&self.file);
        let disk = ThreadDisk::new(file, self.geometry, self.options.threads).map_err(|error| {
            self.place
                .failed(OpenErrorKind::NoBackend, "start threads for", error)
        })?;
        Ok(Opened {
            disk: DeviceDisk::Threads(disk),
            backend: Backend::Threads,
            why,
        })
    }
}

fn file_type(stat: &rustix::fs::Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The open file and whether it does direct I/O.
fn open_locked(
    place: &Place,
    read_only: bool,
    exclusive: OFlags,
) -> Result<(File, bool), OpenError> {
    let access = if read_only {
        OFlags::RDONLY
    } else {
        OFlags::RDWR
    };
    let flags = access | OFlags::CLOEXEC | exclusive;
    let open = |flags| rustix::fs::open(place.path(), flags, Mode::empty());
    let (file, direct) = match open(flags | OFlags::DIRECT) {
        Ok(file) => (file, true),
        Err(Errno::INVAL) => (open(flags).map_err(place.during("open"))?, false),
        Err(error) => return Err(place.during("open")(error)),
    };
    if exclusive.is_empty() {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(place.during("lock"))?;
    }
    Ok((File::from(file), direct))
}

/// Logical block and size of a block device.
fn block_device(file: &File, place: &Place) -> Result<(u32, u64), OpenError> {
    let unit = rustix::fs::ioctl_blksszget(file).map_err(place.during("ask the block size of"))?;
    let size = rustix::fs::seek(file, SeekFrom::End(0)).map_err(place.during("measure"))?;
    Ok((usable_unit(unit, place)?, size))
}

/// The unit of direct I/O of a file, which is the logical block of the device below it.
fn direct_unit(file: &File, place: &Place) -> Result<u32, OpenError> {
    let told = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)
        .ok()
        .filter(|told| told.stx_mask & StatxFlags::DIOALIGN.bits() != 0);
    let Some(told) = told else {
        return Ok(SECTOR_BYTES);
    };
    usable_unit(told.stx_dio_mem_align, place)?;
    usable_unit(told.stx_dio_offset_align, place)
}

fn usable_unit(bytes: u32, place: &Place) -> Result<u32, OpenError> {
    if bytes as usize > BLOCK_BYTES {
        return Err(place.refuse(OpenErrorKind::BlockSize(bytes), "use"));
    }
    Ok(bytes.max(SECTOR_BYTES))
}

/// What a new file device takes from its file system at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// Nothing: it grows as it is written, and a full file system shows as a failed write.
    Sparse,
    /// All of its space, so that it can't run out. Each block's first write is slower, since the
    /// file system has to note that it was written.
    Reserved,
}

/// Makes a file of `size_bytes`, whole blocks, where there is none. On an error nothing is left.
pub fn create_file(path: &Path, size_bytes: u64, allocation: Allocation) -> Result<(), OpenError> {
    let place = Place::new(path);
    if size_bytes == 0 || !size_bytes.is_multiple_of(BLOCK_BYTES as u64) {
        return Err(place.refuse(OpenErrorKind::TooSmall, "create"));
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::open(path, flags, mode).map_err(place.during("create"))?;
    let filled = match allocation {
        Allocation::Sparse => rustix::fs::ftruncate(&file, size_bytes),
        Allocation::Reserved => has_room(&file, size_bytes)
            .and_then(|()| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size_bytes)),
    };
    filled
        .and_then(|()| rustix::fs::fsync(&file))
        .and_then(|()| sync_parent(path))
        .map_err(|error| {
            // The first error is the one to tell.
            let _ = rustix::fs::unlink(path);
            place.during("reserve space for")(error)
        })
}

/// Whether the file system has so much room. Asked first: one that has not would take all there is
/// before it fails, and whoever writes to it meanwhile fails too.
fn has_room(file: &OwnedFd, size_bytes: u64) -> rustix::io::Result<()> {
    let system = rustix::fs::fstatvfs(file)?;
    if size_bytes > system.f_bavail.saturating_mul(system.f_frsize) {
        return Err(Errno::NOSPC);
    }
    Ok(())
}

/// Makes the name durable.
fn sync_parent(path: &Path) -> rustix::io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = rustix::fs::open(
        parent,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::fs::fsync(&folder)
}

impl DeviceDisk {
    /// What is registered with the kernel; nothing where threads serve.
    pub fn pool_report(&self) -> PoolReport {
        match self {
            Self::Uring(disk) => disk.pool_report().clone(),
            Self::Threads(_) => PoolReport::default(),
        }
    }
}

macro_rules! either {
    ($self:ident, $disk:ident => $what:expr) => {
        match $self {
            Self::Uring($disk) => $what,
            Self::Threads($disk) => $what,
        }
    };
}

impl DeviceDisk {
    /// A descriptor that is readable while completions wait to be polled, for who waits for several
    /// things at once. What was submitted starts at the next poll, so poll before waiting for it.
    pub fn readiness(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Uring(disk) => Ok(disk.readiness()),
            Self::Threads(disk) => disk.readiness(),
        }
    }
}

impl Disk for DeviceDisk {
    fn geometry(&self) -> Geometry {
        either!(self, disk => disk.geometry())
    }

    fn submit(&mut self, tag: u64, operation: Operation) -> Result<(), Operation> {
        either!(self, disk => disk.submit(tag, operation))
    }

    fn poll(&mut self, completions: &mut Vec<Completion>) {
        either!(self, disk => disk.poll(completions));
    }

    fn wait(&mut self, completions: &mut Vec<Completion>) {
        either!(self, disk => disk.wait(completions));
    }

    fn in_flight(&self) -> usize {
        either!(self, disk => disk.in_flight())
    }

    fn buffer(&mut self, blocks: usize) -> Buffer {
        either!(self, disk => disk.buffer(blocks))
    }

    fn recycle(&mut self, buffer: Buffer) {
        either!(self, disk => disk.recycle(buffer));
    }
}
