//! OCI image archives: a root folder becomes one tar file that `ctr images import`, `skopeo` and `docker load` read.
//!
//! ```text
//! root folder -> layer (tar, gzip) -> config, manifest, index -> archive (tar)
//! ```
//!
//! The same folder and the same [`ImageSpec`] give the same bytes on every machine: entries are sorted, times are
//! zero, owners are root, modes follow a rule (see `layer`), and the compressor is pinned by Cargo.lock. It is
//! deliberately not an image builder: one layer, no base image, no registry.

mod layer;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The usual search path of a Linux container.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the image says about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct ImageSpec {
    /// Full name with a tag, for instance `ghcr.io/moraine-storage/moraine:0.1.0`; importing gives it this name.
    pub(crate) name: String,
    /// Program and first arguments; empty if whoever runs the image names the command.
    pub(crate) entrypoint: Vec<String>,
    /// Labels, `org.opencontainers.image.*` among them.
    pub(crate) labels: BTreeMap<String, String>,
    /// User to run as, `UID[:GID]`; root if none.
    pub(crate) user: Option<String>,
}

/// A content address, shown as `sha256:...`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Digest(String);

impl Digest {
    fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{:x}", Sha256::digest(bytes)))
    }

    /// Where the content lies in an archive.
    fn blob(&self) -> String {
        format!("blobs/{}", self.0.replace(':', "/"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Packs the folder `rootfs` as the image `spec` into the archive `out`, and returns the digest of its manifest.
pub(crate) fn write_archive(rootfs: &Path, spec: &ImageSpec, out: &Path) -> Result<Digest> {
    let tag = tag(&spec.name)?;
    let layer =
        Layer::pack(rootfs).with_context(|| format!("packing the folder {}", rootfs.display()))?;
    let config = json(&ImageConfig::new(spec, &layer.diff_id)?)?;
    let manifest = json(&Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: Descriptor::new(CONFIG, &config),
        layers: vec![Descriptor::new(LAYER, &layer.bytes)],
    })?;
    let digest = Digest::of(&manifest);
    let mut described = Descriptor::new(MANIFEST, &manifest);
    described
        .annotations
        .insert("io.containerd.image.name", spec.name.clone());
    described
        .annotations
        .insert("org.opencontainers.image.ref.name", tag.to_owned());
    let index = json(&Index {
        schema_version: 2,
        media_type: INDEX,
        manifests: vec![described],
    })?;
    let docker = json(&[DockerImage {
        config: Digest::of(&config).blob(),
        repo_tags: vec![&spec.name],
        layers: vec![Digest::of(&layer.bytes).blob()],
    }])?;

    let mut entries = BTreeMap::from([
        (
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
        ("index.json".to_owned(), index),
        ("manifest.json".to_owned(), docker),
    ]);
    for blob in [config, manifest, layer.bytes] {
        entries.insert(Digest::of(&blob).blob(), blob);
    }
    save(&entries, out).with_context(|| format!("writing the image to {}", out.display()))?;
    Ok(digest)
}

/// Writes the archive beside `out` first, so that a half-written one never bears its name.
fn save(entries: &BTreeMap<String, Vec<u8>>, out: &Path) -> Result<()> {
    let folder = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut partial = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)?;
    let mut archive = tar::Builder::new(BufWriter::new(partial.as_file_mut()));
    for (path, bytes) in entries {
        let mut header = layer::header(tar::EntryType::Regular, 0o644);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes.as_slice())?;
    }
    archive.into_inner()?.flush()?;
    partial.persist(out)?;
    Ok(())
}

/// The tag of an image's full name.
fn tag(name: &str) -> Result<&str> {
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((_, tag)) if !tag.is_empty() => Ok(tag),
        _ => bail!("the image name {name} has no tag: write it as NAME:TAG"),
    }
}

/// This machine's architecture in the words of OCI.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("images are made on amd64 and arm64, and this machine is {other}"),
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("writing JSON")
}

/// The compressed layer and the digest of what it holds uncompressed.
struct Layer {
    bytes: Vec<u8>,
    diff_id: Digest,
}

impl Layer {
    fn pack(rootfs: &Path) -> Result<Self> {
        // No name, no time, and "unknown" (255) as the system: nothing of this machine gets into the header.
        let gzip = GzBuilder::new()
            .mtime(0)
            .operating_system(255)
            .write(Vec::new(), Compression::default());
        let Hashing { inner, hash } = layer::write(
            rootfs,
            Hashing {
                inner: gzip,
                hash: Sha256::new(),
            },
        )?;
        Ok(Self {
            bytes: inner.finish()?,
            diff_id: Digest(format!("sha256:{:x}", hash.finalize())),
        })
    }
}

/// Hashes what passes through.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(bytes)?;
        self.hash.update(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

// The documents of the OCI image specification 1.1, as far as they are written here. Field order is byte order.

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: Digest,
    size: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

impl Descriptor {
    fn new(media_type: &'static str, bytes: &[u8]) -> Self {
        Self {
            media_type,
            digest: Digest::of(bytes),
            size: bytes.len(),
            annotations: BTreeMap::new(),
        }
    }
}

#[derive(Serialize)]
struct ImageConfig<'a> {
    architecture: &'static str,
    os: &'static str,
    config: RunConfig<'a>,
    rootfs: RootFs<'a>,
}

impl<'a> ImageConfig<'a> {
    fn new(spec: &'a ImageSpec, diff_id: &'a Digest) -> Result<Self> {
        Ok(Self {
            architecture: architecture()?,
            os: "linux",
            config: RunConfig {
                user: spec.user.as_deref(),
                env: [PATH],
                entrypoint: &spec.entrypoint,
                labels: &spec.labels,
            },
            rootfs: RootFs {
                kind: "layers",
                diff_ids: [diff_id],
            },
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RunConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    env: [&'static str; 1],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct RootFs<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: [&'a Digest; 1],
}

/// What `docker load` looks for in the same archive.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage<'a> {
    config: String,
    repo_tags: Vec<&'a str>,
    layers: Vec<String>,
}
