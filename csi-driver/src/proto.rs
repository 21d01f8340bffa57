//! The gRPC interfaces that Kubernetes defines, as generated Rust (`csi-driver/codegen` writes the files below).
//!
//! Nothing here is Moraine's own; lints that judge style don't apply to it.
#![allow(missing_docs, unused_qualifications, unreachable_pub, clippy::pedantic)]

/// The Container Storage Interface, version 1.12.
pub mod csi {
    include!("proto/csi_v1.rs");
}

/// How a plugin makes itself known to kubelet.
pub mod pluginregistration {
    include!("proto/pluginregistration.rs");
}
