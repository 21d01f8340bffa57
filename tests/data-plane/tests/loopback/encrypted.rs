//! The same with TLS below the frames: what holds without it holds with it, and who isn't of the
//! cluster gets nothing.

use crate::{SIZE, assert_blocks, attach, run, under_load, write_blocks};
use moraine_data_plane_tests::Cluster;
use moraine_engine::shell::{AttachOptions, MapSource, OpenError, Phase};
use moraine_protocol::MapFile;
use moraine_tls::authority::{Authority, Kind};
use moraine_tls::{Stream, Tls, TlsFiles};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

/// Attaches, and waits until every disk is given up.
async fn assert_reaches_nothing(options: AttachOptions, disks: usize) {
    let volume = options.open().unwrap();
    let mut status = volume.status();
    let all = status.wait_for(|status| status.suspects.len() == disks);
    assert_eq!(all.await.unwrap().phase, Phase::Attaching);
}

#[test]
fn a_load_over_tls_sees_no_lost_connection_and_no_killed_agent() {
    run(async {
        let ours = Authority::new("ours");
        let mut cluster = Cluster::start_with_tls(&ours, (3, 2, 8)).await;
        let volume = attach(&cluster, 1, "state").await;
        let losses = async {
            for number in 0..9 {
                tokio::time::sleep(Duration::from_millis(70)).await;
                cluster.cut_connections(number % 3);
            }
            cluster.kill(0);
            tokio::time::sleep(Duration::from_millis(100)).await;
            cluster.restart(0).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            cluster.kill(1);
            cluster.drop_disk(1);
        };
        under_load(&volume, losses).await;
    });
}

#[test]
fn an_agent_copies_over_tls_what_it_missed() {
    run(async {
        let ours = Authority::new("ours");
        let mut cluster = Cluster::start_with_tls(&ours, (2, 1, 8)).await;
        let volume = attach(&cluster, 1, "state").await;
        cluster.kill(1);
        cluster.drop_disk(1);
        write_blocks(&volume, 0..96, 2).await;
        cluster.restart(1).await;
        cluster.list_disk(1);
        cluster.promote_disk(1).await;
        cluster.kill(0);
        cluster.drop_disk(0);
        assert_blocks(&volume, 0..96, 2).await;
    });
}

#[test]
fn an_engine_and_agents_that_do_not_both_have_tls_share_nothing() {
    run(async {
        let ours = Authority::new("ours");
        let encrypted = Cluster::start_with_tls(&ours, (2, 1, 4)).await;
        let mut options = encrypted.options(SIZE, 1, "plain");
        options.tls = None;
        assert_reaches_nothing(options, 2).await;
        let plain = Cluster::start(2, 1, 4).await;
        let mut options = plain.options(SIZE, 1, "encrypted");
        options.tls = encrypted.options(SIZE, 1, "any").tls;
        assert_reaches_nothing(options, 2).await;
    });
}

#[test]
fn an_engine_of_another_authority_or_without_the_secret_reaches_nothing() {
    run(async {
        let (ours, others) = (Authority::new("ours"), Authority::new("others"));
        let cluster = Cluster::start_with_tls(&ours, (2, 1, 4)).await;
        // It would take the agents for what they are.
        let mut options = cluster.options(SIZE, 1, "another");
        let both = [&ours, &others];
        options.tls = Some(others.write(&cluster.path("others"), Kind::Good, &both));
        assert_reaches_nothing(options, 2).await;
        // They would take it, and it doesn't take them.
        let mut options = cluster.options(SIZE, 1, "doubts");
        options.tls = Some(ours.write(&cluster.path("ours"), Kind::Good, &[&ours]));
        others.write(&cluster.path("tls"), Kind::Good, &both);
        assert_reaches_nothing(options, 2).await;
        ours.write(&cluster.path("tls"), Kind::Good, &[&ours]);
        std::fs::write(cluster.path("secret"), [b'x'; 40]).unwrap();
        assert_reaches_nothing(cluster.options(SIZE, 1, "guesses"), 2).await;
    });
}

#[test]
fn certificates_of_no_use_are_told_before_anything_is_attached() {
    run(async {
        let ours = Authority::new("ours");
        let cluster = Cluster::start_with_tls(&ours, (1, 1, 1)).await;
        let mut options = cluster.options(SIZE, 1, "state");
        let folder = cluster.path("expired");
        options.tls = Some(ours.write(&folder, Kind::Expired, &[&ours]));
        let error = options.open().unwrap_err();
        assert!(matches!(error, OpenError::Tls(_)), "{error}");
        assert!(!cluster.path("state").exists(), "nothing was begun");
    });
}

/// Stands before every disk of a cluster: the map that leads there.
async fn relays(cluster: &Cluster, tls: Option<TlsFiles>) -> MapFile {
    let text = std::fs::read_to_string(cluster.path("map.json")).unwrap();
    let mut map = MapFile::parse(&text).unwrap();
    let own = Rc::new(tls.map(|files| Tls::open(files).unwrap()));
    for place in &mut map.disks {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().to_string();
        let there = std::mem::replace(&mut place.address, here);
        let own = Rc::clone(&own);
        spawn_local(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(&there).await.unwrap();
                let own = Rc::clone(&own);
                spawn_local(async move { pass_on(client, server, (*own).as_ref()).await });
            }
        });
    }
    map
}

/// Passes on all bytes; with certificates of its own what is in them, else as they are.
async fn pass_on(mut client: TcpStream, mut server: TcpStream, tls: Option<&Tls>) {
    // Either side may hang up.
    if tls.is_none() {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        return;
    }
    let client = Stream::accept(client, tls).await.unwrap();
    let server = Stream::connect(server, tls).await.unwrap();
    let (Stream::Tls(mut client), Stream::Tls(mut server)) = (client, server) else {
        panic!("both are encrypted");
    };
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

#[test]
fn a_relay_may_carry_tls_and_not_end_it() {
    run(async {
        let ours = Authority::new("ours");
        let cluster = Cluster::start_with_tls(&ours, (2, 1, 4)).await;
        // It has what every node has, but for the secret.
        let mut options = cluster.options(SIZE, 1, "heard");
        options.map = MapSource::Told(relays(&cluster, options.tls.clone()).await);
        assert_reaches_nothing(options, 2).await;
        let mut options = cluster.options(SIZE, 1, "carried");
        options.map = MapSource::Told(relays(&cluster, None).await);
        let volume = options.open().unwrap();
        volume.attached().await.unwrap();
        write_blocks(&volume, 0..8, 1).await;
        assert_blocks(&volume, 0..8, 1).await;
    });
}

#[test]
fn certificates_change_under_load_from_one_authority_to_another() {
    run(async {
        let (ours, next) = (Authority::new("ours"), Authority::new("next"));
        let cluster = Cluster::start_with_tls(&ours, (3, 1, 8)).await;
        let volume = attach(&cluster, 1, "state").await;
        let changes = async {
            for (issuer, trusted) in [
                (&ours, vec![&ours, &next]),
                (&next, vec![&ours, &next]),
                (&next, vec![&next]),
            ] {
                issuer.write(&cluster.path("tls"), Kind::Good, &trusted);
                tokio::time::sleep(Duration::from_millis(100)).await;
                (0..3).for_each(|number| cluster.cut_connections(number));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        under_load(&volume, changes).await;
        let mut options = cluster.options(SIZE, 2, "former");
        options.tls = Some(ours.write(&cluster.path("former"), Kind::Good, &[&ours, &next]));
        assert_reaches_nothing(options, 3).await;
    });
}
