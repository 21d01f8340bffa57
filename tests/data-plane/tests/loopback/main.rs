//! The whole data plane in one process: the engine's shell against replicas over TCP, with losses.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails the test"
)]

mod encrypted;

use bytes::Bytes;
use moraine_data_plane_tests::Cluster;
use moraine_engine::IoError;
use moraine_engine::shell::{Attachment, EndReason, OpenError, Phase, StateError};
use moraine_engine_bench::load::{Load, Mode};
use moraine_model::Cut;
use std::future::Future;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::runtime::LocalRuntime;

const BLOCK: usize = 4096;
const SIZE: u64 = 16 << 20;
const LIMIT: Duration = Duration::from_mins(1);

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = LocalRuntime::new().unwrap();
    let limited = async { tokio::time::timeout(LIMIT, test).await };
    runtime.block_on(limited).expect("the test hangs")
}

async fn attach(cluster: &Cluster, attach: u32, state: &str) -> Attachment {
    let attachment = cluster.options(SIZE, attach, state).open().unwrap();
    attachment.attached().await.unwrap();
    attachment
}

/// Attaches with the state of an engine that has just been dropped: its task ends at its next turn,
/// and with it the lock of the folder.
async fn attach_again(cluster: &Cluster) -> Attachment {
    let attachment = loop {
        match cluster.options(SIZE, 1, "state").open() {
            Ok(attachment) => break attachment,
            Err(OpenError::State(StateError::InUse { .. })) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    attachment.attached().await.unwrap();
    attachment
}

/// A block that says its number.
fn block(number: u64) -> Bytes {
    let bytes = number.to_le_bytes().into_iter().cycle().take(BLOCK);
    bytes.collect()
}

async fn write_blocks(volume: &Attachment, numbers: impl Iterator<Item = u64>, seed: u64) {
    for number in numbers {
        let offset = number * BLOCK as u64;
        volume.write(offset, block(number + seed)).await.unwrap();
    }
}

async fn assert_blocks(volume: &Attachment, numbers: impl Iterator<Item = u64>, seed: u64) {
    for number in numbers {
        let offset = number * BLOCK as u64;
        let found = volume.read(offset, BLOCK as u64).await.unwrap();
        assert!(found == block(number + seed), "block {number}");
    }
}

/// Verifies every read of a load while something happens to the cluster.
async fn under_load<F: Future<Output = ()>>(volume: &Attachment, happens: F) {
    let load = Load {
        verify: true,
        ..Load::new(Mode::Mixed, 16, Duration::from_secs(2))
    };
    let (report, ()) = tokio::join!(load.run(volume), happens);
    let report = report.unwrap();
    assert!(report.is_good() && report.verified > 0, "{report}");
}

#[test]
fn what_is_written_is_read_over_chunks_and_shards() {
    run(async {
        let cluster = Cluster::start(3, 2, 8).await;
        let volume = attach(&cluster, 1, "state").await;
        // Three MiB across the end of the first chunk.
        let (offset, length) = ((3 << 20) + 4096, 3 << 20);
        let data: Bytes = (0..length / BLOCK as u64).flat_map(block).collect();
        volume.write(offset, data.clone()).await.unwrap();
        assert!(volume.read(offset, length).await.unwrap() == data);
        volume.zero(offset + 4096, 2 << 20).await.unwrap();
        volume.flush().await.unwrap();
        let found = volume.read(offset, length).await.unwrap();
        assert!(found[..4096] == data[..4096]);
        assert!(found[4096..4096 + (2 << 20)].iter().all(|byte| *byte == 0));
        assert!(found[4096 + (2 << 20)..] == data[4096 + (2 << 20)..]);
        let refused = volume.read(1, 4096).await.unwrap_err();
        assert!(matches!(refused, IoError::Misaligned { .. }));
        assert_eq!(volume.detach().await, Ok(true));
        assert_eq!(volume.read(0, 4096).await, Err(IoError::Detached));
    });
}

#[test]
fn a_load_sees_no_lost_connection() {
    run(async {
        let cluster = Cluster::start(3, 2, 8).await;
        let volume = attach(&cluster, 1, "state").await;
        let cuts = async {
            for number in 0..20 {
                tokio::time::sleep(Duration::from_millis(70)).await;
                cluster.cut_connections(number % 3);
            }
        };
        under_load(&volume, cuts).await;
    });
}

#[test]
fn a_load_sees_no_killed_agent_that_the_map_drops() {
    run(async {
        let mut cluster = Cluster::start(3, 1, 8).await;
        let volume = attach(&cluster, 1, "state").await;
        let kill = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.kill(1);
            cluster.drop_disk(1);
        };
        under_load(&volume, kill).await;
    });
}

#[test]
fn an_agent_that_is_killed_and_comes_back_at_once_is_waited_for() {
    run(async {
        let mut cluster = Cluster::start(3, 1, 8).await;
        let volume = attach(&cluster, 1, "state").await;
        let restarts = async {
            for number in 0..3 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                cluster.kill(number);
                tokio::time::sleep(Duration::from_millis(100)).await;
                cluster.restart(number).await;
            }
        };
        under_load(&volume, restarts).await;
    });
}

#[test]
fn an_agent_that_returns_copies_what_it_missed_and_serves_it() {
    run(async {
        let mut cluster = Cluster::start(3, 1, 8).await;
        let volume = attach(&cluster, 1, "state").await;
        write_blocks(&volume, 0..64, 1).await;
        cluster.kill(2);
        cluster.drop_disk(2);
        write_blocks(&volume, 32..96, 2).await;
        cluster.restart(2).await;
        cluster.list_disk(2);
        write_blocks(&volume, 90..100, 3).await;
        cluster.promote_disk(2).await;
        // Now it is alone.
        cluster.kill(0);
        cluster.kill(1);
        cluster.drop_disk(0);
        cluster.drop_disk(1);
        assert_blocks(&volume, 0..32, 1).await;
        assert_blocks(&volume, 32..90, 2).await;
        assert_blocks(&volume, 90..100, 3).await;
    });
}

#[test]
fn an_engine_that_was_killed_starts_again_with_all_that_was_acknowledged() {
    run(async {
        let cluster = Cluster::start(3, 2, 8).await;
        let volume = attach(&cluster, 1, "state").await;
        write_blocks(&volume, 0..200, 1).await;
        let first = volume.status().borrow().generation;
        drop(volume);
        let volume = attach_again(&cluster).await;
        let second = volume.status().borrow().generation;
        assert_eq!(
            (second.attach, second.incarnation),
            (1, first.incarnation + 1)
        );
        assert_blocks(&volume, 0..200, 1).await;
    });
}

#[test]
fn a_newer_attachment_fences_the_older_one() {
    run(async {
        let cluster = Cluster::start(3, 1, 8).await;
        let old = attach(&cluster, 1, "there").await;
        write_blocks(&old, 0..8, 1).await;
        let new = attach(&cluster, 2, "here").await;
        write_blocks(&new, 4..12, 2).await;
        let refused = old.write(0, block(9)).await.unwrap_err();
        assert!(
            matches!(refused, IoError::Fenced { by } if by.attach == 2),
            "{refused}"
        );
        assert!(matches!(old.detach().await, Err(EndReason::Fenced { .. })));
        assert_blocks(&new, 0..4, 1).await;
        assert_blocks(&new, 4..12, 2).await;
    });
}

#[test]
fn a_new_size_is_told_when_it_is_there() {
    run(async {
        let cluster = Cluster::start(2, 1, 4).await;
        let volume = attach(&cluster, 1, "state").await;
        let refused = volume.write(SIZE, block(1)).await.unwrap_err();
        assert!(matches!(refused, IoError::OutOfRange { .. }));
        volume.resize(SIZE + (8 << 20)).await.unwrap();
        assert_eq!(volume.size_bytes(), SIZE + (8 << 20));
        volume.write(SIZE, block(1)).await.unwrap();
        assert!(volume.resize(SIZE).await.is_err());
    });
}

#[test]
fn a_reached_cut_outlives_a_restart_though_nothing_was_written_with_it() {
    run(async {
        let cluster = Cluster::start(2, 1, 4).await;
        let volume = attach(&cluster, 1, "state").await;
        write_blocks(&volume, 0..4, 1).await;
        volume.raise_cut(Cut(5)).await.unwrap();
        assert_eq!(volume.status().borrow().cut_reached, Some(Cut(5)));
        assert_eq!(volume.detach().await, Ok(true));
        drop(volume);
        let volume = attach_again(&cluster).await;
        // Not what the volume is said to have, but what others know as reached, counts.
        volume.raise_cut(Cut(1)).await.unwrap();
        assert_eq!(volume.status().borrow().cut_reached, Some(Cut(5)));
    });
}

#[test]
fn a_map_that_goes_back_is_not_taken() {
    run(async {
        let cluster = Cluster::start(3, 1, 4).await;
        let old = std::fs::read_to_string(cluster.path("map.json")).unwrap();
        let volume = attach(&cluster, 1, "state").await;
        cluster.drop_disk(2);
        write_blocks(&volume, 0..8, 1).await;
        std::fs::write(cluster.path("map.json"), old).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        write_blocks(&volume, 8..16, 1).await;
        std::fs::write(cluster.path("map.json"), "no map").unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_blocks(&volume, 0..16, 1).await;
    });
}

#[test]
fn who_does_not_know_the_secret_attaches_nothing() {
    run(async {
        let cluster = Cluster::start(2, 1, 4).await;
        let wrong = [b'x'; 40];
        std::fs::write(cluster.path("secret"), wrong).unwrap();
        let volume = cluster.options(SIZE, 1, "state").open().unwrap();
        let mut status = volume.status();
        let all = status.wait_for(|status| status.suspects.len() == 2).await;
        assert!(all.is_ok());
        std::fs::write(cluster.path("secret"), "short").unwrap();
        let refused = moraine_engine::shell::read_secret(&cluster.path("secret"));
        assert!(refused.is_err());
    });
}

#[test]
fn what_answers_with_garbage_is_no_replica() {
    run(async {
        let mut cluster = Cluster::start(2, 1, 4).await;
        cluster.kill(1);
        let listener = bind(&cluster.address(1)).await;
        let impostor = tokio::task::spawn_local(async move {
            let mut told = 0_u8;
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                told = told.wrapping_add(37);
                // It may have hung up before.
                let _ = stream.write_all(&[told; 200]).await;
            }
        });
        let volume = cluster.options(SIZE, 1, "state").open().unwrap();
        let mut status = volume.status();
        let suspected = status.wait_for(|status| status.suspects.len() == 1).await;
        assert_eq!(suspected.unwrap().phase, Phase::Attaching);
        impostor.abort();
        let _ = impostor.await;
        cluster.restart(1).await;
        volume.attached().await.unwrap();
        write_blocks(&volume, 0..8, 1).await;
        assert_blocks(&volume, 0..8, 1).await;
    });
}

/// Listens where an agent was killed, as soon as the kernel gives its port back.
async fn bind(address: &str) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
