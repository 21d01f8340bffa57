//! The data plane with TLS: who is let in, who isn't, and what the agent says of it.

use crate::BUCKETS;
use crate::client::{Client, pattern};
use crate::rig::{Rig, SECRET};
use moraine_model::Role;
use moraine_tls::authority::{Authority, Kind, connect_with};
use moraine_tls::{Stream, Tls};
use std::io::Write;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What a client of the test gets to hear that is refused.
fn refusal(client: anyhow::Result<Client>) -> String {
    client.err().expect("it was let in").to_string()
}

/// A client with whatever certificate.
fn with_certificate(rig: &Rig, trusted: &Authority, own: Option<(String, String)>) -> Client {
    let begin = async |tcp| Ok(connect_with(tcp, trusted, own).await?);
    Client::begin(rig, 0, SECRET, begin).unwrap()
}

#[test]
fn what_is_written_over_tls_is_read_back_after_kill_9() {
    let rig = Rig::new(1, BUCKETS).with_tls();
    let mut agent = rig.start(0);
    let sizes = [(0, 1), (1, 7), (8, 256), (700, 64)];
    let mut client = Client::connect(&rig, 0, SECRET).unwrap();
    let mut volume = client.open(&rig, 1, 0);
    for size in sizes {
        volume.write(&mut client, size, 3);
    }
    agent.kill();
    let _agent = rig.start(0);
    let mut client = Client::connect(&rig, 0, SECRET).unwrap();
    let mut volume = client.open(&rig, 1, 1);
    for (first, count) in sizes {
        assert!(volume.read(&mut client, (first, count)) == pattern(first, count, 3));
    }
}

#[test]
fn many_requests_at_once_are_all_answered_over_tls() {
    let rig = Rig::new(1, BUCKETS).with_tls();
    let _agent = rig.start(0);
    let mut client = Client::connect(&rig, 0, SECRET).unwrap();
    let mut volume = client.open(&rig, 1, 0);
    for round in 0..3 {
        let sent: Vec<_> = (0..200)
            .map(|block| volume.send(&mut client, (block * 4, 4), round))
            .collect();
        let mut answered: Vec<_> = sent.iter().map(|_| client.receive().0).collect();
        answered.sort_unstable();
        assert_eq!(answered, sent);
        for block in 0..4 {
            let found = volume.read(&mut client, (block * 200, 200));
            assert!(found == pattern(block * 200, 200, round));
        }
    }
}

#[test]
fn answers_that_are_read_late_are_all_there_over_tls() {
    let rig = Rig::new(1, BUCKETS).with_tls();
    let _agent = rig.start(0);
    let mut client = Client::connect(&rig, 0, SECRET).unwrap();
    let mut volume = client.open(&rig, 1, 0);
    volume.write(&mut client, (0, 256), 4);
    // Far more than may wait at the agent.
    let asked: Vec<_> = (0..40)
        .map(|_| volume.ask_for(&mut client, (0, 256)))
        .collect();
    let mut answered: Vec<_> = asked
        .iter()
        .map(|_| {
            let (id, reply) = client.receive();
            assert!(client.data_of(reply) == pattern(0, 256, 4));
            id
        })
        .collect();
    answered.sort_unstable();
    assert_eq!(answered, asked);
}

#[test]
fn agents_with_tls_copy_from_each_other_and_not_from_one_without() {
    let mut rig = Rig::new(2, BUCKETS).with_tls();
    rig.list(1, &[(0, Role::InSync, 1)]);
    let first = rig.start(0);
    let mut client = Client::connect(&rig, 0, SECRET).unwrap();
    let mut volume = client.open(&rig, 1, 0);
    volume.write(&mut client, (0, 256), 1);
    rig.list(2, &[(0, Role::InSync, 1), (1, Role::Syncing, 2)]);
    let mut second = rig.start_plain(1);
    second.wait_for_log(&["a call failed", "closed the connection", "speaks no TLS"]);
    first.wait_for_log(&["refused", "doesn't speak TLS", "--tls-cert"]);
    second.kill();
    let mut second = rig.start(1);
    let mut whole = std::collections::BTreeSet::new();
    while whole.len() < BUCKETS as usize {
        whole.insert(second.next_synced().0);
    }
    rig.list(3, &[(0, Role::InSync, 1), (1, Role::InSync, 2)]);
    let mut client = Client::connect(&rig, 1, SECRET).unwrap();
    let mut copy = client.open(&rig, 2, 0);
    assert!(copy.read(&mut client, (0, 256)) == pattern(0, 256, 1));
}

#[test]
fn who_has_not_the_certificate_gets_nothing() {
    let rig = Rig::new(1, BUCKETS).with_tls();
    let agent = rig.start(0);
    let (ours, others) = (rig.authority(), Authority::new("others"));
    let cases = [
        (Some(ours.issue(Kind::Expired)), "expired"),
        (Some(ours.issue(Kind::OtherName)), "moraine-data-plane"),
        (Some(others.issue(Kind::Good)), "UnknownIssuer"),
        (None, "showed no certificate"),
    ];
    for (own, words) in cases {
        let begin = async |tcp| Ok(connect_with(tcp, ours, own).await?);
        let said = refusal(Client::begin(&rig, 0, SECRET, begin));
        let told = said.contains("refused this side's") || said.contains("its log says why");
        assert!(told, "{said}");
        agent.wait_for_log(&["refused", words]);
    }
    with_certificate(&rig, ours, Some(ours.issue(Kind::Good)));
}

#[test]
fn a_certificate_without_the_secret_is_not_enough() {
    let rig = Rig::new(1, BUCKETS).with_tls();
    let _agent = rig.start(0);
    let said = refusal(Client::connect(&rig, 0, &[9; 32]));
    assert!(said.contains("secret"), "{said}");
}

#[test]
fn a_client_without_tls_and_an_agent_with_it_part_in_words() {
    let rig = Rig::new(1, BUCKETS).with_tls();
    let agent = rig.start(0);
    let said = refusal(Client::connect_plain(&rig, 0, SECRET));
    assert!(said.contains("This side speaks no TLS"), "{said}");
    agent.wait_for_log(&["refused", "doesn't speak TLS", "--tls-cert"]);
}

#[test]
fn a_client_with_tls_and_an_agent_without_part_in_words() {
    let rig = Rig::new(1, BUCKETS).with_tls();
    let agent = rig.start_plain(0);
    let said = refusal(Client::connect(&rig, 0, SECRET));
    assert!(said.contains("This side speaks TLS"), "{said}");
    agent.wait_for_log(&["refused", "the peer speaks TLS", "--tls-cert"]);
}

#[test]
fn who_passes_on_the_handshake_between_two_tls_connections_is_found_out() {
    let rig = Rig::new(1, BUCKETS).with_tls();
    let _agent = rig.start(0);
    let relay = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let here = relay.local_addr().unwrap();
    let there = rig.address(0).to_owned();
    // It has a certificate that both sides take, and not the secret.
    let own = Tls::open(rig.tls_files().unwrap()).unwrap();
    std::thread::spawn(move || {
        Runtime::new().unwrap().block_on(async {
            relay.set_nonblocking(true).unwrap();
            let relay = TcpListener::from_std(relay).unwrap();
            loop {
                let (client, _) = relay.accept().await.unwrap();
                let server = TcpStream::connect(&there).await.unwrap();
                let client = Stream::accept(client, Some(&own)).await.unwrap();
                let server = Stream::connect(server, Some(&own)).await.unwrap();
                let (Stream::Tls(mut client), Stream::Tls(mut server)) = (client, server) else {
                    panic!("both are encrypted");
                };
                // Either side may hang up.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
    });
    let tls = Tls::open(rig.tls_files().unwrap()).unwrap();
    let begin = async |_| {
        let tcp = TcpStream::connect(here).await?;
        Ok(Stream::connect(tcp, Some(&tls)).await?)
    };
    let said = refusal(Client::begin(&rig, 0, SECRET, begin));
    assert!(said.contains("did not prove"), "{said}");
}

#[test]
fn changed_certificates_count_from_the_next_connection() {
    let rig = Rig::new(1, BUCKETS).with_tls();
    let agent = rig.start(0);
    let (ours, next) = (rig.authority(), Authority::new("next"));
    let mut old = Client::connect(&rig, 0, SECRET).unwrap();
    let mut volume = old.open(&rig, 1, 0);
    // A set that is none stays outside.
    std::fs::write(rig.tls_files().unwrap().certificate, "no certificate").unwrap();
    with_certificate(&rig, ours, Some(ours.issue(Kind::Good)));
    agent.wait_for_log(&["changed certificates are not taken", "tls.crt"]);
    next.write(&rig.tls_folder(), Kind::Good, &[ours, &next]);
    with_certificate(&rig, &next, Some(ours.issue(Kind::Good)));
    with_certificate(&rig, &next, Some(next.issue(Kind::Good)));
    next.write(&rig.tls_folder(), Kind::Good, &[&next]);
    let own = Some(ours.issue(Kind::Good));
    let begin = async |tcp| Ok(connect_with(tcp, &next, own).await?);
    refusal(Client::begin(&rig, 0, SECRET, begin));
    with_certificate(&rig, &next, Some(next.issue(Kind::Good)));
    // What is connected stays so.
    volume.write(&mut old, (3, 9), 5);
    assert!(volume.read(&mut old, (3, 9)) == pattern(3, 9, 5));
}

#[test]
fn connections_that_begin_tls_and_say_no_more_keep_nobody_out() {
    let rig = Rig::new(1, BUCKETS).with_tls();
    let _agent = rig.start(0);
    let silent: Vec<_> = (0..70)
        .map(|number: usize| {
            let mut stream = std::net::TcpStream::connect(rig.address(0)).unwrap();
            // Some don't even say that they speak TLS.
            let begin = [0x16, 3, 1, 1, 0, 1, 0, 0, 252];
            stream.write_all(&begin[..number % 10]).unwrap();
            stream
        })
        .collect();
    let mut client = Client::connect(&rig, 0, SECRET).unwrap();
    client.open(&rig, 1, 0);
    drop(silent);
}

#[test]
fn an_agent_does_not_begin_with_certificates_that_are_of_no_use() {
    let rig = Rig::new(1, BUCKETS).with_tls();
    let files = rig.tls_files().unwrap();
    for (options, words) in [
        (
            vec![("--tls-cert", &files.certificate)],
            "--tls-key or --tls-ca is not given",
        ),
        (
            vec![
                ("--tls-cert", &files.certificate),
                ("--tls-key", &files.certificate),
                ("--tls-ca", &files.authorities),
            ],
            "reading the key",
        ),
    ] {
        let mut agent = rig.command(0);
        for (option, path) in options {
            agent.arg(option).arg(path);
        }
        let ended = agent.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && said.contains(words), "{said}");
    }
}
