//! etcd, kube-apiserver, kube-controller-manager, kube-scheduler and the snapshot controller, side by side in one
//! network namespace.
//!
//! The API server waits for etcd by itself. The controller manager gives up if the API server has not granted its
//! rights within 10 s, which a slow machine needs longer for, so what needs the API server is started once it is
//! ready. etcd does not sync to disk: a cluster ends with its folder, and so many syncs would slow down what is
//! measured beside it.

use super::daemon::{Daemon, Running};
use super::network;
use super::state::{Home, State};
use crate::components::Built;
use anyhow::Result;
use std::ffi::OsString;

/// How long a node may be silent before it is no longer ready; Kubernetes' own default is 50 s.
const NODE_GRACE: &str = "--node-monitor-grace-period=20s";

/// Starts the parts of one cluster's control plane.
pub(super) struct ControlPlane<'a> {
    pub(super) home: &'a Home,
    pub(super) state: &'a State,
    pub(super) built: &'a Built,
}

impl ControlPlane<'_> {
    /// Starts the API server and what it stores in.
    pub(super) fn start(&self) -> Result<Vec<Running>> {
        let (home, state) = (self.home, self.state);
        Ok(vec![
            self.part("etcd", "etcd", etcd(home))?,
            self.part("apiserver", "kube-apiserver", api_server(home, state))?,
        ])
    }

    /// Starts what runs pods, once the API server is ready.
    pub(super) fn start_controllers(&self) -> Result<Vec<Running>> {
        let (home, state) = (self.home, self.state);
        Ok(vec![
            self.part(
                "controller-manager",
                "kube-controller-manager",
                controller_manager(home, state),
            )?,
            self.part("scheduler", "kube-scheduler", scheduler(home))?,
        ])
    }

    /// Starts the snapshot controller, once its objects' definitions are there.
    pub(super) fn start_snapshot_controller(&self) -> Result<Running> {
        let arguments = vec![
            kubeconfig(self.home, "snapshot-controller"),
            "--leader-election=false".to_owned(),
            "--http-endpoint=127.0.0.1:8081".to_owned(),
        ];
        self.part("snapshot-controller", "snapshot-controller", arguments)
    }

    fn part(&self, part: &str, program: &str, arguments: Vec<String>) -> Result<Running> {
        let label = self.state.label("cp");
        let mut command: Vec<OsString> = vec![self.built.program(program)?.into()];
        command.extend(arguments.into_iter().map(OsString::from));
        Daemon {
            part,
            group: &label,
            network: &network::handle(&label),
            search_path: &self.built.search_path()?,
            command,
        }
        .start(self.home)
    }
}

fn etcd(home: &Home) -> Vec<String> {
    let mut arguments = vec![format!("--data-dir={}", home.path().join("etcd").display())];
    arguments.extend(
        [
            "--name=etcd",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=etcd=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        .map(str::to_owned),
    );
    arguments
}

fn api_server(home: &Home, state: &State) -> Vec<String> {
    let pki = home.pki();
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.join(name).display());
    let mut arguments = vec![
        format!("--advertise-address={}", state.range.control_plane()),
        format!("--service-cluster-ip-range={}", state.range.services()),
        file("tls-cert-file", "apiserver.crt"),
        file("tls-private-key-file", "apiserver.key"),
        file("client-ca-file", "ca.crt"),
        file("kubelet-certificate-authority", "ca.crt"),
        file("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
        file("kubelet-client-key", "apiserver-kubelet-client.key"),
        file("service-account-key-file", "sa.pub"),
        file("service-account-signing-key-file", "sa.key"),
    ];
    arguments.extend(
        [
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            "--secure-port=6443",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",
        ]
        .map(str::to_owned),
    );
    arguments
}

fn controller_manager(home: &Home, state: &State) -> Vec<String> {
    let pki = home.pki();
    vec![
        kubeconfig(home, "controller-manager"),
        format!(
            "--service-account-private-key-file={}",
            pki.join("sa.key").display()
        ),
        format!("--root-ca-file={}", pki.join("ca.crt").display()),
        format!("--cluster-cidr={}", state.range.pods()),
        // Each node's pods have the addresses that its CNI configuration says; nothing is allocated.
        "--allocate-node-cidrs=false".to_owned(),
        // The default is outside of the cluster's folder.
        format!(
            "--flex-volume-plugin-dir={}",
            home.path().join("flexvolume").display()
        ),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        NODE_GRACE.to_owned(),
    ]
}

fn scheduler(home: &Home) -> Vec<String> {
    vec![
        kubeconfig(home, "scheduler"),
        "--leader-elect=false".to_owned(),
    ]
}

fn kubeconfig(home: &Home, name: &str) -> String {
    format!(
        "--kubeconfig={}",
        home.pki().join(format!("{name}.kubeconfig")).display()
    )
}
