//! Archives are read back with the tar crate and checked against each other's digests.

use super::*;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use tempfile::TempDir;

/// A small root with one of each kind, written in the given order to show that order does not matter.
fn root(names: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("usr/bin")).unwrap();
    for name in names {
        fs::write(at(name), format!("content of {name}")).unwrap();
    }
    fs::set_permissions(at("usr/bin/tool"), PermissionsExt::from_mode(0o4711)).unwrap();
    fs::hard_link(at("usr/bin/tool"), at("usr/bin/tool.hard")).unwrap();
    symlink("usr/bin", at("bin")).unwrap();
    fs::create_dir(at("tmp")).unwrap();
    fs::set_permissions(at("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    folder
}

const NAMES: [&str; 3] = ["usr/bin/tool", "usr/bin-notes", "usr/a"];

fn spec() -> ImageSpec {
    ImageSpec {
        name: "example.org:5000/box:1".to_owned(),
        entrypoint: vec!["/usr/bin/tool".to_owned()],
        labels: BTreeMap::from([("org.opencontainers.image.version".into(), "1".into())]),
        user: Some("65532".to_owned()),
    }
}

fn pack(root: &Path, spec: &ImageSpec) -> (Digest, Vec<u8>) {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("image.tar");
    let digest = write_archive(root, spec, &out).unwrap();
    (digest, fs::read(out).unwrap())
}

fn blobs(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        found.insert(path, bytes);
    }
    found
}

/// The blob that a descriptor points to, its size and digest checked.
fn follow(blobs: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().unwrap();
    let bytes = &blobs[&format!("blobs/{}", digest.replace(':', "/"))];
    assert_eq!(descriptor["size"], bytes.len());
    assert_eq!(Digest::of(bytes).to_string(), digest);
    bytes.clone()
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn same_content_same_bytes() {
    let first = root(&NAMES);
    let mut names = NAMES;
    names.reverse();
    let second = root(&names);
    assert_eq!(pack(first.path(), &spec()), pack(second.path(), &spec()));
}

#[test]
fn any_change_changes_the_digest() {
    let folder = root(&NAMES);
    let (before, _) = pack(folder.path(), &spec());
    fs::write(folder.path().join("usr/a"), "content of usr/b").unwrap();
    let (after, _) = pack(folder.path(), &spec());
    assert_ne!(before, after);
    let mut labelled = spec();
    labelled.labels.insert("more".into(), "so".into());
    assert_ne!(pack(folder.path(), &labelled).0, after);
}

#[test]
fn archive_holds_together() {
    let folder = root(&NAMES);
    let (digest, archive) = pack(folder.path(), &spec());
    let blobs = blobs(&archive);
    let index = parse(&blobs["index.json"]);
    let entry = &index["manifests"][0];
    assert_eq!(entry["digest"], digest.to_string());
    let annotations = &entry["annotations"];
    assert_eq!(
        annotations["io.containerd.image.name"],
        "example.org:5000/box:1"
    );
    assert_eq!(annotations["org.opencontainers.image.ref.name"], "1");

    let manifest = parse(&follow(&blobs, entry));
    let config = parse(&follow(&blobs, &manifest["config"]));
    assert_eq!(config["os"], "linux");
    assert_eq!(config["config"]["User"], "65532");
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/tool");
    assert_eq!(
        config["config"]["Labels"]["org.opencontainers.image.version"],
        "1"
    );

    let packed = follow(&blobs, &manifest["layers"][0]);
    let mut layer = Vec::new();
    GzDecoder::new(packed.as_slice())
        .read_to_end(&mut layer)
        .unwrap();
    assert_eq!(
        config["rootfs"]["diff_ids"][0],
        Digest::of(&layer).to_string()
    );
    let docker = parse(&blobs["manifest.json"]);
    for path in [&docker[0]["Config"], &docker[0]["Layers"][0]] {
        assert!(blobs.contains_key(path.as_str().unwrap()));
    }
}

#[test]
fn layer_is_sorted_and_of_no_machine() {
    let folder = root(&NAMES);
    let layer = layer::write(folder.path(), Vec::new()).unwrap();
    let mut seen = Vec::new();
    let mut archive = tar::Archive::new(layer.as_slice());
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.mtime().unwrap(), 0);
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let link = entry.link_name().unwrap().map(PathBuf::from);
        let link = link.map_or(String::new(), |to| format!(" -> {}", to.display()));
        seen.push(format!("{:o} {path}{link}", header.mode().unwrap()));
    }
    assert_eq!(
        seen,
        [
            "777 bin -> usr/bin",
            "1777 tmp/",
            "755 usr/",
            "644 usr/a",
            "755 usr/bin/",
            "755 usr/bin/tool",
            "755 usr/bin/tool.hard -> usr/bin/tool",
            "644 usr/bin-notes",
        ]
    );
}

#[test]
fn long_paths_survive() {
    let folder = root(&NAMES);
    let long = format!("usr/{}/{}", "d".repeat(120), "f".repeat(120));
    fs::create_dir_all(folder.path().join(&long).parent().unwrap()).unwrap();
    fs::write(folder.path().join(&long), "far down").unwrap();
    let layer = layer::write(folder.path(), Vec::new()).unwrap();
    assert_eq!(blobs(&layer)[&long], b"far down");
}

#[test]
fn what_cannot_be_packed_is_named() {
    let folder = root(&NAMES);
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("usr/socket")).unwrap();
    let out = folder.path().join("image.tar");
    let error = write_archive(folder.path(), &spec(), &out).unwrap_err();
    assert!(format!("{error:#}").contains("/usr/socket"), "{error:#}");
    assert!(!out.exists());
}

#[test]
fn a_failed_write_leaves_nothing() {
    let folder = root(&NAMES);
    let place = TempDir::new().unwrap();
    let out = place.path().join("taken");
    fs::create_dir(&out).unwrap();
    assert!(write_archive(folder.path(), &spec(), &out).is_err());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn tags_are_told_from_ports() {
    assert_eq!(tag("example.org:5000/a/b:1.2").unwrap(), "1.2");
    for bad in ["example.org:5000/a/b", "box", "box:"] {
        assert!(tag(bad).is_err(), "{bad}");
    }
}
