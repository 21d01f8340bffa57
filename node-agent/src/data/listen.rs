//! Interim.
use super::Shards;
use super::identity::Identity;
use std::sync::Arc;
use tokio::net::TcpListener;
pub(super) async fn accept(_: TcpListener, _: Arc<Identity>, _: &Shards) {}
