//! All that the operator knows, as one value: the objects as the API server last told, and who lives.

use crate::leases::Leases;
use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;
use moraine_crds::watch::Cache;
use moraine_crds::{BucketMap, StorageNode, StoragePool};

/// What decisions are made from.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    /// The pools.
    pub(crate) pools: Cache<StoragePool>,
    /// Where their buckets lie.
    pub(crate) maps: Cache<BucketMap>,
    /// What the nodes say.
    pub(crate) storage_nodes: Cache<StorageNode>,
    /// The cluster's nodes; their labels are all that matters here.
    pub(crate) nodes: Cache<PartialObjectMeta<Node>>,
    /// Who lives.
    pub(crate) leases: Leases,
}

impl World {
    /// The kinds that weren't read yet. Until there are none, what is missing may only be unheard of,
    /// and nothing may be decided.
    pub(crate) fn unread(&self) -> Vec<&'static str> {
        [
            ("StoragePools", self.pools.listed()),
            ("BucketMaps", self.maps.listed()),
            ("StorageNodes", self.storage_nodes.listed()),
            ("Nodes", self.nodes.listed()),
            ("Leases", self.leases.listed()),
        ]
        .into_iter()
        .filter(|&(_, listed)| !listed)
        .map(|(kind, _)| kind)
        .collect()
    }
}
