//! A connection from an engine or another agent, served by the thread of one shard.

use super::outgoing::Outgoing;
use super::shard::Server;
use super::socket::Socket;
use anyhow::{Context, Result, ensure};
use moraine_model::BLOCK_BYTES;
use moraine_protocol::{
    Group, Inbox, Reply, RequestId, RequestOrder, decode_request, encode_reply,
};
use moraine_replica::SessionId;
use moraine_store::Buffer;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use tokio::sync::Notify;

/// Bytes of answers that may wait for a connection before no more requests are read from it.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// One connection whose other side has proved who it is.
#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    socket: Socket,
    credits: u32,
    unanswered: Cell<u32>,
    order: RefCell<RequestOrder>,
    out: RefCell<Outgoing>,
    /// The connection took less than there is, or takes again.
    moved: Notify,
}

impl Session {
    pub(super) fn new(id: SessionId, socket: Socket, credits: u32) -> Self {
        Self {
            id,
            socket,
            credits,
            unanswered: Cell::new(0),
            order: RefCell::default(),
            out: RefCell::default(),
            moved: Notify::new(),
        }
    }

    /// Reads requests until the connection ends. That it was closed between two frames is no error.
    pub(super) async fn serve(self: Rc<Self>, server: Rc<Server>) -> Result<()> {
        let mut inbox = Inbox::default();
        loop {
            while !server.is_ending() && self.take_request(&mut inbox, &server).await? {}
            if server.is_ending() {
                return std::future::pending().await;
            }
            server.wake();
            self.wait_for_room().await;
            match self.socket.receive(inbox.room()).await? {
                0 => return Ok(()),
                bytes => inbox.filled(bytes),
            }
        }
    }

    /// Hands the next whole request to the replicas, if one is there.
    async fn take_request(&self, inbox: &mut Inbox, server: &Server) -> Result<bool> {
        let Some((header, body)) = inbox.frame()? else {
            return Ok(false);
        };
        header.expect(Group::Request)?;
        self.order.borrow_mut().accept(&header)?;
        let (id, request) = decode_request(&header, body)?;
        ensure!(
            self.unanswered.get() < self.credits,
            "more than the {} requests that were granted are unanswered",
            self.credits
        );
        let payload = match header.payload_bytes() {
            0 => None,
            bytes => {
                let mut buffer = server.buffer(bytes / BLOCK_BYTES);
                read_payload(&self.socket, inbox, &mut buffer).await?;
                Some(buffer)
            }
        };
        self.unanswered.set(self.unanswered.get() + 1);
        server.request(self.id, id, request, payload);
        Ok(true)
    }

    /// A peer that asks much and reads nothing doesn't get us to keep its answers.
    async fn wait_for_room(&self) {
        while self.out.borrow().waiting_bytes() > ANSWER_BYTES_MAX {
            self.moved.notified().await;
        }
    }

    /// Puts an answer into the queue; [`Session::flush`] sends it.
    pub(super) fn answer(&self, id: RequestId, reply: &Reply, blocks: Vec<Buffer>) {
        self.unanswered.set(self.unanswered.get().saturating_sub(1));
        let head = |bytes: &mut Vec<u8>| encode_reply(id, reply, bytes);
        self.out.borrow_mut().push(head, blocks);
    }

    /// Sends what the connection takes now, and gives back the blocks that are sent.
    pub(super) fn flush(&self) -> io::Result<Vec<Buffer>> {
        let mut out = self.out.borrow_mut();
        if !out.write(&self.socket)? {
            self.moved.notify_waiters();
        }
        Ok(out.take_done())
    }

    /// Gives back the blocks of answers that will not be sent, for the connection has ended. They may
    /// be registered with the kernel: dropped, they would be lost to the disk's pool.
    pub(super) fn abandon(&self) -> Vec<Buffer> {
        self.out.take().into_blocks()
    }

    /// Whether answers wait for the connection.
    pub(super) fn has_answers(&self) -> bool {
        self.out.borrow().has_bytes(&self.socket)
    }

    /// Goes on sending whenever the connection takes more, until it ends.
    pub(super) async fn drain(self: Rc<Self>, server: Rc<Server>) -> Result<()> {
        loop {
            while self.has_answers() {
                self.socket.writable().await?;
                server.recycle(self.flush().context("sending an answer")?);
                self.moved.notify_waiters();
            }
            self.moved.notified().await;
        }
    }
}

/// Fills `into` with a payload: what is in the inbox, and the rest from the connection.
pub(super) async fn read_payload(
    socket: &Socket,
    inbox: &mut Inbox,
    into: &mut [u8],
) -> Result<()> {
    let mut done = inbox.take(into);
    while done < into.len() {
        let bytes = socket.receive(&mut into[done..]).await?;
        ensure!(bytes > 0, "the connection ended in the middle of a frame");
        done += bytes;
    }
    Ok(())
}
