//! The handle of an attached volume: cheap to clone, to be used from any thread.

use super::driver::{Command, EndReason};
use super::map::MapChangeError;
use super::status::{Phase, Status};
use crate::{Io, IoError, ResizeError};
use bytes::Bytes;
use moraine_model::Cut;
use moraine_protocol::MapFile;
use tokio::sync::{mpsc, oneshot, watch};

/// An attached volume. When the last clone is dropped without [`Self::detach`], the engine ends as
/// if its process had been killed: nothing acknowledged is lost, and the next one reconciles.
#[derive(Debug, Clone)]
pub struct Attachment {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
}

impl Attachment {
    pub(super) fn new(commands: mpsc::Sender<Command>, status: watch::Receiver<Status>) -> Self {
        Self { commands, status }
    }

    /// Reads; offset and length are multiples of 4096.
    pub async fn read(&self, offset: u64, length: u64) -> Result<Bytes, IoError> {
        self.submit(Io::Read { offset, length }).await
    }

    /// Writes; durable on all listed replicas when done. The data isn't copied.
    pub async fn write(&self, offset: u64, data: Bytes) -> Result<(), IoError> {
        self.submit(Io::Write { offset, data }).await.map(drop)
    }

    /// Makes zeros, for trims too.
    pub async fn zero(&self, offset: u64, length: u64) -> Result<(), IoError> {
        self.submit(Io::Zero { offset, length }).await.map(drop)
    }

    /// Waits for the writes that were submitted before.
    pub async fn flush(&self) -> Result<(), IoError> {
        self.submit(Io::Flush).await.map(drop)
    }

    /// Does any of the above. When too many operations are unanswered it waits for its turn.
    ///
    /// If this is dropped before it is done, a write may or may not be done.
    pub async fn submit(&self, operation: Io) -> Result<Bytes, IoError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Io { operation, answer };
        if self.commands.send(command).await.is_err() {
            return Err(self.ended());
        }
        answered.await.unwrap_or_else(|_| Err(self.ended()))
    }

    /// Raises the cut, and waits until it is reached: every write from then on has it, every write
    /// with an older one is acknowledged, and a restarted engine knows it.
    pub async fn raise_cut(&self, cut: Cut) -> Result<(), EndReason> {
        self.command(Command::RaiseCut(cut)).await?;
        self.wait(|status| status.cut_reached >= Some(cut)).await
    }

    /// Makes the volume larger; done when it is.
    pub async fn resize(&self, size_bytes: u64) -> Result<(), ResizeError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Resize { size_bytes, answer };
        let sent = self.command(command).await;
        sent.map_err(|_| ResizeError::Detached)?;
        answered.await.map_err(|_| ResizeError::Detached)??;
        let grown = self.wait(|status| status.size_bytes >= size_bytes).await;
        grown.map_err(|_| ResizeError::Detached)
    }

    /// Takes a newer map. Not needed where the map is a file.
    pub async fn learn(&self, map: MapFile) -> Result<(), MapChangeError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.command(Command::Learn { map, answer }).await;
        sent.map_err(|_| MapChangeError::Ended)?;
        answered.await.map_err(|_| MapChangeError::Ended)?
    }

    /// Ends the attachment: what was submitted before is finished. Returns whether every replica
    /// knows that there is nothing to reconcile.
    pub async fn detach(&self) -> Result<bool, EndReason> {
        // If it has ended already, its status says how.
        let _ = self.command(Command::Detach).await;
        let ended = self.wait(|status| status.phase.is_over()).await;
        match ended {
            Err(EndReason::Detached { clean }) => Ok(clean),
            Err(other) => Err(other),
            Ok(()) => match self.end_reason() {
                EndReason::Detached { clean } => Ok(clean),
                other => Err(other),
            },
        }
    }

    /// Waits until operations are served.
    pub async fn attached(&self) -> Result<(), EndReason> {
        self.wait(|status| status.phase == Phase::Attached).await
    }

    /// How it is; the receiver can wait for changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The size of the volume.
    pub fn size_bytes(&self) -> u64 {
        self.status.borrow().size_bytes
    }

    async fn command(&self, command: Command) -> Result<(), EndReason> {
        let sent = self.commands.send(command).await;
        sent.map_err(|_| self.end_reason())
    }

    /// Waits until something is so, or can't be any more.
    async fn wait(&self, is_so: impl Fn(&Status) -> bool) -> Result<(), EndReason> {
        let mut status = self.status.clone();
        let done = |status: &Status| is_so(status) || status.phase.is_over();
        let found = status.wait_for(done).await;
        match found {
            Ok(status) if is_so(&status) => Ok(()),
            _ => Err(self.end_reason()),
        }
    }

    fn end_reason(&self) -> EndReason {
        match self.status.borrow().phase.clone() {
            Phase::Failed(error) => EndReason::Failed(error),
            Phase::Detached { clean } => EndReason::Detached { clean },
            Phase::Fenced { by } => EndReason::Fenced { by },
            Phase::Attaching | Phase::Attached => EndReason::Stopped,
        }
    }

    fn ended(&self) -> IoError {
        match self.status.borrow().phase {
            Phase::Fenced { by } => IoError::Fenced { by },
            _ => IoError::Detached,
        }
    }
}
