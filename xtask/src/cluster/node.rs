//! A node: containerd with runc, kubelet and kube-proxy, in network, mount, process and host name namespaces of
//! its own.
//!
//! The first process of the process namespace is [`init`], so that its end ends everything on the node at once, as
//! a loss of power does. A node's disk is its folder; `/var/lib` and `/var/log` are in it. The kernel, its devices and
//! `/dev` are shared by all nodes and the host.

pub(super) mod init;

use super::cgroup::Hierarchies;
use super::daemon::{Daemon, Running};
use super::state::{Home, Node, State};
use super::{network, process};
use crate::components::{Built, PAUSE_IMAGE};
use crate::interrupt;
use crate::proc::Cmd;
use anyhow::{Context, Result};
use serde_json::json;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where containerd listens, inside a node.
const CONTAINERD: &str = "/run/containerd/containerd.sock";
const START_LIMIT: Duration = Duration::from_mins(1);

/// Makes a node and starts it. Its certificate must be there.
pub(super) fn start(home: &Home, state: &State, built: &Built, node: &Node) -> Result<Running> {
    let label = state.label(&node.name());
    Hierarchies::find()?.make(&home.journal(), &label, Some("system"))?;
    network::make_node(&home.journal(), state, node)?;
    let plan = write_files(home, state, built, node)?;
    let name = node.name();
    // Slave: no mount of the node gets out, and what the host unmounts the node does not hold.
    let mut command: Vec<OsString> = [
        "unshare",
        "--mount",
        "--propagation=slave",
        "--uts",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]
    .map(OsString::from)
    .to_vec();
    command.extend([
        own_program(&home.node(node))?.into(),
        "node-init".into(),
        plan.into(),
    ]);
    Daemon {
        part: &name,
        group: &format!("{label}/system"),
        network: &network::handle(&label),
        search_path: &built.search_path()?,
        command,
    }
    .start(home)
}

/// Tells a node that the control plane serves, so that it starts its kubelet. Sooner, that would try in vain and then
/// wait for long.
pub(super) fn join(home: &Home, node: &Node) -> Result<()> {
    let path = home.node(node).join(init::GATE);
    fs::write(&path, "").with_context(|| format!("writing {}", path.display()))
}

/// A copy of this very program for the node: a rebuild may replace the file that it was started from.
fn own_program(folder: &Path) -> Result<PathBuf> {
    let copy = folder.join("init");
    fs::copy("/proc/self/exe", &copy).with_context(|| format!("writing {}", copy.display()))?;
    Ok(copy)
}

/// Waits until a node's containerd answers.
pub(super) fn wait_for_containerd(running: &Running, built: &Built) -> Result<()> {
    interrupt::wait_until("containerd's start", START_LIMIT, || {
        running.check()?;
        Ok(ctr(running.identity.pid, built).is_ok_and(|ctr| ctr.arg("version").run().is_ok()))
    })
}

/// containerd's client, inside a node that is known by the process that `unshare` runs in.
pub(super) fn ctr(unshare: i32, built: &Built) -> Result<Cmd> {
    let init = init_of(unshare)?;
    Ok(Cmd::new("nsenter", "talk to a node's containerd")
        .arg(format!("--target={init}"))
        .args(["--mount", "--pid", "--net", "--"])
        .arg(built.program("ctr")?)
        .args(["--address", CONTAINERD, "--namespace", "k8s.io"]))
}

/// The first process of a node, as the host sees it.
pub(super) fn init_of(unshare: i32) -> Result<i32> {
    process::children(unshare)
        .first()
        .copied()
        .context("the node is not running")
}

/// Writes the configuration of a node's parts and returns the path of its plan.
fn write_files(home: &Home, state: &State, built: &Built, node: &Node) -> Result<PathBuf> {
    let (folder, name, pki) = (home.node(node), node.name(), home.pki());
    let disk = |inner: &str| folder.join("disk").join(inner);
    for inner in ["var-lib/cni/net.d", "var-log"] {
        fs::create_dir_all(disk(inner)).with_context(|| format!("making {}", folder.display()))?;
    }
    let write = |file: &str, text: String| -> Result<()> {
        let path = folder.join(file);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    };
    let network = json!({"cniVersion": "1.0.0", "name": "moraine", "plugins": [
        // Point to point: every packet is routed, so that services work without the br_netfilter module.
        {"type": "ptp", "ipMasq": false, "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": state.range.pods_of(node)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }},
        {"type": "portmap", "capabilities": {"portMappings": true}},
    ]});
    fs::write(
        disk("var-lib/cni/net.d/10-moraine.conflist"),
        format!("{network:#}\n"),
    )?;
    write(
        "containerd.toml",
        fill(
            include_str!("node/containerd.toml"),
            &[("pause", PAUSE_IMAGE)],
        ),
    )?;
    let path = |name: String| pki.join(name).to_string_lossy().into_owned();
    write(
        "kubelet.yaml",
        fill(
            include_str!("node/kubelet.yaml"),
            &[
                ("authority", &path("ca.crt".to_owned())),
                ("certificate", &path(format!("{name}-server.crt"))),
                ("key", &path(format!("{name}-server.key"))),
                ("group", &state.label(&name)),
            ],
        ),
    )?;
    let plan = plan(home, state, built, node)?;
    let file = folder.join("plan.json");
    let text = serde_json::to_string_pretty(&plan)?;
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

fn plan(home: &Home, state: &State, built: &Built, node: &Node) -> Result<init::Plan> {
    let (folder, name, pki) = (home.node(node), node.name(), home.pki());
    let part = |part: &str, program: &str, arguments: Vec<String>| -> Result<init::Part> {
        Ok(init::Part {
            program: built.program(program)?,
            arguments,
            gated: part != "containerd",
            log: home.log(&format!("{name}-{part}")),
        })
    };
    let show = |path: &Path| path.display().to_string();
    let containerd = vec![format!(
        "--config={}",
        show(&folder.join("containerd.toml"))
    )];
    let kubelet = vec![
        format!("--config={}", show(&folder.join("kubelet.yaml"))),
        format!(
            "--kubeconfig={}",
            show(&pki.join(format!("{name}.kubeconfig")))
        ),
        format!("--hostname-override={name}"),
        format!("--node-ip={}", state.range.node(node)),
        format!("--node-labels=topology.kubernetes.io/zone={}", node.zone()),
        "--v=2".to_owned(),
    ];
    let proxy = vec![
        format!("--kubeconfig={}", show(&pki.join("proxy.kubeconfig"))),
        format!("--hostname-override={name}"),
        format!("--cluster-cidr={}", state.range.pods()),
        "--proxy-mode=nftables".to_owned(),
        // The host's limits of connection tracking stay as they are.
        "--conntrack-max-per-core=0".to_owned(),
    ];
    Ok(init::Plan {
        host_name: name.clone(),
        disk: folder.join("disk"),
        gate: folder.join(init::GATE),
        parts: vec![
            part("containerd", "containerd", containerd)?,
            part("kubelet", "kubelet", kubelet)?,
            part("proxy", "kube-proxy", proxy)?,
        ],
    })
}

/// Puts values in place of `{{name}}`.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let replace = |text: String, (name, value): &(&str, &str)| {
        text.replace(&format!("{{{{{name}}}}}"), value)
    };
    let filled = values.iter().fold(template.to_owned(), replace);
    assert!(
        !filled.contains("{{"),
        "a template has a place that nothing fills"
    );
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_wholly() {
        assert_eq!(
            fill("a {{x}} {{y}} {{x}}", &[("x", "1"), ("y", "2")]),
            "a 1 2 1"
        );
    }

    #[test]
    #[should_panic(expected = "nothing fills")]
    fn a_forgotten_place_is_an_error() {
        fill("{{x}} {{z}}", &[("x", "1")]);
    }
}
