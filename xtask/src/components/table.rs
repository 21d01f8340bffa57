//! The table of components: the only place that names a version.
//!
//! To change Kubernetes' version, change [`KUBERNETES`]: the versions of its staging modules follow from it.

use super::recipe::{Component, Program};

/// The version of Kubernetes.
pub(crate) const KUBERNETES: &str = "1.37.2";

/// Kubernetes' own programs, and the pause program and image beside them.
pub(super) static KUBERNETES_COMPONENT: Component = Component {
    module: "k8s.io/kubernetes",
    programs: &[
        Program::at("kube-apiserver", "cmd/kube-apiserver"),
        Program::at("kube-controller-manager", "cmd/kube-controller-manager"),
        Program::at("kube-scheduler", "cmd/kube-scheduler"),
        Program::at("kube-proxy", "cmd/kube-proxy"),
        Program::at("kubelet", "cmd/kubelet"),
        Program::at("kubectl", "cmd/kubectl"),
    ],
    pause: true,
    disk_gib: 6,
    ..Component::of("kubernetes", KUBERNETES)
};

static ETCD: Component = Component {
    module: "go.etcd.io/etcd/server/v3",
    programs: &[Program::at("etcd", "")],
    ..Component::of("etcd", "3.6.14")
};

static CONTAINERD: Component = Component {
    module: "github.com/containerd/containerd/v2",
    programs: &[
        Program::at("containerd", "cmd/containerd"),
        Program::at("containerd-shim-runc-v2", "cmd/containerd-shim-runc-v2"),
        Program::at("ctr", "cmd/ctr"),
    ],
    version_variable: "github.com/containerd/containerd/v2/version.Version",
    ..Component::of("containerd", "2.3.7")
};

static RUNC: Component = Component {
    module: "github.com/opencontainers/runc",
    programs: &[Program::at("runc", "")],
    // Debian's runc may be older than containerd wants; seccomp needs C.
    tags: "seccomp",
    cgo: true,
    ..Component::of("runc", "1.4.3")
};

// 6.4.0 needs a library version that the Go module proxy does not serve.
static PROVISIONER: Component = Component {
    module: "github.com/kubernetes-csi/external-provisioner/v6",
    programs: &[Program::at("csi-provisioner", "cmd/csi-provisioner")],
    image: true,
    version_variable: "main.version",
    ..Component::of("csi-provisioner", "6.3.0")
};

static ATTACHER: Component = Component {
    module: "github.com/kubernetes-csi/external-attacher/v4",
    programs: &[Program::at("csi-attacher", "cmd/csi-attacher")],
    image: true,
    version_variable: "main.version",
    ..Component::of("csi-attacher", "4.13.0")
};

static RESIZER: Component = Component {
    module: "github.com/kubernetes-csi/external-resizer/v2",
    programs: &[Program::at("csi-resizer", "cmd/csi-resizer")],
    image: true,
    version_variable: "main.version",
    ..Component::of("csi-resizer", "2.3.0")
};

static SNAPSHOTTER: Component = Component {
    module: SNAPSHOTTER_MODULE,
    programs: &[Program::at("csi-snapshotter", "cmd/csi-snapshotter")],
    image: true,
    version_variable: "main.version",
    ..Component::of("csi-snapshotter", SNAPSHOTTER_VERSION)
};

static SNAPSHOT_CONTROLLER: Component = Component {
    module: SNAPSHOTTER_MODULE,
    programs: &[Program::at(
        "snapshot-controller",
        "cmd/snapshot-controller",
    )],
    version_variable: "main.version",
    manifests: &[
        (SNAPSHOTTER_CLIENT_MODULE, SNAPSHOTTER_VERSION, "config/crd"),
        (
            SNAPSHOTTER_MODULE,
            SNAPSHOTTER_VERSION,
            "deploy/kubernetes/snapshot-controller/rbac-snapshot-controller.yaml",
        ),
    ],
    ..Component::of("snapshot-controller", SNAPSHOTTER_VERSION)
};

const SNAPSHOTTER_MODULE: &str = "github.com/kubernetes-csi/external-snapshotter/v8";
const SNAPSHOTTER_CLIENT_MODULE: &str = "github.com/kubernetes-csi/external-snapshotter/client/v8";
const SNAPSHOTTER_VERSION: &str = "8.7.0";

static SANITY: Component = Component {
    module: "github.com/kubernetes-csi/csi-test/v5",
    programs: &[Program::at("csi-sanity", "cmd/csi-sanity")],
    ..Component::of("csi-sanity", "5.6.0")
};

static HELM: Component = Component {
    module: "helm.sh/helm/v3",
    programs: &[Program::at("helm", "cmd/helm")],
    version_variable: "helm.sh/helm/v3/internal/version.version",
    ..Component::of("helm", "3.19.0")
};

/// What runs a cluster and talks to it.
pub(crate) static CONTROL_PLANE: [&Component; 6] = [
    &KUBERNETES_COMPONENT,
    &ETCD,
    &CONTAINERD,
    &RUNC,
    &SNAPSHOT_CONTROLLER,
    &HELM,
];

/// What a chart pulls as images beside its own.
pub(crate) static SIDECARS: [&Component; 4] = [&PROVISIONER, &ATTACHER, &RESIZER, &SNAPSHOTTER];

/// Every component.
pub(crate) fn all() -> Vec<&'static Component> {
    let mut all = CONTROL_PLANE.to_vec();
    all.extend(SIDECARS);
    all.push(&SANITY);
    all
}
