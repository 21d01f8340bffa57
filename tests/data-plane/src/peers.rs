//! Calls of one replica to another: each by a connection of its own, which is slow and simple.

use crate::link::Link;
use moraine_model::{BucketId, ClusterId};
use moraine_protocol::handshake::Secret;
use moraine_protocol::{DiskPlace, Reply, Request, RequestId, decode_reply, encode_request};
use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const LIMIT: Duration = Duration::from_secs(2);

/// Asks, and returns the answer with its data; nothing if none came in time.
pub(crate) async fn ask(
    place: &DiskPlace,
    secret: &Secret,
    cluster: ClusterId,
    request: &Request,
) -> Option<(Reply, Vec<u8>)> {
    let asked = tokio::time::timeout(LIMIT, try_to_ask(place, secret, cluster, request));
    asked.await.ok()?.ok()
}

async fn try_to_ask(
    place: &DiskPlace,
    secret: &Secret,
    cluster: ClusterId,
    request: &Request,
) -> io::Result<(Reply, Vec<u8>)> {
    let bucket = request.bucket().map_or(0, BucketId::get);
    let whom = (place.id, bucket % place.shards);
    let mut link = Link::connect(&place.address, secret, cluster, whom).await?;
    let mut head = Vec::new();
    encode_request(RequestId(1), request, &mut head);
    link.output.write_all(&head).await?;
    let frame = link.frame().await?;
    let decoded = decode_reply(&frame.header, &frame.body);
    let (_, reply) = decoded.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((reply, frame.data))
}
