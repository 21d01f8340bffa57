//! Counters and gauges of `/metrics`, handed around as values: there is no global registry.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Which writes are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct WriteLabels {
    /// Kind of the object.
    pub(crate) kind: &'static str,
    /// `ok` or `failed`.
    pub(crate) result: &'static str,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    /// Renewals of the Lease that succeeded.
    pub(crate) renewals: Counter,
    /// Writes of the StorageNode.
    pub(crate) writes: Family<WriteLabels, Counter>,
}

impl Metrics {
    /// The metrics and the page that shows them.
    pub(crate) fn registered() -> (Self, Registry) {
        let metrics = Self::default();
        let mut registry = Registry::with_prefix("moraine_agent");
        registry.register(
            "lease_renewals",
            "Renewals of the node's Lease that succeeded",
            metrics.renewals.clone(),
        );
        registry.register(
            "writes",
            "Writes of the StorageNode, by result",
            metrics.writes.clone(),
        );
        (metrics, registry)
    }
}
