//! An agent of one disk in memory: a listener, and the replica core of each shard, as local tasks.

use crate::link::{Frame, Link, bad};
use crate::peers;
use moraine_model::{BLOCK_BYTES, ClusterId, DiskId};
use moraine_protocol::handshake::Secret;
use moraine_protocol::{MapFile, Reply, Request, RequestId, decode_request, encode_reply};
use moraine_replica::{CallId, Options, Output, Replicas, SessionId};
use moraine_store::disk::MemoryDisk;
use moraine_store::{Buffer, FormatOptions, Shard, ShardOptions, format, open};
use moraine_tls::{Stream, Tls};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How often the core is told the time.
const TICK: Duration = Duration::from_millis(5);
/// Blocks of a segment: small, so that compaction runs too; a quarter of it holds the largest write.
const SEGMENT_BLOCKS: u32 = 1024;

/// One shard.
struct Core {
    replicas: RefCell<Replicas<MemoryDisk>>,
    sessions: RefCell<BTreeMap<SessionId, mpsc::UnboundedSender<Vec<u8>>>>,
    started: Instant,
    disk: DiskId,
    world: Rc<World>,
}

/// What all tasks of all agents know.
pub(crate) struct World {
    pub(crate) secret: Secret,
    /// The certificates of all agents, if connections are encrypted.
    pub(crate) tls: Option<Tls>,
    pub(crate) map: RefCell<MapFile>,
    /// Names sessions, no two alike.
    pub(crate) next_session: Cell<u64>,
    /// The copies that are said to be whole: disk, bucket and the epoch since which it is listed.
    pub(crate) synced: RefCell<std::collections::BTreeSet<(DiskId, u32, u64)>>,
}

/// An agent that runs. Dropped, it is gone as if killed: only what its disk holds is left.
pub(crate) struct Agent {
    _listening: JoinSet<()>,
    sessions: Rc<RefCell<JoinSet<()>>>,
    cores: Rc<Vec<Rc<Core>>>,
}

/// Makes a disk for so many shards.
pub(crate) fn blank_disk(cluster: ClusterId, disk: DiskId, shards: u32) -> MemoryDisk {
    let mut memory = MemoryDisk::new(256 << 20, 4096);
    let options = FormatOptions {
        shards,
        segment_blocks: SEGMENT_BLOCKS,
        ..FormatOptions::new(cluster, disk)
    };
    format(&mut memory, &options).expect("a blank disk is formatted");
    memory
}

impl Agent {
    /// Serves a disk at an address that is listened on.
    pub(crate) fn start(world: &Rc<World>, disk: &MemoryDisk, listener: TcpListener) -> Self {
        let cluster = world.map.borrow().cluster;
        let opened = open(&mut disk.another(), cluster).expect("the disk is of this cluster");
        let shards = opened.superblock.layout.shards;
        let cores = (0..shards).map(|number| {
            let options = ShardOptions::default();
            let shard = Shard::recover(disk.another(), &opened, number, options);
            let shard = shard.expect("a disk in memory can be read");
            let mut options = Options::new(opened.superblock.disk);
            options.sync.retry_ms = 20;
            options.sync.report_ms = 20;
            let replicas = Replicas::new(shard, options).expect("its notes are its own");
            Rc::new(Core {
                replicas: RefCell::new(replicas),
                sessions: RefCell::default(),
                started: Instant::now(),
                disk: opened.superblock.disk,
                world: Rc::clone(world),
            })
        });
        let cores: Rc<Vec<_>> = Rc::new(cores.collect());
        let sessions = Rc::new(RefCell::new(JoinSet::new()));
        let mut listening = JoinSet::new();
        listening.spawn_local(listen(listener, Rc::clone(&cores), Rc::clone(&sessions)));
        for core in cores.iter() {
            let core = Rc::clone(core);
            listening.spawn_local(async move {
                loop {
                    core.pump();
                    tokio::time::sleep(TICK).await;
                }
            });
        }
        let agent = Self {
            _listening: listening,
            sessions,
            cores,
        };
        agent.learn();
        agent
    }

    /// Takes the world's map.
    pub(crate) fn learn(&self) {
        for core in self.cores.iter() {
            for entry in &core.world.map.borrow().entries {
                core.replicas.borrow_mut().learn(entry.clone());
            }
        }
    }

    /// Cuts all connections; new ones are accepted.
    pub(crate) fn cut_connections(&self) {
        *self.sessions.borrow_mut() = JoinSet::new();
    }
}

async fn listen(
    listener: TcpListener,
    cores: Rc<Vec<Rc<Core>>>,
    sessions: Rc<RefCell<JoinSet<()>>>,
) {
    loop {
        let (stream, _) = listener.accept().await.expect("a listener accepts");
        let cores = Rc::clone(&cores);
        // A session ends with its connection, and nobody waits for it.
        sessions.borrow_mut().spawn_local(async move {
            let _ = serve(stream, &cores).await;
        });
    }
}

/// Takes the name of a session from its core when the session ends, however it ends.
struct Session {
    id: SessionId,
    core: Rc<Core>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.core.sessions.borrow_mut().remove(&self.id);
        self.core.replicas.borrow_mut().disconnected(self.id);
    }
}

async fn serve(stream: TcpStream, cores: &[Rc<Core>]) -> std::io::Result<()> {
    let world = &cores[0].world;
    stream.set_nodelay(true)?;
    let stream = Stream::accept(stream, world.tls.as_ref()).await;
    let mut link = Link::new(stream.map_err(bad)?)?;
    let cluster = world.map.borrow().cluster;
    let shards = u32::try_from(cores.len()).expect("few shards");
    let peer = link.accept(&world.secret, cluster, shards).await?;
    let core = Rc::clone(&cores[peer.wanted.shard as usize]);
    let id = SessionId(world.next_session.get());
    world.next_session.set(id.0 + 1);
    let (answers, mut to_send) = mpsc::unbounded_channel::<Vec<u8>>();
    core.sessions.borrow_mut().insert(id, answers);
    let session = Session { id, core };
    let (mut requests, mut output) = link.split();
    let writing = async move {
        while let Some(bytes) = to_send.recv().await {
            output.send(&bytes).await?;
        }
        Ok(())
    };
    let reading = async {
        loop {
            let frame = requests.next().await?;
            session.core.request(session.id, &frame)?;
        }
    };
    tokio::select! {
        ended = writing => ended,
        ended = reading => ended,
    }
}

impl Core {
    fn request(self: &Rc<Self>, session: SessionId, frame: &Frame) -> std::io::Result<()> {
        let decoded = decode_request(&frame.header, &frame.body);
        let (id, request) = decoded.map_err(bad)?;
        let payload = (!frame.data.is_empty()).then(|| self.buffer(&frame.data));
        self.replicas
            .borrow_mut()
            .request(session, id, request, payload);
        self.pump();
        Ok(())
    }

    fn buffer(&self, data: &[u8]) -> Buffer {
        let blocks = data.len() / BLOCK_BYTES;
        let mut buffer = self.replicas.borrow_mut().buffer(blocks);
        buffer.copy_from_slice(data);
        buffer
    }

    /// Lets the core work until nothing is under way on its disk.
    fn pump(self: &Rc<Self>) {
        loop {
            let now_ms = u64::try_from(self.started.elapsed().as_millis()).expect("a short test");
            let mut replicas = self.replicas.borrow_mut();
            replicas.poll(now_ms);
            let mut idle = replicas.is_idle();
            while let Some(output) = replicas.next_output() {
                idle = false;
                match output {
                    Output::Reply {
                        session,
                        id,
                        reply,
                        payload,
                    } => self.answer(session, id, &reply, &payload),
                    Output::Call {
                        call,
                        disk,
                        request,
                    } => {
                        let core = Rc::clone(self);
                        tokio::task::spawn_local(async move {
                            core.call(call, disk, &request).await;
                        });
                    }
                    Output::Synced { bucket, since } => {
                        let whole = (self.disk, bucket.get(), since.0);
                        self.world.synced.borrow_mut().insert(whole);
                    }
                }
            }
            if idle {
                return;
            }
        }
    }

    /// Asks another replica, and tells the core what it says.
    async fn call(self: &Rc<Self>, call: CallId, disk: DiskId, request: &Request) {
        let place = self.world.map.borrow().disk(disk).cloned();
        let place = place.expect("the map has the disks that it lists");
        let answer = peers::ask(&place, &self.world, request).await;
        let (reply, data) = answer.unzip();
        let data = data.filter(|data| !data.is_empty());
        let payload = data.map(|data| self.buffer(&data));
        self.replicas.borrow_mut().answered(call, reply, payload);
        self.pump();
    }

    fn answer(&self, session: SessionId, id: RequestId, reply: &Reply, payload: &[Buffer]) {
        let mut bytes = Vec::new();
        encode_reply(id, reply, &mut bytes);
        for buffer in payload {
            bytes.extend_from_slice(buffer);
        }
        if let Some(answers) = self.sessions.borrow().get(&session) {
            // It fails while the session is ending.
            let _ = answers.send(bytes);
        }
    }
}
