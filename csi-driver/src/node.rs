//! CSI's node service: what kubelet asks of the driver on its own node.
//!
//! Staging and publishing are not here yet: kubelet never calls them while no volume can be made, and anyone who
//! does gets `UNIMPLEMENTED` with the reason.

use crate::proto::csi::node_server::Node;
use crate::proto::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse,
    NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodePublishVolumeRequest,
    NodePublishVolumeResponse, NodeStageVolumeRequest, NodeStageVolumeResponse,
    NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest,
    NodeUnstageVolumeResponse,
};
use thiserror::Error;
use tonic::{Request, Response, Status};

/// CSI's limit on the length of a node's identifier, bytes.
pub const NODE_ID_BYTES_MAX: usize = 256;

/// The Kubernetes name of this node, which is also its CSI identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName(String);

/// A text that can't be the name of a node.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is not the name of a Kubernetes node: give 1 to {NODE_ID_BYTES_MAX} lower-case letters, digits, '-' or '.' \
     (the chart sets NODE_NAME from spec.nodeName)"
)]
pub struct NodeNameError(String);

impl std::str::FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        let length_ok = (1..=NODE_ID_BYTES_MAX).contains(&text.len());
        if length_ok && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NodeNameError(text.to_owned()))
        }
    }
}

/// Answers for this node.
#[derive(Debug)]
pub struct NodeService {
    name: NodeName,
}

impl NodeService {
    /// A service that speaks for the node `name`.
    pub fn new(name: NodeName) -> Self {
        Self { name }
    }
}

fn not_yet<T>(call: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!(
        "{call}: this version of Moraine registers its driver but serves no volumes yet"
    )))
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.name.0.clone(),
            ..NodeGetInfoResponse::default()
        }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        Ok(Response::new(NodeGetCapabilitiesResponse {
            capabilities: Vec::new(),
        }))
    }

    async fn node_stage_volume(
        &self,
        _: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        not_yet("NodeStageVolume")
    }

    async fn node_unstage_volume(
        &self,
        _: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        not_yet("NodeUnstageVolume")
    }

    async fn node_publish_volume(
        &self,
        _: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        not_yet("NodePublishVolume")
    }

    async fn node_unpublish_volume(
        &self,
        _: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        not_yet("NodeUnpublishVolume")
    }

    async fn node_get_volume_stats(
        &self,
        _: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        not_yet("NodeGetVolumeStats")
    }

    async fn node_expand_volume(
        &self,
        _: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        not_yet("NodeExpandVolume")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_is_what_kubernetes_allows() {
        for good in [
            "n1",
            "ip-10-0-0-1.eu.internal",
            &"a".repeat(NODE_ID_BYTES_MAX),
        ] {
            assert_eq!(good.parse(), Ok(NodeName(good.to_owned())));
        }
        for bad in [
            "",
            "N1",
            "a/b",
            "a b",
            "ä",
            &"a".repeat(NODE_ID_BYTES_MAX + 1),
        ] {
            assert_eq!(bad.parse::<NodeName>(), Err(NodeNameError(bad.to_owned())));
        }
    }
}
