//! Makes the driver known to kubelet, as the node-driver-registrar sidecar would: one container less.
//!
//! kubelet watches its `plugins_registry` folder, connects to each socket there, asks who it is, connects to the CSI
//! endpoint it is told, and then says here whether it took the driver.
//!
//! The registration socket has an odd name, see [`check_socket`].

use crate::DRIVER_NAME;
use crate::proto::pluginregistration::registration_server::Registration;
use crate::proto::pluginregistration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};
use std::path::{Path, PathBuf};
use thiserror::Error;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// What kubelet calls the kind of plugin that we are.
const PLUGIN_TYPE: &str = "CSIPlugin";
/// The version of kubelet's CSI plugin interface (not of CSI itself).
const PLUGIN_INTERFACE: &str = "1.0.0";

/// A name of the registration socket that kubelet could never use.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "kubelet could not talk to us through {0}: name the file like block.csi.moraine.io@reg.sock, with an '@' and \
     then only letters, digits, '-' or '.'"
)]
pub struct SocketNameError(PathBuf);

/// Refuses a registration socket whose name kubelet turns into a malformed request.
///
/// kubelet (1.37 still) dials this socket without naming an HTTP authority, so its gRPC library sends the percent-encoded
/// path as one (`%2Fvar%2Flib%2F...`), which is malformed, and our HTTP/2 library rightly answers `PROTOCOL_ERROR`. What stands
/// before an `@` is user information, though, and there percent-encoding is allowed: a path with an `@` in its last
/// part becomes a valid authority. The CSI socket needs no such thing: there kubelet says `localhost`.
pub fn check_socket(path: &Path) -> Result<(), SocketNameError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let host = name.rsplit_once('@').map(|(_, host)| host);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    match host {
        Some(host) if !host.is_empty() && host.chars().all(plain) => Ok(()),
        _ => Err(SocketNameError(path.to_owned())),
    }
}

/// How far the registration is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// kubelet has not decided yet.
    #[default]
    Waiting,
    /// kubelet took the driver.
    Registered,
    /// kubelet refused it, with its reason.
    Refused(String),
}

/// Answers kubelet's questions about the driver.
#[derive(Debug)]
pub struct RegistrationService {
    endpoint: String,
    state: watch::Sender<State>,
}

impl RegistrationService {
    /// `endpoint` is the CSI socket as kubelet sees it; the receiver follows what kubelet decides.
    pub fn new(endpoint: String) -> (Self, watch::Receiver<State>) {
        let (state, watched) = watch::channel(State::default());
        (Self { endpoint, state }, watched)
    }
}

#[tonic::async_trait]
impl Registration for RegistrationService {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: PLUGIN_TYPE.to_owned(),
            name: DRIVER_NAME.to_owned(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec![PLUGIN_INTERFACE.to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        let state = if status.plugin_registered {
            tracing::info!("kubelet registered the driver");
            State::Registered
        } else {
            State::Refused(status.error)
        };
        self.state.send_replace(state);
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::uri::Authority;

    /// As grpc-go makes an authority of what it is told to dial.
    fn authority_of(path: &Path) -> String {
        path.to_string_lossy().replace('/', "%2F")
    }

    #[test]
    fn the_name_of_the_socket_decides_whether_kubelet_is_understood() {
        let folder = Path::new("/var/lib/kubelet/plugins_registry");
        for name in ["block.csi.moraine.io@reg.sock", "a@b"] {
            let path = folder.join(name);
            check_socket(&path).unwrap();
            assert!(authority_of(&path).parse::<Authority>().is_ok(), "{name}");
        }
        for name in ["block.csi.moraine.io-reg.sock", "a@", "a@b c"] {
            let path = folder.join(name);
            assert_eq!(check_socket(&path), Err(SocketNameError(path.clone())));
            assert!(authority_of(&path).parse::<Authority>().is_err(), "{name}");
        }
    }
}
