//! Names of the conditions that the objects carry, and the schema of a condition list.
//!
//! A condition is `metav1.Condition`: type, status, reason, message, time of the last transition.
//! Reasons are CamelCase and stable; messages are for people and may change.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The object does what it is there for.
pub const READY: &str = "Ready";
/// Some bucket has fewer replicas in sync than the pool asks for.
pub const DEGRADED: &str = "Degraded";
/// Some bucket can't be read or written now.
pub const UNAVAILABLE: &str = "Unavailable";
/// One more failure would take data away.
pub const AT_RISK: &str = "AtRisk";
/// Buckets are moving to restore balance.
pub const REBALANCING: &str = "Rebalancing";
/// Some disk is above the pool's full ratio.
pub const FULL: &str = "Full";
/// Every disk of the node serves without errors.
pub const DISKS_HEALTHY: &str = "DisksHealthy";
/// An eviction is done: the node or its disks can be taken away.
pub const EVICTED: &str = "Evicted";

/// The schema of a list of conditions, with the limits that Kubernetes sets for its own kinds.
pub(crate) fn list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One observation of the object's state.",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "description": "What is observed, in CamelCase.",
                    "type": "string",
                    "maxLength": 316,
                    "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
                "status": {
                    "description": "True, False, or Unknown when nobody can tell.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "observedGeneration": {
                    "description": "The metadata.generation that the observation is about. If it is lower than the object's, the last change of the spec hasn't been looked at yet.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string",
                    "format": "date-time",
                },
                "reason": {
                    "description": "Why, as one CamelCase word for programs.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "Why, since when and what happens next, for people.",
                    "type": "string",
                    "maxLength": 32768,
                },
            },
        },
    })
}
