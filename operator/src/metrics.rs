//! Counters and gauges of `/metrics`, handed around as values: there is no global registry.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Which writes are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct WriteLabels {
    /// Kind of the object.
    pub(crate) kind: &'static str,
    /// `ok`, `gone` or `failed`.
    pub(crate) result: &'static str,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    /// 1 on the replica that leads.
    pub(crate) leading: Gauge,
    /// Times that the world was looked at.
    pub(crate) decisions: Counter,
    /// Writes of status.
    pub(crate) writes: Family<WriteLabels, Counter>,
}

impl Metrics {
    /// The metrics and the page that shows them.
    pub(crate) fn registered() -> (Self, Registry) {
        let metrics = Self::default();
        let mut registry = Registry::with_prefix("moraine_operator");
        registry.register(
            "leading",
            "Whether this replica leads",
            metrics.leading.clone(),
        );
        registry.register(
            "decisions",
            "Times that the world was looked at for something to write",
            metrics.decisions.clone(),
        );
        registry.register(
            "writes",
            "Writes of status, by kind and result",
            metrics.writes.clone(),
        );
        (metrics, registry)
    }
}
