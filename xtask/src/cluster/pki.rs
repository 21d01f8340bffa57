//! Keys, certificates and kubeconfigs: every part has a certificate of its own, with the name that Kubernetes'
//! built-in roles are bound to.

use super::state::{Home, Node, State};
use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes certificates of one cluster.
pub(super) struct Authority<'a> {
    home: &'a Home,
    issuer: Issuer<'static, KeyPair>,
}

/// Who a client is, as Kubernetes reads it from a certificate.
struct Subject<'a> {
    user: &'a str,
    group: Option<&'a str>,
}

impl<'a> Authority<'a> {
    /// Makes the authority, and the key that signs the tokens of service accounts.
    pub(super) fn make(home: &'a Home, state: &State) -> Result<Self> {
        let (params, key) = (authority_params(state), KeyPair::generate()?);
        let certificate = params.self_signed(&key)?;
        write(&home.pki().join("ca.crt"), &certificate.pem(), 0o644)?;
        write(&home.pki().join("ca.key"), &key.serialize_pem(), 0o600)?;
        let tokens = KeyPair::generate()?;
        write(&home.pki().join("sa.key"), &tokens.serialize_pem(), 0o600)?;
        write(&home.pki().join("sa.pub"), &tokens.public_key_pem(), 0o644)?;
        let issuer = Issuer::new(params, key);
        Ok(Self { home, issuer })
    }

    /// Takes up the authority that `up` made.
    pub(super) fn open(home: &'a Home, state: &State) -> Result<Self> {
        let path = home.pki().join("ca.key");
        let pem =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let issuer = Issuer::new(authority_params(state), KeyPair::from_pem(&pem)?);
        Ok(Self { home, issuer })
    }

    /// All that the control plane and its clients need.
    pub(super) fn control_plane(&self, state: &State) -> Result<()> {
        let range = state.range;
        let mut names: Vec<String> = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ]
        .map(str::to_owned)
        .to_vec();
        names.extend([
            "127.0.0.1".to_owned(),
            range.control_plane().to_string(),
            range.first_service().to_string(),
        ]);
        self.server("apiserver", "kube-apiserver", names)?;
        let admin = Subject {
            user: "kubernetes-admin",
            group: Some("system:masters"),
        };
        self.client("admin", &admin)?;
        let to_kubelets = Subject {
            user: "kube-apiserver",
            group: Some("system:masters"),
        };
        self.client("apiserver-kubelet-client", &to_kubelets)?;
        for (name, user) in [
            ("controller-manager", "system:kube-controller-manager"),
            ("scheduler", "system:kube-scheduler"),
            ("proxy", "system:kube-proxy"),
            ("snapshot-controller", super::snapshots::USER),
        ] {
            self.client(name, &Subject { user, group: None })?;
            let path = self.home.pki().join(format!("{name}.kubeconfig"));
            self.kubeconfig(state, name, &path)?;
        }
        self.kubeconfig(state, "admin", &self.home.kubeconfig())
    }

    /// A node's own identity, as client of the API server and as server of logs.
    pub(super) fn node(&self, state: &State, node: &Node) -> Result<()> {
        let name = node.name();
        let address = state.range.node(node).to_string();
        self.server(
            &format!("{name}-server"),
            &name,
            vec![name.clone(), address],
        )?;
        let user = format!("system:node:{name}");
        self.client(
            &name,
            &Subject {
                user: &user,
                group: Some("system:nodes"),
            },
        )?;
        let path = self.home.pki().join(format!("{name}.kubeconfig"));
        self.kubeconfig(state, &name, &path)
    }

    fn server(&self, file: &str, common_name: &str, names: Vec<String>) -> Result<()> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = named(common_name, None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(file, params)
    }

    fn client(&self, file: &str, subject: &Subject<'_>) -> Result<()> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named(subject.user, subject.group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(file, params)
    }

    fn issue(&self, file: &str, mut params: CertificateParams) -> Result<()> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let folder = self.home.pki();
        write(
            &folder.join(format!("{file}.crt")),
            &certificate.pem(),
            0o644,
        )?;
        write(
            &folder.join(format!("{file}.key")),
            &key.serialize_pem(),
            0o600,
        )
    }

    fn kubeconfig(&self, state: &State, file: &str, path: &Path) -> Result<()> {
        let cluster = state.label("cluster");
        let file_in = |name: String| self.home.pki().join(name).to_string_lossy().into_owned();
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": cluster, "cluster": {
                "server": format!("https://{}:6443", IpAddr::from(state.range.control_plane())),
                "certificate-authority": file_in("ca.crt".to_owned()),
            }}],
            "users": [{"name": file, "user": {
                "client-certificate": file_in(format!("{file}.crt")),
                "client-key": file_in(format!("{file}.key")),
            }}],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": file}}],
            "current-context": cluster,
        });
        write(path, &format!("{config:#}\n"), 0o600)
    }
}

/// The same for every use of the authority's key, so that what it signs names the certificate on disk.
fn authority_params(state: &State) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&state.label("ca"), None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name.push(DnType::CommonName, user);
    name
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}
