//! Calls of one replica to another: each by a connection of its own, which is slow and simple.

use crate::agent::World;
use crate::link::{Link, bad};
use moraine_model::BucketId;
use moraine_protocol::{DiskPlace, Reply, Request, RequestId, decode_reply, encode_request};
use moraine_tls::Stream;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(2);

/// Asks, and returns the answer with its data; nothing if none came in time.
pub(crate) async fn ask(
    place: &DiskPlace,
    world: &World,
    request: &Request,
) -> Option<(Reply, Vec<u8>)> {
    let asked = tokio::time::timeout(LIMIT, try_to_ask(place, world, request));
    asked.await.ok()?.ok()
}

async fn try_to_ask(
    place: &DiskPlace,
    world: &World,
    request: &Request,
) -> io::Result<(Reply, Vec<u8>)> {
    let bucket = request.bucket().map_or(0, BucketId::get);
    let whom = (place.id, bucket % place.shards);
    let stream = TcpStream::connect(&place.address).await?;
    stream.set_nodelay(true)?;
    let stream = Stream::connect(stream, world.tls.as_ref()).await;
    let mut link = Link::new(stream.map_err(bad)?)?;
    let cluster = world.map.borrow().cluster;
    link.introduce(&world.secret, cluster, whom).await?;
    let mut head = Vec::new();
    encode_request(RequestId(1), request, &mut head);
    link.send(&head).await?;
    let frame = link.frame().await?;
    let decoded = decode_reply(&frame.header, &frame.body);
    let (_, reply) = decoded.map_err(bad)?;
    Ok((reply, frame.data))
}
