//! Sending, arriving, connecting and breaking: how the world moves messages over its connections.

use crate::agenda::MS;
use crate::network::{Caller, Link, LinkId, Message, Way};
use crate::trace::About;
use crate::world::{Event, World};
use bytes::Bytes;
use moraine_engine::PathId;
use moraine_protocol::{Reply, RequestId};

impl World {
    /// A connection from now on.
    pub(crate) fn new_link(&mut self, link: Link) -> LinkId {
        let id = self.next_link;
        self.next_link += 1;
        self.links.insert(id, link);
        id
    }

    /// Whether a node and a disk hear each other and the disk is served.
    pub(crate) fn reachable(&self, node: usize, disk: usize) -> bool {
        let agent = &self.agents[disk];
        let stalled = self.nodes[agent.node].stalled > self.agenda.now();
        agent.replicas.is_some() && !stalled && self.silence.both(node, agent.node)
    }

    fn caller_node(&self, caller: Caller) -> usize {
        match caller {
            Caller::Engine(engine) => self.engines[engine].node,
            Caller::Disk(disk) => self.agents[disk].node,
        }
    }

    /// Sends a message, if the sender's end is open.
    pub(crate) fn send(&mut self, link: LinkId, way: Way, message: Message) {
        let delay = self.chance.skewed(MS / 50..=self.scenario.latency);
        let now = self.agenda.now();
        let Some(wire) = self.links.get_mut(&link) else {
            return;
        };
        let message = match message.over_the_wire(&mut wire.order) {
            Ok(message) => message,
            Err(what) => return self.violated(None, what),
        };
        if let (Way::Forth, Message::Request(id, request, _)) = (way, &message) {
            wire.asked.insert(*id, request.clone());
        }
        let lane = wire.lane(way);
        lane.last = lane.last.max(now + delay);
        lane.messages.push_back(message);
        let last = lane.last;
        self.agenda.at(last, Event::Arrive(link, way));
    }

    /// The next message of a direction arrives, unless the nodes don't hear each other or the
    /// receiver stands still: then later.
    pub(crate) fn arrive(&mut self, link: LinkId, way: Way) {
        let Some(wire) = self.links.get(&link) else {
            return;
        };
        let (caller, disk) = (wire.caller, wire.disk);
        let near = self.caller_node(caller);
        let far = self.agents[disk].node;
        let (from, to) = match way {
            Way::Forth => (near, far),
            Way::Back => (far, near),
        };
        let now = self.agenda.now();
        let stalled = self.nodes[to].stalled;
        if stalled > now || !self.silence.hears(from, to) {
            let late = self.chance.within(2 * MS..=10 * MS);
            self.agenda
                .at(stalled.max(now + late), Event::Arrive(link, way));
            return;
        }
        let Some(wire) = self.links.get_mut(&link) else {
            return;
        };
        let Some(message) = wire.lane(way).messages.pop_front() else {
            return;
        };
        match (way, message) {
            (Way::Forth, Message::Request(id, request, data)) => {
                self.request_arrives(link, disk, id, (request, data));
            }
            (Way::Back, Message::Reply(id, reply, data)) => {
                if wire.caller_open {
                    wire.asked.remove(&id);
                    self.reply_arrives(link, caller, id, (reply, data));
                }
            }
            (Way::Forth, _) => self.close_disk_end(link),
            (Way::Back, _) => self.close_caller_end(link),
        }
    }

    fn reply_arrives(
        &mut self,
        link: LinkId,
        caller: Caller,
        id: RequestId,
        answer: (Reply, Bytes),
    ) {
        match caller {
            Caller::Engine(engine) => self.engine_hears(engine, link, id, answer),
            Caller::Disk(disk) => self.call_answered(disk, link, id, Some(answer)),
        }
    }

    /// The connection breaks: the caller knows at once, the disk when what was sent has arrived.
    pub(crate) fn break_link(&mut self, link: LinkId) {
        if self.links.get(&link).is_some_and(|wire| wire.caller_open) {
            self.caller_hangs_up(link);
            self.close_caller_end(link);
        }
    }

    /// A call was not answered in time.
    pub(crate) fn overdue(&mut self, link: LinkId, request: u64) {
        let waits = |wire: &Link| wire.asked.contains_key(&RequestId(request));
        if self.links.get(&link).is_some_and(waits) {
            self.break_link(link);
        }
    }

    /// The caller's end is gone. Of what it had sent some arrives, then the disk learns of it.
    pub(crate) fn caller_hangs_up(&mut self, link: LinkId) {
        if let Some(wire) = self.links.get_mut(&link) {
            wire.back.messages.clear();
            if wire.disk_open {
                let kept = self.chance.below(wire.forth.messages.len() + 1);
                wire.forth.messages.truncate(kept);
                self.send(link, Way::Forth, Message::Hangup);
            }
        }
    }

    /// The caller's process has ended.
    pub(crate) fn caller_dies(&mut self, link: LinkId) {
        self.caller_hangs_up(link);
        if let Some(wire) = self.links.get_mut(&link) {
            wire.caller_open = false;
            if !wire.disk_open {
                self.links.remove(&link);
            }
        }
    }

    /// The disk's end is gone. Of what it had answered some arrives, then the caller learns of it.
    pub(crate) fn disk_hangs_up(&mut self, link: LinkId) {
        if let Some(wire) = self.links.get_mut(&link) {
            wire.disk_open = false;
            wire.forth.messages.clear();
            self.watch.session_gone(link);
            if wire.caller_open {
                let kept = self.chance.below(wire.back.messages.len() + 1);
                wire.back.messages.truncate(kept);
                self.send(link, Way::Back, Message::Hangup);
            } else {
                self.links.remove(&link);
            }
        }
    }

    /// All connections to a disk end, since its process does.
    pub(crate) fn hang_up_all(&mut self, disk: usize) {
        let to_disk = self.links.iter().filter(|(_, wire)| wire.disk == disk);
        let links: Vec<LinkId> = to_disk.map(|(link, _)| *link).collect();
        for link in links {
            self.disk_hangs_up(link);
        }
    }

    fn close_disk_end(&mut self, link: LinkId) {
        let Some(wire) = self.links.get_mut(&link) else {
            return;
        };
        wire.disk_open = false;
        wire.back.messages.clear();
        let (disk, over) = (wire.disk, !wire.caller_open);
        if over {
            self.links.remove(&link);
        }
        self.watch.session_gone(link);
        self.session_gone(disk, link);
    }

    fn close_caller_end(&mut self, link: LinkId) {
        let Some(wire) = self.links.get_mut(&link) else {
            return;
        };
        if !wire.caller_open {
            return;
        }
        wire.caller_open = false;
        let (caller, disk, over) = (wire.caller, wire.disk, !wire.disk_open);
        if over {
            self.links.remove(&link);
        }
        match caller {
            Caller::Engine(engine) => {
                if let Some(core) = &mut self.engines[engine].engine {
                    core.disconnected(PathId(link));
                    self.pump_engine(engine);
                }
                let pause = self.chance.within(5 * MS..=60 * MS);
                self.agenda.after(pause, Event::Dial(engine, disk));
            }
            Caller::Disk(caller) => self.calls_lost(caller, link),
        }
    }

    /// An engine tries to connect to a disk, until it has all its paths.
    pub(crate) fn dial(&mut self, engine: usize, disk: usize) {
        if self.engines[engine].engine.is_none() || self.agents[disk].lost {
            return;
        }
        let caller = Caller::Engine(engine);
        let mine = |wire: &&Link| wire.caller == caller && wire.disk == disk && wire.caller_open;
        let open = self.links.values().filter(mine).count() as u64;
        if open >= self.scenario.paths {
            return;
        }
        let node = self.engines[engine].node;
        if self.reachable(node, disk) && self.nodes[node].stalled <= self.agenda.now() {
            let link = self.new_link(Link::new(caller, disk));
            let credits = u32::try_from(self.chance.skewed(2..=64)).unwrap_or(2);
            let (id, local) = (self.agents[disk].id, self.agents[disk].node == node);
            self.note(About::World, |world| {
                format!(
                    "{} is connected to disk {} by path {link}",
                    world.name(engine),
                    disk + 1
                )
            });
            if let Some(core) = &mut self.engines[engine].engine {
                core.connected(PathId(link), id, credits, local);
            }
            self.pump_engine(engine);
        }
        let pause = self.chance.within(10 * MS..=50 * MS);
        self.agenda.after(pause, Event::Dial(engine, disk));
    }
}
