//! Plays kubelet's part against the real server on real sockets: registration, identity, node, health, good-bye.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]
use moraine_csi::DRIVER_NAME;
use moraine_csi::health::connect;
use moraine_csi::proto::csi::identity_client::IdentityClient;
use moraine_csi::proto::csi::node_client::NodeClient;
use moraine_csi::proto::csi::{
    GetPluginCapabilitiesRequest, GetPluginInfoRequest, NodeGetInfoRequest, NodeStageVolumeRequest,
};
use moraine_csi::proto::pluginregistration::registration_client::RegistrationClient;
use moraine_csi::proto::pluginregistration::{InfoRequest, RegistrationStatus};
use moraine_csi::serve::{NodeOptions, Pages, node};
use std::net::Ipv4Addr;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Driver {
    options: NodeOptions,
    health_port: u16,
    metrics_port: u16,
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

async fn start(dir: &Path) -> Driver {
    let pages = Pages::listen(0, 0).await.unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let (health_port, metrics_port) = (port(&pages.health), port(&pages.metrics));
    let options = NodeOptions {
        node: "n1".parse().unwrap(),
        csi_socket: dir.join("csi.sock"),
        kubelet_csi_socket: "/var/lib/kubelet/plugins/block.csi.moraine.io/csi.sock".into(),
        registration_socket: dir.join("driver@reg.sock"),
    };
    let (stop, stopped) = oneshot::channel();
    let stopped = async move { drop(stopped.await) };
    let task = tokio::spawn(node(options.clone(), pages, stopped));
    while !options.registration_socket.exists() {
        assert!(!task.is_finished(), "the driver ended: {:?}", task.await);
        tokio::task::yield_now().await;
    }
    Driver {
        options,
        health_port,
        metrics_port,
        stop,
        task,
    }
}

async fn get(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

async fn the_driver_says_who_it_is(driver: &Driver) {
    let mut identity = IdentityClient::new(connect(&driver.options.csi_socket).await.unwrap());
    let plugin = identity
        .get_plugin_info(GetPluginInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(plugin.name, DRIVER_NAME);
    let abilities = identity
        .get_plugin_capabilities(GetPluginCapabilitiesRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(
        abilities.capabilities.is_empty(),
        "announces only what it can do: {abilities:?}"
    );

    let mut node = NodeClient::new(connect(&driver.options.csi_socket).await.unwrap());
    let about = node
        .node_get_info(NodeGetInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(about.node_id, "n1");
    let refused = node
        .node_stage_volume(NodeStageVolumeRequest::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn kubelet_registers_the_driver_and_is_told_good_bye() {
    let dir = tempfile::tempdir().unwrap();
    let driver = start(dir.path()).await;
    let health = driver.health_port;
    assert_eq!(get(health, "/readyz").await.0, 503);

    let channel = connect(&driver.options.registration_socket).await.unwrap();
    let mut registration = RegistrationClient::new(channel);
    let info = registration
        .get_info(InfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.r#type, "CSIPlugin");
    assert_eq!(info.name, DRIVER_NAME);
    assert_eq!(
        info.endpoint,
        "/var/lib/kubelet/plugins/block.csi.moraine.io/csi.sock"
    );
    assert_eq!(info.supported_versions, ["1.0.0"]);

    the_driver_says_who_it_is(&driver).await;

    let taken = RegistrationStatus {
        plugin_registered: true,
        error: String::new(),
    };
    registration
        .notify_registration_status(taken)
        .await
        .unwrap();
    assert_eq!(get(health, "/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(health, "/healthz").await, (200, "ok\n".to_owned()));

    let (_, figures) = get(driver.metrics_port, "/metrics").await;
    assert!(
        figures.contains("\nmoraine_csi_registered 1\n"),
        "{figures}"
    );

    driver.stop.send(()).unwrap();
    driver.task.await.unwrap().unwrap();
    assert!(
        !driver.options.registration_socket.exists(),
        "kubelet sees us go"
    );
    assert!(!driver.options.csi_socket.exists());
}

#[tokio::test]
async fn a_refusal_ends_the_driver_with_kubelets_reason() {
    let dir = tempfile::tempdir().unwrap();
    let driver = start(dir.path()).await;
    let channel = connect(&driver.options.registration_socket).await.unwrap();
    let refusal = RegistrationStatus {
        plugin_registered: false,
        error: "name is taken".to_owned(),
    };
    RegistrationClient::new(channel)
        .notify_registration_status(refusal)
        .await
        .unwrap();
    let error = driver.task.await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "kubelet refused the driver: name is taken"
    );
}

#[tokio::test]
async fn health_fails_when_the_socket_no_longer_answers() {
    let dir = tempfile::tempdir().unwrap();
    let driver = start(dir.path()).await;
    assert_eq!(get(driver.health_port, "/healthz").await.0, 200);
    std::fs::rename(&driver.options.csi_socket, dir.path().join("moved")).unwrap();
    let (code, text) = get(driver.health_port, "/healthz").await;
    assert_eq!(code, 503);
    assert!(text.contains("csi.sock"), "{text}");
}
