//! The process that is killed: it recovers, goes on with the load, and says on its standard output
//! what was answered. It never ends by itself but when nobody listens any more.

use crate::load::{self, Number};
use moraine_store::{RequestId, Shard, ShardOptions, open};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Its name among the tests.
pub(crate) const NAME: &str = "the_process_that_is_killed";
/// The variables that tell it the file and the first request.
pub(crate) const PATH: &str = "MORAINE_STORE_KILL_PATH";
pub(crate) const FIRST: &str = "MORAINE_STORE_KILL_FIRST";
/// Requests whose answers it awaits at once.
pub(crate) const OUTSTANDING: usize = 16;

pub(crate) fn run() {
    // Someone asked for all ignored tests.
    let Some(path) = std::env::var_os(PATH).map(PathBuf::from) else {
        return;
    };
    let mut next: Number = std::env::var(FIRST).unwrap().parse().unwrap();
    let opened = load::open(&path);
    let how = format!("{:?}, because {:?}", opened.backend, opened.why);
    let mut disk = opened.disk;
    let store = open(&mut disk, load::cluster()).unwrap();
    let options = ShardOptions {
        batches_max: 4,
        ..ShardOptions::default()
    };
    let mut shard = Shard::recover(disk, &store, 0, options).unwrap();
    say(&format!("ready {how}\n"));
    let started = Instant::now();
    let mut outstanding: BTreeMap<RequestId, Number> = BTreeMap::new();
    loop {
        while outstanding.len() < OUTSTANDING
            && (outstanding.is_empty() || !load::begins_a_cut(next))
        {
            outstanding.insert(shard.submit(load::request(next)), next);
            next += 1;
            match next % 300 {
                0 => shard.request_compaction(),
                100 => shard.checkpoint(),
                _ => {}
            }
        }
        shard.wait(u64::try_from(started.elapsed().as_millis()).unwrap());
        let mut answers: Vec<String> = Vec::new();
        while let Some(reply) = shard.next_reply() {
            let number = outstanding.remove(&reply.id).unwrap();
            if let Err(error) = reply.outcome {
                panic!("request {number}: {error}");
            }
            answers.push(format!("answered {number}.\n"));
        }
        say(&answers.concat());
    }
}

fn say(words: &str) {
    let mut out = std::io::stdout().lock();
    let said = out.write_all(words.as_bytes()).and_then(|()| out.flush());
    if said.is_err() {
        std::process::exit(1);
    }
}
