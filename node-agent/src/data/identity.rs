//! Who this agent is to its peers, and the first frames of a connection, which prove it.
//!
//! The steps are the protocol's; here they meet a socket. A peer gets so much time for each of them,
//! and no more bytes are read than a step may have.

use super::served::Served;
use super::socket::{Loose, Socket};
use crate::boot;
use anyhow::{Context, Result, bail, ensure};
use moraine_model::{ClusterId, DiskId};
use moraine_protocol::handshake::{
    BootId, Caller, Client, Local, NodeName, Nonce, Peer, Refused, Reject, Secret, Server, Wanted,
    cluster_asked_for,
};
use moraine_protocol::{Group, HEADER_BYTES, Header, Versions};
use moraine_tls::{Stream, Tls, TlsFiles};
use rustix::rand::{GetRandomFlags, getrandom};
use std::path::Path;
use tokio::net::TcpStream;

/// What this agent knows of itself.
#[derive(Debug)]
pub(crate) struct Identity {
    node: NodeName,
    boot: BootId,
    secret: Secret,
    tls: Option<Tls>,
}

/// A frame of the handshake.
type Frame = (Header, Vec<u8>);

impl Identity {
    /// The identity of this boot of the node, with the secret in a file (white space around it doesn't
    /// count), and with certificates if connections are encrypted.
    pub(crate) fn read(secret: &Path, node: &str, tls: Option<TlsFiles>) -> Result<Self> {
        let reading = || format!("reading the secret {}", secret.display());
        let bytes = std::fs::read(secret).with_context(reading)?;
        let digits = boot::id()?.replace('-', "");
        Ok(Self {
            node: NodeName::new(node)?,
            boot: BootId(u128::from_str_radix(&digits, 16).context("reading the boot id")?),
            secret: Secret::new(bytes.trim_ascii()).with_context(reading)?,
            tls: tls.map(Tls::open).transpose()?,
        })
    }

    /// This agent as a member of a cluster, over a connection that has this channel: it is one of each
    /// whose disks it serves.
    fn local<'a>(&'a self, cluster: ClusterId, channel: &'a [u8]) -> Local<'a> {
        Local {
            versions: Versions::OURS,
            cluster,
            node: self.node.clone(),
            boot: self.boot,
            secret: &self.secret,
            channel,
        }
    }

    /// Makes a connection usable for calls to a shard: the connection, and how many calls it may have.
    pub(crate) async fn introduce(
        &self,
        stream: TcpStream,
        cluster: ClusterId,
        (disk, shard): (DiskId, u32),
    ) -> Result<(Socket, u32)> {
        let wanted = Wanted {
            caller: Caller::Replica,
            disk,
            shard,
        };
        let mut stream = Stream::connect(stream, self.tls.as_ref()).await?;
        let channel = stream.channel()?;
        let (client, hello) = Client::start(self.local(cluster, &channel), wanted, nonce()?);
        stream.send(&hello).await?;
        let (header, body) = receive(&mut stream).await?;
        let (proved, proof) = client.challenge(&header, &body)?;
        stream.send(&proof).await?;
        let (header, body) = receive(&mut stream).await?;
        let session = proved.welcome(&header, &body)?;
        Ok((Socket::new(Loose::of(stream)?)?, session.credits))
    }

    /// Finds out who calls, and lets in who is of a cluster of `disks` and asks for a shard of a disk
    /// of it.
    pub(super) async fn welcome(
        &self,
        stream: TcpStream,
        credits: u32,
        disks: &Served,
    ) -> Result<(Peer, Loose)> {
        let mut stream = Stream::accept(stream, self.tls.as_ref()).await?;
        let channel = stream.channel()?;
        let (header, body) = receive(&mut stream).await?;
        let asked = cluster_asked_for(&header, &body)?;
        // To one of another cluster we are of any that we serve, and it is told so.
        let ours = disks.cluster(asked).context("no pool is known yet")?;
        let server = Server::new(self.local(ours, &channel), nonce()?);
        let (challenged, challenge) = answer(&mut stream, server.hello(&header, &body)).await?;
        stream.send(&challenge).await?;
        let (header, body) = receive(&mut stream).await?;
        let proven = answer(&mut stream, challenged.proof(&header, &body)).await?;
        let welcomed = match disks.shards_of(ours, proven.peer().wanted.disk) {
            Some(shards) => proven.welcome(credits, shards),
            None => Err(proven.reject(Reject::NoSuchDisk)),
        };
        let (peer, welcome) = answer(&mut stream, welcomed).await?;
        stream.send(&welcome).await?;
        Ok((peer, Loose::of(stream)?))
    }
}

/// The next step, or the end: a peer that is refused is told what it may know.
async fn answer<T>(stream: &mut Stream, step: Result<T, Refused>) -> Result<T> {
    match step {
        Ok(next) => Ok(next),
        Err(refused) => {
            if let Some(frame) = &refused.answer {
                // That it can't be told changes nothing.
                let _ = stream.send(frame).await;
            }
            bail!(refused.error)
        }
    }
}

async fn receive(stream: &mut Stream) -> Result<Frame> {
    let mut bytes = [0; HEADER_BYTES];
    stream.receive(&mut bytes).await?;
    let header = Header::decode(&bytes)?;
    // Before anything is allocated: what may come before the proof is small.
    header.expect(Group::Handshake)?;
    let mut body = vec![0; header.body_bytes()];
    stream.receive(&mut body).await?;
    Ok((header, body))
}

fn nonce() -> Result<Nonce> {
    let mut nonce = Nonce::default();
    fill(&mut nonce)?;
    Ok(nonce)
}

/// A number that nobody has had before.
pub(crate) fn random() -> Result<u128> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    let got = getrandom(&mut *bytes, GetRandomFlags::empty()).context("asking for randomness")?;
    ensure!(got == bytes.len(), "the kernel gave too little randomness");
    Ok(())
}
