//! The task that owns the engine: it tells it what came in and does what it says.
//!
//! One turn takes everything that waits, then empties the engine's outputs, then wakes the
//! connections that got something: so a burst costs one write a connection.

use super::attachment::Attachment;
use super::keeper::{self, Event, Identity};
use super::map::{KnownMap, MapChangeError};
use super::options::{AttachOptions, MapSource, OpenError, read_map};
use super::outbox::Outbox;
use super::saver::{News, Saver};
use super::state::StateFolder;
use super::status::{Phase, Status};
use super::watch::MapWatch;
use crate::{AttachError, Engine, Io, IoError, IoId, Output, PathId, ResizeError, Settings};
use bytes::Bytes;
use moraine_model::{Cut, DiskId, Generation};
use moraine_protocol::handshake::{BootId, Caller};
use moraine_protocol::{DiskPlace, MapFile, Request, RequestId, encode_request};
use moraine_tls::Tls;
use slab::Slab;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

/// Commands that wait; who sends more waits too.
const COMMANDS: usize = 256;
/// Events that wait; connections that have more stop reading.
const EVENTS: usize = 1024;
/// Most of them that one turn takes.
const TURN: usize = 256;
/// How long the driver sleeps at most; it has something to do sooner.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why an attachment has ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EndReason {
    /// It was never attached.
    #[error("the volume couldn't be attached: {0}")]
    Failed(AttachError),
    /// As it was told.
    #[error("the volume is detached")]
    Detached {
        /// Whether every replica knows that there is nothing to reconcile.
        clean: bool,
    },
    /// A newer engine has the volume.
    #[error("generation {}.{} has the volume now", .by.attach, .by.incarnation)]
    Fenced {
        /// The newer engine.
        by: Generation,
    },
    /// Its runtime has ended.
    #[error("the runtime that ran the engine has ended")]
    Stopped,
}

/// What handles ask for.
#[derive(Debug)]
pub(super) enum Command {
    Io {
        operation: Io,
        answer: oneshot::Sender<Result<Bytes, IoError>>,
    },
    RaiseCut(Cut),
    Resize {
        size_bytes: u64,
        answer: oneshot::Sender<Result<(), ResizeError>>,
    },
    Learn {
        map: MapFile,
        answer: oneshot::Sender<Result<(), MapChangeError>>,
    },
    Detach,
}

/// A path that the engine knows.
struct Route {
    /// The outbox of each shard.
    shards: Vec<Rc<Outbox>>,
    disk: DiskId,
}

/// A disk that is kept connected.
struct Kept {
    place: DiskPlace,
    task: AbortHandle,
}

struct Driver {
    engine: Engine,
    clock: Instant,
    ios: Slab<oneshot::Sender<Result<Bytes, IoError>>>,
    ios_max: usize,
    map: KnownMap,
    watch: Option<MapWatch>,
    saver: Saver,
    status: watch::Sender<Status>,
    me: Rc<Identity>,
    routes: BTreeMap<PathId, Route>,
    disks: BTreeMap<DiskId, Kept>,
    keepers: JoinSet<()>,
    events: mpsc::Sender<Event>,
}

/// Begins to attach a volume.
pub(super) fn open(options: AttachOptions) -> Result<Attachment, OpenError> {
    let (map, watch) = match options.map {
        MapSource::Told(map) => (map, None),
        MapSource::File(path) => {
            // Looked at before it is read, so that a change meanwhile is seen later.
            let watch = MapWatch::new(path.clone());
            (read_map(&path)?, Some(watch))
        }
    };
    let tls = options.tls.map(Tls::open).transpose()?;
    let (folder, kept) = StateFolder::take(&options.state, options.volume, options.attach)?;
    let settings = Settings {
        volume: options.volume,
        placement_key: options.placement_key,
        size_bytes: options.size_bytes,
        generation: kept.generation,
        cut: options.cut.max(kept.cut),
        buckets: u32::try_from(map.entries.len()).unwrap_or(u32::MAX),
        read_only: options.read_only,
        limits: options.limits,
    };
    let me = Identity {
        cluster: map.cluster,
        node: options.node,
        boot: boot_id(),
        secret: options.secret,
        tls,
        caller: Caller::Engine,
        paths: Cell::new(1),
    };
    let map = KnownMap::new(map, &kept.entries);
    let (status, to_status) = watch::channel(Status {
        phase: Phase::Attaching,
        generation: kept.generation,
        cut_reached: None,
        size_bytes: options.size_bytes,
        suspects: BTreeSet::new(),
    });
    let (commands, from_handles) = mpsc::channel(COMMANDS);
    let (to_driver, events) = mpsc::channel(EVENTS);
    let driver = Driver {
        engine: Engine::new(settings, map.entries().to_vec())?,
        clock: Instant::now(),
        ios: Slab::new(),
        ios_max: options.limits.ios_max,
        map,
        watch,
        saver: Saver::new(folder, kept),
        status,
        me: Rc::new(me),
        routes: BTreeMap::new(),
        disks: BTreeMap::new(),
        keepers: JoinSet::new(),
        events: to_driver,
    };
    tokio::task::spawn_local(driver.run(from_handles, events));
    Ok(Attachment::new(commands, to_status))
}

/// The kernel's name for this boot; zero where it can't be read, which no kernel has.
fn boot_id() -> BootId {
    let text = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    BootId(u128::from_str_radix(&digits, 16).unwrap_or_default())
}

impl Driver {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut events: mpsc::Receiver<Event>,
    ) {
        self.connect_to_disks();
        let (mut some_commands, mut some_events) = (Vec::new(), Vec::new());
        let sleep = tokio::time::sleep(LONGEST_SLEEP);
        tokio::pin!(sleep);
        loop {
            self.engine.tick(self.now_ms());
            self.put_out();
            self.saver.start();
            if self.status.borrow().phase.is_over() {
                break;
            }
            let wake = self.wake_at();
            // Waking too early costs little, arming the timer at each turn more.
            if wake < sleep.deadline() || sleep.is_elapsed() {
                sleep.as_mut().reset(wake);
            }
            let room = TURN.min(self.ios_max.saturating_sub(self.ios.len()));
            tokio::select! {
                biased;
                _ = events.recv_many(&mut some_events, TURN) => {}
                got = commands.recv_many(&mut some_commands, room), if room > 0 => {
                    if got == 0 {
                        // No handle is left, so nobody could ever ask for anything.
                        break;
                    }
                }
                saved = self.saver.saved() => self.saved(saved),
                map = MapWatch::changed(&mut self.watch) => self.read_map(map),
                () = &mut sleep => {}
            }
            // What waits besides.
            while some_events.len() < TURN
                && let Ok(event) = events.try_recv()
            {
                some_events.push(event);
            }
            while some_commands.len() < room
                && let Ok(command) = commands.try_recv()
            {
                some_commands.push(command);
            }
            some_events.drain(..).for_each(|event| self.event(event));
            some_commands
                .drain(..)
                .for_each(|command| self.command(command));
        }
        self.end();
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wake_at(&self) -> tokio::time::Instant {
        let deadline = self.engine.deadline().map(Duration::from_millis);
        let at = deadline.and_then(|deadline| self.clock.checked_add(deadline));
        at.map_or_else(|| tokio::time::Instant::now() + LONGEST_SLEEP, Into::into)
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Io { operation, answer } => {
                let io = IoId(self.ios.insert(answer) as u64);
                self.engine.submit(io, operation);
            }
            Command::RaiseCut(cut) => self.engine.raise_cut(cut),
            Command::Resize { size_bytes, answer } => {
                // It fails when nobody waits for it any more, and so below.
                let _ = answer.send(self.engine.resize(size_bytes));
            }
            Command::Learn { map, answer } => {
                let _ = answer.send(self.learn(map));
            }
            Command::Detach => self.engine.detach(),
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected {
                path,
                disk,
                credits,
                local,
                outboxes,
            } => {
                let shards = outboxes;
                self.routes.insert(path, Route { shards, disk });
                self.engine.connected(path, disk, credits, local);
            }
            Event::Disconnected { path } => {
                if self.routes.remove(&path).is_some() {
                    self.engine.disconnected(path);
                }
            }
            Event::Answered {
                path,
                id,
                reply,
                data,
            } => {
                // What a path says that was given up is nothing.
                if self.routes.contains_key(&path) {
                    self.engine.answered(path, id, reply, data);
                }
            }
        }
    }

    /// Does what the engine wants done.
    fn put_out(&mut self) {
        let mut got_something = BTreeSet::new();
        while let Some(output) = self.engine.next_output() {
            match output {
                Output::Send {
                    path,
                    id,
                    request,
                    payload,
                } => {
                    if let Some(shard) = self.send(path, id, &request, payload) {
                        got_something.insert((path, shard));
                    }
                }
                Output::Done { io, result } => {
                    let key = usize::try_from(io.0).unwrap_or(usize::MAX);
                    assert!(self.ios.contains(key), "an operation ends once: {io:?}");
                    // It fails when nobody waits for it any more.
                    let _ = self.ios.remove(key).send(result);
                }
                Output::Keep { entry } => self.saver.keep(entry),
                Output::KeepCut { cut } => self.saver.keep_cut(cut),
                other => self.tell(other),
            }
        }
        for (path, shard) in got_something {
            if let Some(route) = self.routes.get(&path) {
                route.shards[shard].wake();
            }
        }
    }

    /// Puts a request into the outbox of the shard that has its bucket.
    fn send(
        &self,
        path: PathId,
        id: RequestId,
        request: &Request,
        payload: Option<Bytes>,
    ) -> Option<usize> {
        let route = self.routes.get(&path)?;
        let bucket = request.bucket().map_or(0, |bucket| bucket.get() as usize);
        let shard = bucket % route.shards.len();
        route.shards[shard].push(|head| encode_request(id, request, head), payload);
        Some(shard)
    }

    /// Lets users see what the engine says of itself.
    fn tell(&mut self, output: Output) {
        match output {
            Output::Attached => self.enter(Phase::Attached),
            Output::AttachFailed(error) => self.enter(Phase::Failed(error)),
            Output::Detached { clean } => self.enter(Phase::Detached { clean }),
            Output::Fenced { by } => self.enter(Phase::Fenced { by }),
            Output::Resized { size_bytes } => {
                self.status
                    .send_modify(|status| status.size_bytes = size_bytes);
            }
            Output::Suspect { disk } => {
                tracing::warn!(%disk, "the disk can't be reached or doesn't answer");
                self.status.send_modify(|status| {
                    status.suspects.insert(disk);
                });
            }
            Output::Trust { disk } => {
                tracing::info!(%disk, "the disk answers again");
                self.status.send_modify(|status| {
                    status.suspects.remove(&disk);
                });
            }
            Output::CutReached { cut, generation } => self.status.send_modify(|status| {
                assert_eq!(
                    status.generation, generation,
                    "an engine has one generation"
                );
                status.cut_reached = Some(cut);
            }),
            Output::Send { .. }
            | Output::Done { .. }
            | Output::Keep { .. }
            | Output::KeepCut { .. } => unreachable!("these are done, not told"),
        }
    }

    fn enter(&mut self, phase: Phase) {
        tracing::info!(?phase, "the attachment changes");
        self.status.send_modify(|status| status.phase = phase);
    }

    /// Something is durable.
    fn saved(&mut self, news: News) {
        for (bucket, epoch) in news.entries {
            self.engine.kept(bucket, epoch);
        }
        if let Some(cut) = news.cut {
            self.engine.kept_cut(cut);
        }
    }

    /// The map's file has changed.
    fn read_map(&mut self, map: Result<MapFile, OpenError>) {
        match map {
            Ok(map) => {
                if let Err(error) = self.learn(map) {
                    tracing::warn!(%error, "the changed map is not taken; the one before stays");
                }
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "the changed map can't be read; the one before stays");
            }
        }
    }

    fn learn(&mut self, map: MapFile) -> Result<(), MapChangeError> {
        let changed = self.map.accept(map)?;
        self.connect_to_disks();
        self.engine.learn(changed);
        Ok(())
    }

    /// Keeps connections to the disks that the map lists, and to no others.
    fn connect_to_disks(&mut self) {
        let wanted = self.map.listed_disks();
        let gone = |kept: &Kept| wanted.get(&kept.place.id) != Some(&&kept.place);
        let gone: Vec<_> = self.disks.extract_if(.., |_, kept| gone(kept)).collect();
        for (disk, kept) in gone {
            kept.task.abort();
            let lost = self.routes.extract_if(.., |_, route| route.disk == disk);
            let lost: Vec<_> = lost.map(|(path, _)| path).collect();
            for path in lost {
                self.engine.disconnected(path);
            }
        }
        // Those that were told to end before have done so.
        while self.keepers.try_join_next().is_some() {}
        for (id, place) in self.map.listed_disks() {
            if !self.disks.contains_key(&id) {
                let (me, events) = (Rc::clone(&self.me), self.events.clone());
                let keeping = keeper::keep(place.clone(), me, events);
                let task = self.keepers.spawn_local(keeping);
                let place = place.clone();
                self.disks.insert(id, Kept { place, task });
            }
        }
    }

    /// Answers what is left; the connections end with the keepers.
    fn end(mut self) {
        let over = self.status.borrow().phase.is_over();
        assert!(
            !over || self.ios.is_empty(),
            "an engine that has ended has answered all of its {} operations",
            self.ios.len()
        );
        for answer in self.ios.drain() {
            let _ = answer.send(Err(IoError::Detached));
        }
    }
}
