//! Makes the driver known to kubelet, as the node-driver-registrar sidecar would: one container less.
//!
//! kubelet watches its `plugins_registry` folder, connects to each socket there, asks who it is, connects to the CSI
//! endpoint it is told, and then says here whether it took the driver.

use crate::DRIVER_NAME;
use crate::proto::pluginregistration::registration_server::Registration;
use crate::proto::pluginregistration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// What kubelet calls the kind of plugin that we are.
const PLUGIN_TYPE: &str = "CSIPlugin";
/// The version of kubelet's CSI plugin interface (not of CSI itself).
const PLUGIN_INTERFACE: &str = "1.0.0";

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
