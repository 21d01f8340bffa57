//! Devices of the kernel alone: locks, refusals, errors of the device, and the end of a handle.

use super::rig::{BACKENDS, LoopDevice, SIZE_BYTES, drain, file, filled, folder, open, options};
use super::rig::{pattern, read, run, write};
use moraine_store::Buffer;
use moraine_store::disk::{
    Allocation, Backend, Choice, Device, DeviceDisk, Disk, FailureKind, OpenErrorKind, OpenOptions,
    Operation, Why, create_file,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::OpenOptions as FileOptions;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn impatient() -> OpenOptions {
    OpenOptions {
        patience: Duration::ZERO,
        ..OpenOptions::default()
    }
}

fn refusal(path: &Path) -> OpenErrorKind {
    Device::open(path, &impatient()).unwrap_err().kind
}

#[test]
fn a_file_cut_short_behind_our_back_is_a_failure() {
    for backend in BACKENDS {
        let folder = folder();
        let path = file(&folder, SIZE_BYTES);
        let mut disk = open(&path, backend);
        write(&mut disk, 0, &[1, 2]).outcome.unwrap();
        let other = FileOptions::new().write(true).open(&path).unwrap();
        other.set_len(4096).unwrap();
        for (offset, blocks) in [(0, 2), (4096, 1)] {
            let buffer = disk.buffer(blocks);
            let completion = run(&mut disk, Operation::Read { offset, buffer });
            let failure = completion.outcome.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Short, "{backend:?}, {offset}");
        }
        assert!(read(&mut disk, 0, 1) == pattern(1));
    }
}

#[test]
fn an_error_of_the_device_is_a_failure_with_its_source() {
    for backend in BACKENDS {
        let folder = folder();
        let path = file(&folder, SIZE_BYTES);
        let Some(device) = LoopDevice::over(&path, 512) else {
            return;
        };
        let mut disk = open(&device.path, backend);
        let other = FileOptions::new().write(true).open(&path).unwrap();
        other.set_len(1 << 20).unwrap();
        let buffer = disk.buffer(1);
        let offset = 4 << 20;
        let completion = run(&mut disk, Operation::Read { offset, buffer });
        let failure = completion.outcome.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Io);
        assert_eq!(
            failure.source.unwrap().raw_os_error(),
            Some(5),
            "{backend:?}"
        );
        drop(disk);
    }
}

/// Flushes that the kernel sent to the device so far.
fn flushes(device: &LoopDevice) -> u64 {
    let name = device.path.file_name().unwrap().to_str().unwrap();
    let counts = std::fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
    counts.split_whitespace().nth(15).unwrap().parse().unwrap()
}

/// No test can cut the power, but the device must have been told to flush before a write completes.
#[test]
fn each_write_is_flushed_before_it_completes() {
    for backend in BACKENDS {
        let folder = folder();
        let path = file(&folder, SIZE_BYTES);
        let Some(device) = LoopDevice::over(&path, 512) else {
            return;
        };
        let mut disk = open(&device.path, backend);
        for nth in 1..=3 {
            for pieces in [1, 2] {
                let before = flushes(&device);
                let buffers = (0..pieces).map(|_| filled(&mut disk, &[nth])).collect();
                let completion = run(&mut disk, Operation::Write { offset: 0, buffers });
                completion.outcome.unwrap();
                assert!(flushes(&device) > before, "{backend:?}, {pieces} pieces");
            }
        }
        let before = flushes(&device);
        assert!(read(&mut disk, 0, 1) == pattern(3));
        assert_eq!(flushes(&device), before, "the count tells something");
        run(&mut disk, Operation::Sync).outcome.unwrap();
        assert!(flushes(&device) > before, "{backend:?}, sync");
        drop(disk);
    }
}

#[test]
fn a_device_opened_to_read_refuses_to_write() {
    for backend in BACKENDS {
        let folder = folder();
        let path = file(&folder, SIZE_BYTES);
        write(&mut open(&path, backend), 0, &[1]).outcome.unwrap();
        let options = OpenOptions {
            read_only: true,
            ..options(backend)
        };
        let device = Device::open(&path, &options).unwrap();
        let mut disk = device.handle().unwrap().disk;
        assert!(read(&mut disk, 0, 1) == pattern(1));
        let failure = write(&mut disk, 0, &[2]).outcome.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Io);
        assert!(failure.source.is_some());
        assert!(read(&mut disk, 0, 1) == pattern(1));
    }
}

#[test]
fn dropping_a_handle_waits_for_what_it_was_given() {
    for backend in BACKENDS {
        let folder = folder();
        let path = file(&folder, SIZE_BYTES);
        for round in 0..8 {
            let mut disk = open(&path, backend);
            for tag in 0..100 {
                let buffers = vec![filled(&mut disk, &[tag + round])];
                let offset = tag * 4096;
                disk.submit(tag, Operation::Write { offset, buffers })
                    .unwrap();
            }
            disk.poll(&mut Vec::new());
            drop(disk);
            let mut disk = open(&path, backend);
            for tag in 0..100 {
                assert!(
                    read(&mut disk, tag * 4096, 1) == pattern(tag + round),
                    "{backend:?}"
                );
            }
        }
    }
}

#[test]
fn shards_share_a_device_with_a_handle_each() {
    let folder = folder();
    let path = file(&folder, SIZE_BYTES);
    let device = Device::open(&path, &OpenOptions::default()).unwrap();
    std::thread::scope(|scope| {
        for shard in 0..4 {
            let device = &device;
            scope.spawn(move || {
                let mut disk = device.handle().unwrap().disk;
                for nth in 0..50 {
                    let offset = (nth * 4 + shard) * 4096;
                    write(&mut disk, offset, &[nth * 4 + shard])
                        .outcome
                        .unwrap();
                }
            });
        }
    });
    let mut disk = device.handle().unwrap().disk;
    for block in 0..200 {
        assert!(read(&mut disk, block * 4096, 1) == pattern(block));
    }
}

#[test]
fn a_device_has_one_owner() {
    let folder = folder();
    let path = file(&folder, SIZE_BYTES);
    let device = Device::open(&path, &impatient()).unwrap();
    let mut disk = device.handle().unwrap().disk;
    assert_eq!(refusal(&path), OpenErrorKind::Busy);
    drop(device);
    assert_eq!(
        refusal(&path),
        OpenErrorKind::Busy,
        "the handle still has it"
    );
    write(&mut disk, 0, &[1]).outcome.unwrap();
    drop(disk);
    Device::open(&path, &OpenOptions::default()).unwrap();
}

#[test]
fn a_block_device_has_one_owner_of_any_kind() {
    let folder = folder();
    let path = file(&folder, SIZE_BYTES);
    let Some(looped) = LoopDevice::over(&path, 512) else {
        return;
    };
    let device = Device::open(&looped.path, &OpenOptions::default()).unwrap();
    assert_eq!(refusal(&looped.path), OpenErrorKind::Busy);
    drop(device);
    // As a mount or an array claims it.
    let claim = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC;
    let claimed = rustix::fs::open(&looped.path, claim, Mode::empty()).unwrap();
    assert_eq!(refusal(&looped.path), OpenErrorKind::Busy);
    drop(claimed);
    Device::open(&looped.path, &OpenOptions::default()).unwrap();
}

/// In a process of its own: one that starts another lends it all its locks for a moment.
#[test]
fn a_handle_gives_its_lock_back_when_it_goes() {
    let Some(path) = alone("device::a_handle_gives_its_lock_back_when_it_goes") else {
        return;
    };
    for backend in BACKENDS {
        let patient = options(backend);
        let mut waits = 0;
        for tag in 0..20 {
            let at_once = OpenOptions {
                patience: Duration::ZERO,
                ..options(backend)
            };
            let device = Device::open(&path, &at_once).or_else(|_| {
                // A worker of the kernel may still hold what it wrote to, if it was needed.
                waits += 1;
                Device::open(&path, &patient)
            });
            let mut disk = device.unwrap().handle().unwrap().disk;
            let buffers = vec![filled(&mut disk, &[tag])];
            disk.submit(tag, Operation::Write { offset: 0, buffers })
                .unwrap();
        }
        assert!(
            waits < 10,
            "{backend:?} left it to the kernel {waits} times"
        );
    }
}

#[test]
fn a_busy_device_is_waited_for() {
    let folder = folder();
    let path = file(&folder, SIZE_BYTES);
    let device = Device::open(&path, &impatient()).unwrap();
    let patient = OpenOptions {
        patience: Duration::from_mins(1),
        ..OpenOptions::default()
    };
    let waiting = std::thread::spawn(move || Device::open(&path, &patient).map(drop));
    std::thread::sleep(Duration::from_millis(50));
    drop(device);
    waiting.join().unwrap().unwrap();
}

#[test]
fn what_is_no_disk_is_refused() {
    let folder = folder();
    assert_eq!(refusal(folder.path()), OpenErrorKind::NotADisk);
    assert_eq!(refusal(Path::new("/dev/null")), OpenErrorKind::NotADisk);
    assert_eq!(
        refusal(&folder.path().join("none")),
        OpenErrorKind::NotFound
    );
    assert_eq!(refusal(&file(&folder, 4095)), OpenErrorKind::TooSmall);
    let error = Device::open(Path::new("/dev/null"), &impatient()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "can't use /dev/null: it is neither a file nor a block device"
    );
}

#[test]
fn the_backend_is_what_was_asked_for() {
    let folder = folder();
    let path = file(&folder, SIZE_BYTES + 4095);
    for backend in BACKENDS {
        let device = Device::open(&path, &options(backend)).unwrap();
        assert_eq!(device.geometry().size_bytes, SIZE_BYTES, "whole blocks");
        let opened = device.handle().unwrap();
        assert_eq!(opened.backend, backend);
        assert!(matches!(opened.why, Why::Asked));
    }
}

/// Runs this test again in a process of its own, which gets the path of a new file.
fn alone(test: &str) -> Option<PathBuf> {
    const CHILD: &str = "MORAINE_TEST_ALONE";
    if let Some(path) = std::env::var_os(CHILD) {
        return Some(PathBuf::from(path));
    }
    let folder = folder();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(CHILD, file(&folder, SIZE_BYTES))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}"
    );
    None
}

/// In a process that may have no more descriptors than it needs without a ring.
#[test]
fn where_the_ring_is_refused_threads_serve() {
    let Some(path) = alone("device::where_the_ring_is_refused_threads_serve") else {
        return;
    };
    let device = Device::open(&path, &OpenOptions::default()).unwrap();
    let next = std::fs::File::open("/dev/null").unwrap();
    let limit = Rlimit {
        current: Some(next.as_raw_fd().unsigned_abs().into()),
        ..getrlimit(Resource::Nofile)
    };
    drop(next);
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut opened = device.handle().unwrap();
    assert_eq!(opened.backend, Backend::Threads);
    assert!(
        matches!(opened.why, Why::UringRefused(_)),
        "{:?}",
        opened.why
    );
    write(&mut opened.disk, 0, &[1]).outcome.unwrap();
    assert!(read(&mut opened.disk, 0, 1) == pattern(1));
    let options = OpenOptions {
        choice: Choice::Only(Backend::Uring),
        ..OpenOptions::default()
    };
    drop((opened, device));
    let device = Device::open(&path, &options).unwrap();
    assert_eq!(device.handle().unwrap_err().kind, OpenErrorKind::NoBackend);
}

#[test]
fn a_new_file_has_its_size_and_an_old_one_is_kept() {
    let folder = folder();
    for allocation in [Allocation::Sparse, Allocation::Reserved] {
        let path = folder.path().join(format!("{allocation:?}"));
        create_file(&path, SIZE_BYTES, allocation).unwrap();
        let stat = rustix::fs::stat(&path).unwrap();
        assert_eq!(stat.st_size.unsigned_abs(), SIZE_BYTES);
        let reserved = stat.st_blocks.unsigned_abs() * 512 >= SIZE_BYTES;
        assert_eq!(reserved, allocation == Allocation::Reserved);
        let mut disk = open(&path, Backend::Threads);
        write(&mut disk, 0, &[1]).outcome.unwrap();
        let error = create_file(&path, SIZE_BYTES, allocation).unwrap_err();
        assert_eq!(error.kind, OpenErrorKind::Exists);
        assert!(read(&mut disk, 0, 1) == pattern(1));
    }
}

#[test]
fn a_file_that_finds_no_room_is_not_left_behind() {
    let folder = folder();
    let path = folder.path().join("huge");
    let error = create_file(&path, 1 << 43, Allocation::Reserved).unwrap_err();
    assert_eq!(error.kind, OpenErrorKind::NoSpace, "{error:?}");
    assert!(!path.exists());
}

#[test]
fn registered_memory_is_reported() {
    let folder = folder();
    let device = Device::open(&file(&folder, SIZE_BYTES), &options(Backend::Uring)).unwrap();
    let mut disk = device.handle().unwrap().disk;
    let buffer = disk.buffer(4);
    let report = disk.pool_report();
    match report.refused {
        None => assert_eq!(report.registered_bytes, 4 * 4096),
        Some(_) => assert!(buffer.registration().is_none()),
    }
    // A dropped buffer's slot may not serve for another's memory.
    drop(buffer);
    for nth in 0..8 {
        let buffers = vec![Buffer::copy_of(&pattern(nth))];
        let offset = nth * 4096;
        disk.submit(nth, Operation::Write { offset, buffers })
            .unwrap();
    }
    assert!(
        drain(&mut disk)
            .iter()
            .all(|completion| completion.outcome.is_ok())
    );
    for nth in 0..8 {
        assert!(read(&mut disk, nth * 4096, 1) == pattern(nth));
    }
}

/// Needs root: only a file system of its own kind refuses direct I/O.
#[test]
fn a_file_system_without_direct_io_is_served_and_said() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let folder = folder();
    if mount("none", folder.path(), "ramfs", MountFlags::empty(), None).is_err() {
        println!("no permission to mount here");
        return;
    }
    for backend in BACKENDS {
        let path = folder.path().join(format!("{backend:?}"));
        std::fs::File::create(&path)
            .unwrap()
            .set_len(SIZE_BYTES)
            .unwrap();
        let device = Device::open(&path, &options(backend)).unwrap();
        assert!(!device.direct());
        assert_eq!(device.geometry().logical_block_bytes, 512);
        let mut disk = device.handle().unwrap().disk;
        write(&mut disk, 0, &[1]).outcome.unwrap();
        assert!(read(&mut disk, 0, 1) == pattern(1));
    }
    unmount(folder.path(), UnmountFlags::empty()).unwrap();
}

/// Whether the disk's descriptor becomes readable within this time.
fn rings(disk: &DeviceDisk, patience_ms: u64) -> bool {
    let bell = disk.readiness().unwrap();
    let mut waited = [PollFd::new(&bell, PollFlags::IN)];
    let patience = Timespec::try_from(Duration::from_millis(patience_ms)).unwrap();
    loop {
        match rustix::event::poll(&mut waited, Some(&patience)) {
            // The kernel finishes a ring's work on this thread's way out of a call.
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.unwrap() > 0,
        }
    }
}

#[test]
fn the_descriptor_is_readable_while_completions_wait() {
    for backend in BACKENDS {
        let folder = folder();
        let device = Device::open(&file(&folder, SIZE_BYTES), &options(backend)).unwrap();
        let mut disk = device.handle().unwrap().disk;
        let mut done = Vec::new();
        for round in 0..100 {
            assert!(!rings(&disk, 0), "{backend:?} rings for nothing");
            let buffer = disk.buffer(1);
            let offset = round * 4096;
            disk.submit(round, Operation::Read { offset, buffer })
                .unwrap();
            disk.poll(&mut done);
            if done.is_empty() {
                assert!(
                    rings(&disk, 60_000),
                    "{backend:?} is silent in round {round}"
                );
                disk.poll(&mut done);
            }
            assert_eq!(done.len(), 1, "{backend:?}");
            assert_eq!(done.pop().unwrap().tag, round);
        }
    }
}
